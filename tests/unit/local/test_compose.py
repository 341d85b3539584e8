"""What scripts/docker.sh tells Compose."""

import json

import pytest

from services.local import compose


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("co:lon, $1.jpg", "photos/a.jpg"):
        (tmp_path / name).write_text("")
    return tmp_path


def sources(mounts):
    volumes = mounts["services"]["client"]["volumes"]
    assert all(volume["source"] == volume["target"] and volume["type"] == "bind" and volume["read_only"] for volume in volumes)
    return [volume["source"] for volume in volumes]


def test_any_name_of_a_file_can_be_mounted(folder):
    mounts, words = compose.pictures(["co:lon, $1.jpg"], folder)
    assert words == [str(folder / "co:lon, $1.jpg")]
    assert sources(mounts) == [str(folder / "co:lon, $$1.jpg")]  # Compose reads one $ as the start of a variable


@pytest.mark.parametrize(
    ("pattern", "source"),
    [("photos/**/*.jpg", "photos"), ("photos/a*", "photos"), ("*.jpg", "."), ("ph*/a.jpg", "."), ("photos/../photos/[a].jpg", "photos")],
)
def test_a_quoted_pattern_mounts_the_folder_where_it_starts(folder, pattern, source):
    mounts, words = compose.pictures([pattern], folder)
    assert sources(mounts) == [str((folder / source).resolve())]
    assert words[0].startswith(sources(mounts)[0])
    assert words[0].endswith(pattern.rpartition("/")[2])


@pytest.mark.parametrize("word", ["--json", "-", "https://example.com/a.jpg?size=*", "missing.jpg", "missing/*.jpg", "verify"])
def test_other_words_are_left_alone(folder, word):
    assert compose.pictures([word], folder) == ({"services": {"client": {"volumes": []}}}, [word])


def test_facts():
    config = {
        "name": "shop",
        "services": {
            "exporter": {"environment": {"MODEL": "onnx:models/My Net.onnx", "MODEL_NAME": None}},
            "triton": {"ports": [{"target": port, "published": str(port + 1)} for port in (8000, 8001, 8002)]},
        },
    }
    assert compose.facts(json.loads(json.dumps(config))) == "shop My_Net 8001 8002 8003"
