"""MODEL, WEIGHTS and LABELS are read off the settings, and what cannot be had is named with what mends it."""

import os

import pytest

from services.core.errors import SettingsError, SourceError
from services.exporter.sources import FactorySource, OnnxSource, parse_source, read_labels, weights_file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_labels_with_and_without_a_byte_order_mark(tmp_path, encoding, end):
    path = tmp_path / "labels.txt"
    path.write_bytes(f"Käfer{end}dog{end}".encode(encoding))
    assert read_labels(path) == ("Käfer", "dog")


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "no lines"), (b"a\n\nb\n", "an empty line"), (b"\xff\xfe\x00", "can't decode"), (None, "No such file")]
)
def test_labels_that_are_none(tmp_path, content, found):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=found):
        read_labels(path)


@pytest.mark.parametrize(("target", "found"), [("/dev/zero", "is a device"), ("/proc/self/pagemap", "no lines"), ("pipe", "named pipe")])
def test_labels_that_never_end(tmp_path, target, found):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "labels.txt").symlink_to(target)
    with pytest.raises(SourceError, match=found):
        read_labels(tmp_path / "labels.txt")


def test_labels_of_any_length_are_not_read(tmp_path):
    with (tmp_path / "labels.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match="found more than 16 MiB"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize("setting", ["MODEL", "WEIGHTS"])
def test_a_named_pipe_is_no_model_and_no_weights(settings, make_classifier, tmp_path, setting):
    os.mkfifo(tmp_path / "pipe")
    value = {"MODEL": f"onnx:{tmp_path / 'pipe'}", "WEIGHTS": tmp_path / "pipe"}[setting]
    made = settings(make_classifier(), **{setting: value})
    with pytest.raises(SourceError, match=rf"{setting}=.*: is a named pipe"):
        weights_file(made) if setting == "WEIGHTS" else parse_source(made.model)


def test_side_files_belong_to_a_model_and_its_neighbours_do_not(tmp_path):
    for name in ("net.onnx", "net.onnx.data", "net_data.bin", "other.onnx", "other.onnx.data"):
        (tmp_path / name).touch()
    assert [path.name for path in OnnxSource(tmp_path / "net.onnx").files()] == ["net.onnx", "net.onnx.data", "net_data.bin"]


def test_a_package_that_is_not_installed_names_the_setting_that_installs_it():
    with pytest.raises(SourceError, match=r"there is no Python module not_installed_here\.models") as caught:
        FactorySource("not_installed_here.models", "net").file()
    assert "PIP_PACKAGES=not_installed_here" in caught.value.hint


@pytest.mark.parametrize("model", ["py:shop", "py::net", "py:shop:not a name"])
def test_a_factory_without_module_and_function_is_refused(model):
    with pytest.raises(SettingsError, match="expected py:"):
        parse_source(model)


@pytest.mark.parametrize("path", ["missing.pth", "."])
def test_weights_that_are_no_file(settings, make_classifier, tmp_path, path):
    with pytest.raises(SourceError, match=r"WEIGHTS=.*: (there is no such file|is a folder)"):
        weights_file(settings(make_classifier(), WEIGHTS=tmp_path / path))
