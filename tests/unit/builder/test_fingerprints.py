"""What enters the two fingerprints, beyond the settings that test_made_anew tries."""

from pathlib import Path

import numpy as np
import pytest

from services.builder import fingerprints
from services.builder.compilers.base import Serving
from services.builder.export import Export
from services.builder.fingerprints import engine_fingerprint, publication_fingerprint
from services.core.files import sha256_of
from services.core.record import Compiler, Hardware
from services.core.settings import BuilderSettings
from services.numerics.golden import Golden


class Gpu:
    """A compiler that never compiles."""

    def __init__(self, code: Path, *, version="11.2.1.2", driver="580.95.05", device="NVIDIA L4", like=()):
        self.serving = Serving(code=(("model.py", code),))
        self._identity = Compiler(name="tensorrt", version=version), Hardware(device=device, compute_capability="8.9", driver=driver)
        self._like = like

    def identity(self):
        return self._identity

    def like_devices(self):
        return self._like

    def instances(self):
        return 1


@pytest.fixture
def code(tmp_path) -> Path:
    """What runs inside the server."""
    (tmp_path / "code.py").write_text("1\n")
    return tmp_path / "code.py"


@pytest.fixture
def both(tmp_path, make_card, code):
    """Both fingerprints of a card, a compiler and an environment."""

    def both(card=None, compiler=None, **environment):
        golden = Golden(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 4), np.float32))
        export = Export(card or make_card(), tmp_path / "model.onnx", tmp_path / "labels.txt", tmp_path / "golden.npz", golden)
        settings = BuilderSettings.from_env(environment)
        compiler = compiler or Gpu(code)
        return engine_fingerprint(settings, export, compiler), publication_fingerprint(settings, export, compiler)

    return both


def changes(one, other) -> tuple[bool, bool]:
    return one[0] != other[0], one[1] != other[1]


@pytest.mark.parametrize(
    ("changed", "engine"),
    [
        ({"version": "11.2.2.0"}, True),
        ({"device": "NVIDIA L40S"}, True),
        ({"driver": "595.10"}, True),
        ({"driver": "580.126.09"}, False),
    ],
)
def test_an_engine_belongs_to_a_compiler_a_gpu_and_a_major_driver(both, code, changed, engine):
    assert changes(both(), both(compiler=Gpu(code, **changed))) == (engine, False)


def test_gpus_that_come_or_go_change_where_it_is_served(both, code):
    assert changes(both(), both(compiler=Gpu(code, like=(0, 2)))) == (False, True)


def test_the_code_inside_the_server_is_published_anew_and_no_other_code_is_looked_at(both, code, monkeypatch):
    """A changed comment in the builder rebuilds nothing."""
    before, read = both(), list[Path]()

    def spy(*paths):
        read.extend(paths)
        return sha256_of(*paths)

    monkeypatch.setattr(fingerprints, "sha256_of", spy)
    code.write_text("1  # one\n")
    assert changes(before, both()) == (False, True)
    assert read == [code]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"created_by": {"onnx": "9"}}, (False, False)),
        ({"fingerprint": "f"}, (False, False)),
        ({"labels_sha256": "1"}, (False, True)),
        ({"name": "other"}, (False, True)),
        ({"scores": "logits"}, (True, True)),
    ],
)
def test_what_each_part_of_the_card_makes_anew(both, make_card, changed, expected):
    assert changes(both(make_card()), both(make_card(**changed))) == expected


@pytest.mark.parametrize(("precision", "engine"), [("fp32", False), ("fp16", False), ("int8", True), ("fp8", True), ("auto", True)])
def test_calibration_pictures_count_where_something_is_calibrated(both, tmp_path, precision, engine):
    folder = tmp_path / "calibration"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"one")
    environment = {"PRECISION": precision, "CALIBRATION_DIR": str(folder)}
    before = both(**environment)
    (folder / "notes.txt").write_text("no picture")
    assert changes(before, both(**environment)) == (False, False)
    (folder / "a.jpg").write_bytes(b"two")
    assert changes(before, both(**environment)) == (engine, False)


def test_a_picture_of_the_evaluation_counts_with_its_class(both, make_card, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
    picture = tmp_path / "pictures" / "cat" / "a.jpg"
    picture.write_bytes(b"a picture")
    environment = {"EVAL_DIR": str(tmp_path / "pictures")}
    before = both(**environment)
    assert changes(before, both(make_card(labels_sha256="1"), **environment)) == (True, True)
    picture.rename(tmp_path / "pictures" / "dog" / "a.jpg")
    assert changes(before, both(**environment)) == (True, False)
