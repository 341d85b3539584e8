"""However odd its settings and files are, the exporter's command ends with the exit code of its kind, and says how to mend it."""

import json
import os

import onnx
import pytest

from services.core.card import LONGEST_SIDE
from services.exporter.__main__ import main
from services.exporter.loaded import IMAGENET, preprocessing_from


@pytest.fixture
def exporter(tmp_path, settings, make_classifier, monkeypatch, ended):
    """How the command ended for a tiny ONNX file, with the environment given: its exit code, and what it said."""
    settings(make_classifier())

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        fixed = {
            "MODEL": f"onnx:{tmp_path / 'tiny.onnx'}",
            "GOLDEN_DIR": str(tmp_path / "photographs"),
            "GOLDEN_COUNT": "2",
            "ARTIFACTS_DIR": str(tmp_path / "artifacts"),
        }
        for key, value in (fixed | environment).items():
            monkeypatch.setenv(key, value)
        return ended(main, *arguments)

    return run


@pytest.mark.parametrize(
    ("environment", "code", "found"),
    [
        ({"MODEL_NAME": "x" * 300}, 2, "300 characters, expected at most 100"),
        ({"MODEL": f"py:shop.models:{'x' * 300}"}, 2, "300 characters, expected at most 100"),
        ({"MODEL": "py:os:getcwd"}, 3, "os is part of Python itself"),
        ({"MODEL": "py:sys:exit"}, 3, "sys is part of Python itself"),
        ({"MODEL": "py:\x1b[31m:f"}, 3, r"no Python module \x1b[31m"),
        ({"RESIZE": "999999999"}, 2, "RESIZE=999999999"),
        ({"CROP": "9" * 5000}, 2, "CROP=999"),
        ({"MEAN": "nan,0,0"}, 2, "MEAN=nan"),
        ({"MAX_PIXELS": "99999999999"}, 2, "MAX_PIXELS=99999999999: expected at most 2147483647"),
        ({"WEIGHTS": os.fsdecode(b"\xff.pth")}, 2, r"WEIGHTS=\udcff.pth: found bytes that are no UTF-8"),
        ({"LABELS": "/"}, 3, "LABELS=/: is a folder"),
        ({"GOLDEN_DIR": f"/{'a' * 300}"}, 3, "File name too long"),
        ({"ARTIFACTS_DIR": f"/proc/{'a' * 300}"}, 7, "cannot write in"),
        ({"ARTIFACTS_DIR": "/proc/nowhere"}, 7, "cannot write in"),
    ],
)
def test_odd_settings(exporter, environment, code, found):
    ended, _, said = exporter(**environment)
    assert ended == code
    assert found in said
    assert "   fix: " in said
    assert "\x1b" not in said


@pytest.mark.parametrize("unreadable", ["photographs/1.png", "photographs"])
def test_what_cannot_be_read_in_golden_dir(exporter, tmp_path, as_nobody, unreadable):
    tmp_path.chmod(0o777)
    (tmp_path / unreadable).chmod(0)
    with as_nobody():
        code, _, said = exporter()
    assert code == 3
    assert f"cannot read {tmp_path / unreadable}: Permission denied" in said
    assert "chmod" in said


def test_a_damaged_photograph_in_golden_dir(exporter, tmp_path):
    (tmp_path / "photographs" / "0\x1b[31m.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, said = exporter()
    assert code == 9
    assert r"0\x1b[31m.png: found a picture that is damaged" in said
    assert "take that picture out of the folder" in said


def test_a_package_that_fails_as_it_is_imported(exporter, tmp_path, monkeypatch):
    (tmp_path / "broken_shop").mkdir()
    (tmp_path / "broken_shop" / "__init__.py").write_text("raise RuntimeError('closed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, said = exporter(MODEL="py:broken_shop.models:tiny")
    assert code == 3
    assert "RuntimeError: closed" in said


def test_names_of_nodes_show_their_escapes(exporter, tmp_path):
    model = onnx.load(tmp_path / "tiny.onnx")
    model.graph.node[0].op_type = "Evil\x1b[31m\u202e"
    onnx.save(model, tmp_path / "tiny.onnx")
    code, _, said = exporter()
    assert code == 3
    assert r"Evil\x1b[31m\u202e" in said


@pytest.mark.parametrize("content", [b"{", b"\xff", b"null", b'{"format_version": "9.0"}'])
def test_a_tampered_card_is_written_anew(exporter, tmp_path, content):
    assert exporter()[0] == 0
    card = tmp_path / "artifacts" / "tiny" / "card.json"
    card.write_bytes(content)
    code, out, _ = exporter("--json")
    assert code == 0
    assert json.loads(out) == json.loads(card.read_text())


def test_the_largest_crop_has_a_resize_that_a_card_takes(settings):
    found = preprocessing_from(settings(MODEL="resnet50", CROP=LONGEST_SIDE), IMAGENET)
    assert (found.crop, found.resize) == (LONGEST_SIDE, LONGEST_SIDE)
