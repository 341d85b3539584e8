"""A backup comes back as it was; a damaged or foreign one changes nothing; what is served is whole at any instant."""

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from services.builder import archive as form
from services.builder.archive import Archive
from services.builder.backup import backup
from services.builder.publish import publish, rollback
from services.builder.repository import ModelFolder, plain_files
from services.builder.restore import restore
from services.core.errors import AccuracyError, ContractError, RepositoryError, SettingsError
from services.core.files import sha256_of
from services.core.settings import BuilderSettings
from tests.unit.builder.told import SCORES, Told


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path / "here")


def settings_of(folder: Path) -> BuilderSettings:
    places = {"MODEL_REPOSITORY_DIR": str(folder / "model_repository"), "ARTIFACTS_DIR": str(folder / "artifacts")}
    return BuilderSettings.from_env({"MODEL": "tiny", "LOCK_WAIT_SECONDS": "0", **places})


@pytest.fixture
def publish_one(settings, stage_version, make_config):
    """Publish a version whose content is ``mark``, into the folder given or that of the settings."""

    def publish_one(mark: str, into: BuilderSettings = settings, **changes: object) -> int:
        folder = folder_of(into)
        with folder.locked(0), folder.staging() as staging:
            staged = stage_version(staging / "fp32", mark)
            return publish(folder, staged, make_config(**changes), None)

    return publish_one


def folder_of(settings: BuilderSettings, name: str = "tiny") -> ModelFolder:
    return ModelFolder(settings.model_repository_dir, name)


@pytest.fixture
def full(settings, publish_one, make_card):
    """Two versions that share their engine, the first of them live; an export; a download; and what no backup holds."""
    publish_one("one")
    publish_one("one", max_batch_size=8)
    folder = folder_of(settings)
    rollback(folder, 1, None)
    (folder.path / "2" / "model.onnx").unlink()
    os.link(folder.path / "1" / "model.onnx", folder.path / "2" / "model.onnx")
    export = settings.artifacts
    export.mkdir(parents=True)
    (export / "model.onnx").write_text("a graph")
    (export / "labels.txt").write_text("a\nb\nc\nd\n")
    np.savez(export / "golden.npz", inputs=np.zeros((8, 8, 8, 3), np.uint8), scores=SCORES)
    card, hashed = make_card(), {name: sha256_of(export / name) for name in ("model.onnx", "labels.txt", "golden.npz")}
    changes = {
        "onnx": card.onnx.model_copy(update={"sha256": hashed["model.onnx"]}),
        "golden": card.golden.model_copy(update={"sha256": hashed["golden.npz"]}),
        "labels_sha256": hashed["labels.txt"],
    }
    (export / "card.json").write_text(card.model_copy(update=changes).dumps())
    for path in (".torch/hub/checkpoints/net.pth", ".torch/hub/checkpoints/net.pth.1.partial", "timing/11.cache", "tiny/build/model.onnx"):
        (settings.artifacts_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.artifacts_dir / path).write_text(path)
    for path in ("tiny/.staging-9/x", "trial-a.tiny/1/model.onnx", "tiny/1/__pycache__/model.pyc", "README.md"):
        (settings.model_repository_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.model_repository_dir / path).write_text(path)
    return settings


def content(settings: BuilderSettings) -> dict[str, bytes]:
    """All that counts in both folders, by path."""
    roots = (settings.model_repository_dir, settings.artifacts_dir)
    return {f"{root.name}/{path.relative_to(root)}": path.read_bytes() for root in roots for path in plain_files(root)}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def saved(full, tmp_path):
    """A backup of that."""
    backup(full, str(tmp_path / "backup.tar"), with_weights=False)
    return str(tmp_path / "backup.tar")


def test_a_backup_comes_back_elsewhere_as_it_was(full, saved, tmp_path):
    there = settings_of(tmp_path / "there")
    done = restore(there, saved, (), None, dry_run=False)
    assert done["models"] == {"tiny": {"live": 1, "versions": {1: 1, 2: 2}, "new": [1, 2]}}
    left_out = {"model_repository/README.md", "artifacts/timing/11.cache", "artifacts/tiny/build/model.onnx"}
    wanted = {path: data for path, data in content(full).items() if path not in left_out and "trial" not in path}
    assert content(there) == wanted
    assert "model_repository/tiny_image/1/model.py" in wanted
    again = restore(there, saved, (), None, dry_run=False)
    assert again["models"] == {"tiny": {"live": 1, "versions": {1: 1, 2: 2}, "new": []}}
    assert content(there) == wanted


def test_what_tar_unpacks_can_be_served_as_it_is(full, saved, tmp_path):
    subprocess.run(["tar", "-xf", saved, "-C", tmp_path], check=True)
    unpacked = content(settings_of(tmp_path))
    assert unpacked.items() <= content(full).items()
    assert {"model_repository/tiny/config.pbtxt", "model_repository/tiny_image/config.pbtxt"} <= unpacked.keys()


def test_the_manifest_tells_of_every_file_and_one_content_is_stored_once(saved):
    with tarfile.open(saved) as tar:
        *members, manifest, seal = tar.getmembers()
        file = tar.extractfile(manifest)
        assert file
        told = json.load(file)
        assert [entry["path"] for entry in told["files"]] == [member.name for member in members]
        assert {member.name: member.linkname for member in members if member.islnk()} == {
            "model_repository/tiny/2/model.onnx": "model_repository/tiny/1/model.onnx"
        }
    assert (manifest.name, seal.name) == ("MANIFEST.json", "SHA256")
    assert told["models"] == {"tiny": 1}


def test_weights_go_along_where_they_are_asked_for(full, tmp_path):
    backup(full, str(tmp_path / "backup.tar"), with_weights=True)
    there = settings_of(tmp_path / "there")
    restore(there, str(tmp_path / "backup.tar"), (), None, dry_run=False)
    assert [path.name for path in (there.artifacts_dir / ".torch").rglob("*") if path.is_file()] == ["net.pth"]


@pytest.mark.parametrize("change", ["flip", "cut", "append"])
def test_damage_of_any_byte_is_found_and_changes_nothing(saved, tmp_path, change):
    whole = Path(saved).read_bytes()
    there = settings_of(tmp_path / "there")
    some = random.Random(1).sample(range(len(whole)), 100)  # noqa: S311 - places, not a secret
    places = {0, len(whole) - 1, *range(len(whole) - 2100, len(whole), 97), *some}
    for place in places:
        damaged = bytearray(whole)
        if change == "flip":
            damaged[place] ^= 1
        elif change == "cut":
            del damaged[place:]
        else:
            damaged += bytes(1 + place % 512)
        Path(saved).write_bytes(damaged)
        with pytest.raises(ContractError, match=r"does not end as a backup does|is damaged"):
            restore(there, saved, (), None, dry_run=False)
    assert not (tmp_path / "there").exists()


def forged(path: str, members: list[tarfile.TarInfo], entries: list[form.Entry] | None = None, **changes: object) -> str:
    """An archive of somebody who can compute hashes: its end fits its content."""
    listed = [form.Entry(path=member.name, size=0, sha256=form.hashlib.sha256().hexdigest()) for member in members]
    good = [form.Entry(path="model_repository/tiny/1/model.onnx", size=0, sha256=form.hashlib.sha256().hexdigest())]
    file = io.BytesIO()
    writer = form.Writer(file)
    for member in [*([] if entries else [tarfile.TarInfo(good[0].path)]), *members]:
        writer._tar.addfile(member, io.BytesIO())
    manifest = form.Manifest(release="1", created="now", models={"tiny": 1}, files=tuple(entries or good + listed))
    writer.finish(manifest.model_copy(update=changes))
    Path(path).write_bytes(file.getvalue())
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


INSIDE = "model_repository/tiny/1/x"


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/x"),
        member("../x"),
        member("model_repository/../../x"),
        member("model_repository/tiny/.lock"),
        member("elsewhere/x"),
        member("model_repository//x"),
        member(INSIDE, tarfile.SYMTYPE, "/etc/passwd"),
        member(INSIDE, tarfile.LNKTYPE, "/etc/passwd"),
        member(INSIDE, tarfile.LNKTYPE, INSIDE),
        member(INSIDE, tarfile.CHRTYPE),
        member(INSIDE, tarfile.FIFOTYPE),
        member(INSIDE, tarfile.DIRTYPE),
    ],
    ids=lambda bad: f"{bad.name} {bad.type.decode()} {bad.linkname}",
)
def test_members_that_lead_out_or_are_no_files_are_refused(tmp_path, bad):
    with pytest.raises(ContractError, match=r"expected nothing but files below|no backup of this stack"):
        restore(settings_of(tmp_path / "there"), forged(str(tmp_path / "forged.tar"), [bad]), (), None, dry_run=False)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("members", "changes", "told"),
    [
        ([member(INSIDE), member(INSIDE)], {}, "other files than its manifest lists: the same name twice"),
        ([], {"models": {"tiny": 2}}, "no live version 2 of 'tiny'"),
        ([], {"models": {"tiny": 1, "../x": None}}, r"no live version None of '\.\./x'"),
        ([], {"format_version": "2.0"}, "expected 1.0"),
        ([member(INSIDE)], {"entries": [form.Entry(path=INSIDE, size=1, sha256="0" * 64)]}, "has 0 bytes"),
        ([member(INSIDE)], {"entries": [form.Entry(path="model_repository/tiny/1/y", size=0, sha256="")]}, r"lists: .*/x, .*/y"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, members, changes, told):
    with pytest.raises(ContractError, match=told):
        restore(settings_of(tmp_path / "there"), forged(str(tmp_path / "forged.tar"), members, **changes), (), None, dry_run=False)
    assert not (tmp_path / "there").exists()


def test_the_archive_that_the_others_are_forged_from_would_pass(tmp_path):
    with Path(forged(str(tmp_path / "forged.tar"), [member(INSIDE)])).open("rb") as file:
        assert Archive(file, "it").manifest.versions("tiny") == [1]


def test_what_is_no_backup_is_named_as_such(settings, tmp_path):
    (tmp_path / "x.tar").write_text("hello")
    with pytest.raises(ContractError, match="is no backup"):
        restore(settings, str(tmp_path / "x.tar"), (), None, dry_run=False)
    with pytest.raises(SettingsError, match=r"cannot read .*: No such file"):
        restore(settings, str(tmp_path / "y.tar"), (), None, dry_run=False)


def test_a_version_of_a_number_that_another_has_takes_the_next_one(saved, publish_one, tmp_path):
    there = settings_of(tmp_path / "there")
    publish_one("other", there)
    before = everything(folder_of(there).path / "1")
    done = restore(there, saved, (), None, dry_run=False)
    assert done["models"]["tiny"] == {"live": 2, "versions": {1: 2, 2: 3}, "new": [2, 3]}
    folder = folder_of(there)
    assert everything(folder.path / "1") == before
    text = (folder.path / "config.pbtxt").read_text()
    assert (folder.path / "2" / "config.pbtxt").read_text() == text
    assert "versions: 2\n" in text
    assert 'label_filename: "2/labels.txt"' in text
    assert restore(there, saved, (), None, dry_run=False)["models"]["tiny"]["new"] == []
    assert rollback(folder, None, None) == 1


def test_a_dry_run_says_what_would_happen_and_changes_nothing(saved, publish_one, tmp_path, caplog):
    there = settings_of(tmp_path / "there")
    publish_one("other", there)
    before = everything(tmp_path / "there")
    caplog.set_level("INFO")
    restore(there, saved, (), None, dry_run=True)
    assert "tiny: version 1 becomes 2; another has its number here" in caplog.text
    assert "tiny: version 2 would be served" in caplog.text
    assert everything(tmp_path / "there") == before


def test_later_versions_stay_and_lost_ones_come_back(full, saved, publish_one):
    publish_one("three")
    folder = folder_of(full)
    folder.remove(1)
    restore(full, saved, ("tiny",), None, dry_run=False)
    assert (folder.numbers(), folder.live()) == ([1, 2, 3], 1)
    with pytest.raises(SettingsError, match="holds no model other; it holds tiny"):
        restore(full, saved, ("other",), None, dry_run=False)


@pytest.mark.parametrize("damage", ["config.pbtxt", "1/model.onnx"])
def test_a_damaged_repository_is_mended(full, saved, damage):
    folder = folder_of(full)
    (folder.path / damage).write_bytes(b"\xff")
    restore(full, saved, (), None, dry_run=False)
    live = folder.live()
    assert live
    assert folder.record(live) == folder.intact(live)
    assert folder.record(live).engine_fingerprint == "one"


def test_an_export_that_differs_becomes_that_of_the_backup(full, saved):
    before = everything(full.artifacts)
    (full.artifacts / "model.onnx").write_text("another graph")
    restore(full, saved, (), None, dry_run=False)
    assert everything(full.artifacts) | {".lock": b""} == before | {".lock": b""}


def test_a_damaged_version_is_left_out_and_a_damaged_live_one_refused(full, tmp_path, caplog):
    folder = folder_of(full)
    (folder.path / "2" / "build.json").write_text("{")
    done = backup(full, str(tmp_path / "a.tar"), with_weights=False)
    assert done["models"] == {"tiny": {"live": 1, "versions": [1]}}
    assert "left out, for they are damaged or not of this stack: 2" in caplog.text
    (folder.path / "1" / "model.onnx").write_text("!")
    with pytest.raises(ContractError, match=r"live version 1 of .* is damaged"):
        backup(full, str(tmp_path / "b.tar"), with_weights=False)
    assert not list(tmp_path.glob("*b.tar*"))


def test_an_empty_repository_makes_no_backup(settings, tmp_path):
    with pytest.raises(RepositoryError, match="nothing is published"):
        backup(settings, str(tmp_path / "b.tar"), with_weights=False)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(full, tmp_path, run_python):
    """A limit on the size of files stands for it: the write fails half-way, with another number."""
    code = (
        "import resource, signal, sys\n"
        "from services.builder.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (8192, {resource.RLIM_INFINITY}))\n"
        "main(['backup', sys.argv[1]])\n"
    )
    places = {"MODEL_REPOSITORY_DIR": str(full.model_repository_dir), "ARTIFACTS_DIR": str(full.artifacts_dir)}
    done = run_python(code, tmp_path / "out" / "backup.tar", environment=places)
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_backup_and_restore_wait_for_a_builder_of_the_model(full, saved, tmp_path):
    before = everything(full.model_repository_dir)
    with folder_of(full).locked(0):
        for work in (
            lambda: backup(full, str(tmp_path / "b.tar"), with_weights=False),
            lambda: restore(full, saved, (), None, dry_run=False),
        ):
            with pytest.raises(RepositoryError, match="is locked by process"):
                work()
    assert not list(tmp_path.glob("*b.tar*"))
    assert {path: data for path, data in everything(full.model_repository_dir).items() if ".lock" not in path} == {
        path: data for path, data in before.items() if ".lock" not in path and ".staging" not in path
    }


def test_no_version_is_published_while_the_model_is_copied(full, monkeypatch):
    """The pipe stands full in the middle of the copy; a builder finds the model locked, and then free."""
    folder = folder_of(full)
    (folder.path / "1" / "more.bin").write_bytes(bytes(1 << 20))  # more than a pipe takes
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "wb")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))

    def copy() -> None:
        with pipe:
            backup(full, "-", with_weights=False)

    copying = threading.Thread(target=copy)
    copying.start()
    with os.fdopen(reading, "rb") as out:
        first = out.read(1)
        with pytest.raises(RepositoryError, match="is locked"), folder.locked(0):
            pass
        rest = out.read()
    copying.join()
    with folder.locked(0):
        pass
    assert Archive(io.BytesIO(first + rest), "it").manifest.models == {"tiny": 1}


def test_a_pipe_brings_it_back_too(saved, tmp_path, monkeypatch):
    there = settings_of(tmp_path / "there")
    with Path(saved).open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        restore(there, "-", (), None, dry_run=False)
    assert folder_of(there).live() == 1
    assert {path.name for path in there.model_repository_dir.iterdir()} == {"tiny", "tiny_image"}


@pytest.fixture
def server():
    return Told()


def test_a_server_loads_what_was_live_and_is_asked(full, saved, publish_one, server):
    publish_one("three")
    server.folder = folder_of(full)
    restore(full, saved, (), server, dry_run=False)
    assert ("load", "tiny", 1) in server.calls
    assert server.batches


def test_what_the_server_answers_wrongly_is_gone_again(saved, publish_one, tmp_path, server):
    there = settings_of(tmp_path / "there")
    publish_one("other", there)
    before = content(there)
    server.folder, server.scores = folder_of(there), SCORES[::-1]
    with pytest.raises(AccuracyError, match="version 1 is served again"):
        restore(there, saved, (), server, dry_run=False)
    assert content(there) == before


def test_a_model_that_was_retired_comes_back_without_a_change_of_what_is_served(full, saved, publish_one, tmp_path):
    folder_of(full).unserve()
    backup(full, saved, with_weights=False)
    there = settings_of(tmp_path / "there")
    publish_one("other", there)
    assert restore(there, saved, (), None, dry_run=False)["models"]["tiny"] == {"live": None, "versions": {1: 2, 2: 3}, "new": [2, 3]}
    assert folder_of(there).live() == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_restores_ended_at_any_instant_leave_a_config_that_names_a_whole_version(settings, publish_one, root, tmp_path, number):
    archives = []
    for batch in (8, 16):
        there = settings_of(tmp_path / str(batch))
        publish_one("content" * 10_000, there, max_batch_size=batch)
        archives.append(tmp_path / f"{batch}.tar")
        backup(there, str(archives[-1]), with_weights=False)
    restore(settings, str(archives[0]), (), None, dry_run=False)
    script = [
        sys.executable,
        root / "tests/unit/builder/ended_restores.py",
        settings.model_repository_dir,
        *archives,
        str(int(number)),
        "20",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 0, result.stderr
    folder = folder_of(settings)
    with folder.locked(0):
        assert not [path.name for path in folder.path.glob(".*") if path.name != ".lock"]
