"""The commands of the local launcher, with a stand-in for what they run."""

import sys

import pytest

from services.core.errors import SettingsError, ToolError
from services.local import commands, processes
from services.local.stack import Folders, Stack


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """What would be run (command line, environment, folder), and the stand-in, whose ``code`` it ends with."""
    found = []

    def run(command, environment, folder):
        found.append((command[1:], environment, folder))
        return run.code  # type: ignore[attr-defined]

    run.code = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(processes, "run", run)
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for key in ("MODEL", "MODEL_NAME", "PIP_PACKAGES"):
        monkeypatch.delenv(key, raising=False)
    return found, run


def test_the_client_is_given_a_model_only_where_the_shell_names_one(ran, monkeypatch, tmp_path):
    found, _ = ran
    (tmp_path / ".env").write_text("MODEL=resnet18\nTOP_K=3\n")
    commands.work(["--folder", str(tmp_path / "photos"), "classify", "--json", "a.jpg"])
    monkeypatch.setenv("MODEL", "resnet50")
    commands.work(["classify", "a.jpg"])
    (command, environment, folder), (_, named, _) = found
    assert command == ["-m", "services.client", "--json", "a.jpg"]
    assert folder == tmp_path / "photos"
    assert ("MODEL" in environment, environment["TOP_K"]) == (False, "3")
    assert named["MODEL"] == "resnet50"


def test_the_builder_runs_where_the_settings_paths_start(ran, tmp_path):
    found, _ = ran
    assert commands.work(["builder", "rollback", "2"]) == 0
    assert found[0][0] == ["-m", "services.builder", "rollback", "2"]
    assert found[0][2] == tmp_path
    assert found[0][1]["MODEL"] == "efficientnet_lite0"


def test_packages_of_a_model_are_installed_once_and_move_no_pin(ran, tmp_path):
    found, run = ran
    for name in ("requirements", ".stack"):
        (tmp_path / name).mkdir()
    hashed = "numpy==1.26.4 \\\n    --hash=sha256:0a\n    # via onnx\ntorch==2.13.0 \\\n    --hash=sha256:1b\n"
    (tmp_path / "requirements/local.lock").write_text(hashed)
    stack = Stack(Folders.of_checkout(commands.ROOT, {}), {"PIP_PACKAGES": "timm==1.0.31 einops"})
    run.code = 1
    with pytest.raises(ToolError, match="pip install ended with 1"):
        commands.install(stack)
    run.code = 0
    commands.install(stack)
    commands.install(stack)
    assert len(found) == 2
    assert found[0][0] == ["-m", "pip", "install", "--quiet", "--constraint", str(tmp_path / ".stack/pins.txt"), "timm==1.0.31", "einops"]
    assert (tmp_path / ".stack/pins.txt").read_text().split() == ["numpy==1.26.4", "torch==2.13.0"]


def test_a_misspelt_key_is_found_before_anything_runs(ran, tmp_path):
    found, _ = ran
    (tmp_path / ".env").write_text("PRECISON=fp16\n")
    with pytest.raises(SettingsError, match="did you mean PRECISION"):
        commands.work(["up"])
    assert found == []
