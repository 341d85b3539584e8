"""Which files count as pictures, and in which order."""

from services.images.find import images_in


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folder_is_listed_by_extension_in_a_stable_order(tmp_path):
    make(tmp_path, "b.JPG", "a.png", "notes.txt", "LICENSE", "cats/2.webp", "cats/10.jpeg", ".hidden.jpg", ".cache/x.jpg", "cats/._1.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in images_in(tmp_path)] == ["a.png", "b.JPG", "cats/10.jpeg", "cats/2.webp"]


def test_a_hidden_folder_that_was_asked_for_is_listed(tmp_path):
    make(tmp_path, ".photos/a.jpg")
    assert len(images_in(tmp_path / ".photos")) == 1


def test_patterns(tmp_path):
    make(tmp_path, "b.jpg", "a.jpg", "a.txt", "deep/er/c.jpg")
    assert [path.name for path in images_in(tmp_path / "*.*")] == ["a.jpg", "b.jpg"]
    assert [path.name for path in images_in(tmp_path / "**" / "*.jpg")] == ["a.jpg", "b.jpg", "c.jpg"]


def test_nothing_there(tmp_path):
    assert images_in(tmp_path) == []
    assert images_in(tmp_path / "missing") == []
