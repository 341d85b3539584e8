"""PyTorch models as users bring them: what torch.onnx.export writes today, py: functions, checkpoints of every wrapping."""

import importlib
import logging
import sys
import warnings

import numpy as np
import pytest

from services.core.errors import AccuracyError, SourceError
from services.core.settings import ExporterSettings
from services.exporter.export import export
from services.exporter.sources import OnnxSource, parse_source
from services.onnx_graphs.session import graph_runner

torch = pytest.importorskip("torch", reason="pip install torch torchvision: the exporter")

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, branch=False):
        super().__init__()
        self.features = nn.Conv2d(3, 6, 4, 4)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, classes)
        self.branch = branch

    def forward(self, x):
        if self.branch:
            if x.mean() > 0:
                return self.head(-x.mean((2, 3)).repeat(1, 2))
            return self.head(x.mean((2, 3)).repeat(1, 2))
        y = self.norm(self.features(x)).flatten(2).permute(2, 0, 1)
        y = y.reshape(-1, y.shape[1] * 2, 3).softmax(-1).reshape(-1, y.shape[1], 6)
        return self.head(y.permute(1, 0, 2).max(1).values)

def plain():
    torch.manual_seed(1)
    return Net(4).eval()

def branch():
    return Net(4, branch=True)

def binary():
    torch.manual_seed(1)
    return nn.Sequential(Net(1), nn.Sigmoid()).eval()

def lacks_a_package():
    import not_installed_here.models
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "shop_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("shop_models")
    del sys.modules["shop_models"]


@pytest.fixture
def exported(tmp_path, root):
    def exported(model: str, **environment: object):
        fixed = {"ARTIFACTS_DIR": tmp_path / "artifacts", "GOLDEN_DIR": root / "samples", "CROP": "" if "onnx:" in model else 16}
        settings = ExporterSettings.from_env({name: str(value) for name, value in (fixed | {"MODEL": model} | environment).items()})
        return export(settings, parse_source(model), "f"), settings.artifacts

    return exported


@pytest.mark.parametrize("batch", [1, 2])
def test_what_torch_onnx_export_writes_today(models, exported, tmp_path, batch):
    """Opset 18 and more, a fixed batch, Reshape with allowzero, the weights in a side file."""
    pytest.importorskip("onnxscript", reason="pip install onnxscript: torch.onnx.export writes nothing without it")
    network = models.plain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(batch, 3, 16, 16),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    _, folder = exported(f"onnx:{tmp_path / 'net.onnx'}", INPUT="float32", SCORES="logits")
    rows = np.random.default_rng(0).standard_normal((5, 3, 16, 16)).astype(np.float32)
    expected = np.concatenate([network(torch.from_numpy(row[None])).detach().numpy() for row in rows])
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(graph_runner(folder / "model.onnx", 5)(rows), expected, atol=1e-5)


@pytest.mark.usefixtures("models")
def test_the_same_network_is_exported_to_the_same_bytes(exported):
    first, second = (exported("py:shop_models:plain")[0].onnx.sha256 for _ in range(2))
    assert first == second


@pytest.mark.usefixtures("models")
def test_a_branch_on_the_values_of_a_picture_is_found(exported, caplog, tmp_path):
    line = 1 + MODELS.splitlines().index("            if x.mean() > 0:")
    with caplog.at_level(logging.WARNING), pytest.raises(AccuracyError, match="not on a white picture") as caught:
        exported("py:shop_models:branch")
    assert "torch.where" in caught.value.hint
    assert f"{tmp_path / 'shop_models.py'}:{line}: `if x.mean() > 0:` was decided once" in caplog.text


@pytest.mark.usefixtures("models")
def test_a_network_without_branches_is_exported_without_a_warning(exported, caplog):
    with caplog.at_level(logging.WARNING):
        exported("py:shop_models:plain")
    assert caplog.text == ""


def test_a_binary_network_gets_two_classes(models, exported):
    card, folder = exported("py:shop_models:binary", INPUT="float32")
    assert card.output.shape == (-1, 2)
    rows = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    positive = models.binary()(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(graph_runner(folder / "model.onnx")(rows), np.hstack([1 - positive, positive]), atol=1e-5)


@pytest.mark.usefixtures("models")
def test_a_package_that_a_factory_lacks_names_the_setting_that_installs_it(exported):
    with pytest.raises(SourceError, match="there is no Python module not_installed_here") as caught:
        exported("py:shop_models:lacks_a_package")
    assert "PIP_PACKAGES=not_installed_here" in caught.value.hint


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict", "net", "module", "ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
def test_a_checkpoint_loads_however_it_is_wrapped(models, tmp_path, wrap, prefix):
    from services.exporter.weights import load_weights

    trained = models.plain()
    state = {f"{prefix}{key}": value for key, value in trained.state_dict().items()}
    moments = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save(state if wrap is None else {"epoch": 3, "optimizer": moments, wrap: state}, tmp_path / "weights.pth")
    network = models.Net(4)
    load_weights(network, tmp_path / "weights.pth")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in trained.state_dict().items())


def test_keys_that_do_not_fit_are_named(models, tmp_path):
    from services.exporter.weights import load_weights

    def refused(state: object) -> tuple[str, str]:
        torch.save(state, tmp_path / "weights.pth")
        with pytest.raises(SourceError) as caught:
            load_weights(models.Net(4), tmp_path / "weights.pth")
        return str(caught.value), caught.value.hint

    message, hint = refused(models.Net(7).state_dict())
    assert "head.weight [7, 6] instead of [4, 6]" in message
    assert "LABELS" in hint
    assert "7 names" in hint
    other = {"stem.weight" if key == "features.weight" else key: value for key, value in models.Net(7).state_dict().items()}
    message, hint = refused(other)
    assert "missing: features.weight" in message
    assert "does not have: stem.weight" in message
    assert "LABELS" not in hint
    for content, found in (([1], "holds list"), ({"epoch": 3}, "a dict of epoch")):
        assert found in refused(content)[0]


@pytest.mark.parametrize("weights", ["random", "file"])
def test_lite0_with_weights_of_ones_own(exported, caplog, tmp_path, weights):
    pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    environment: dict[str, object] = {"WEIGHTS": "random"}
    if weights == "file":
        (tmp_path / "labels.txt").write_text("a\nb\nc\n")
        torch.save(EfficientNet.from_name("efficientnet-lite0", num_classes=3).state_dict(), tmp_path / "three.pth")
        environment = {"WEIGHTS": tmp_path / "three.pth", "LABELS": tmp_path / "labels.txt"}
    with caplog.at_level(logging.WARNING):
        card, _ = exported("efficientnet_lite0", CROP=32, **environment)
    assert card.labels == (3 if weights == "file" else 1000)
    assert ("its answers mean nothing" in caplog.text) == (weights == "random")


def test_the_side_file_that_torch_writes_is_found(tmp_path):
    pytest.importorskip("onnxscript", reason="pip install onnxscript: torch.onnx.export writes nothing without it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(torch.nn.Linear(64, 64), (torch.zeros(1, 64),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    source = parse_source(f"onnx:{tmp_path / 'net.onnx'}")
    assert isinstance(source, OnnxSource)
    assert [path.name for path in source.files()] == ["net.onnx", "net.onnx.data"] == sorted(path.name for path in tmp_path.iterdir())
