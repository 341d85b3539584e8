"""The classifiers of torchvision, with their weights, class names and preprocessing."""

import contextlib
import difflib
import importlib
import urllib.error
from types import ModuleType
from typing import Any

import torch

from services.core.card import Preprocessing
from services.core.errors import SourceError
from services.core.settings import ExporterSettings
from services.core.stage import progress
from services.exporter.sources import LITE0


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names of ImageNet-1k, in the order of every torchvision classifier."""
    return tuple(torchvision_package().models.get_model_weights("resnet50").DEFAULT.meta["categories"])


def torchvision_package() -> ModuleType:
    """Import torchvision, also beside a torch that its compiled operators do not fit.

    PyPI's torchvision is compiled for the CUDA build of torch. With a CPU build its extension does not load, and the import
    fails when it adds to operators that are then unknown. Classifiers use none of them, so declaring them is enough.
    """
    with contextlib.suppress(RuntimeError):
        return importlib.import_module("torchvision")
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    torchvision_package.__dict__["library"] = library  # the declarations live as long as this object
    return importlib.import_module("torchvision")


def torchvision_model(name: str, settings: ExporterSettings, classes: int) -> tuple[torch.nn.Module, Preprocessing, tuple[str, ...]]:
    """A network of torchvision, with its preprocessing and the names of the classes that its published weights know.

    Args:
        name: as torchvision has it.
        settings: WEIGHTS decides whether the published weights are taken.
        classes: how many the network is made with where it is made without published weights; 0 for its own.

    Raises:
        SourceError: torchvision has no classifier of that name, or its weights cannot be downloaded.
    """
    models = torchvision_package().models
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
    labels = tuple(weights.meta["categories"])
    if settings.weights != "default":
        arguments: dict[str, Any] = {"num_classes": classes} if classes else {}
        return models.get_model(name, weights=None, **arguments), own, labels
    try:
        with progress(f"weights of {name} (downloaded once)"):
            network = models.get_model(name, weights=weights, progress=False)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise SourceError(
            f"the weights of {name} cannot be downloaded from {weights.url}: {getattr(error, 'reason', error)}",
            hint="check the network, or bring them: WEIGHTS=/models/<file>.pth; WEIGHTS=random tries the stack without them; "
            f"the weights of MODEL={LITE0} come as a package",
        ) from None
    return network, own, labels
