"""PyTorch models: the network, its weights, its own answers, and the ONNX graph."""

import logging
from pathlib import Path

import numpy as np
import torch

from services.core.errors import SourceError
from services.core.settings import ExporterSettings
from services.exporter.loaded import IMAGENET, Array, Loaded, generic_labels, preprocessing_from
from services.exporter.onnx_from_torch import onnx_from_torch
from services.exporter.scores import finished, probes
from services.exporter.sources import LITE0, FactorySource, TorchvisionSource, read_labels, weights_file
from services.exporter.weights import hash_of, load_weights, randomise

log = logging.getLogger(__name__)

SEED = 0


def load_torch(source: TorchvisionSource | FactorySource, settings: ExporterSettings) -> Loaded:
    """Load a PyTorch classifier with its weights and trace it to ONNX.

    Raises:
        SourceError: no such model, weights that cannot be had or do not fit, or an operator that cannot be exported.
    """
    labels = read_labels(Path(settings.labels)) if settings.labels else ()
    names: tuple[str, ...] = ()
    torch.manual_seed(SEED)
    # Each kind of source imports packages of its own.
    if isinstance(source, FactorySource):
        from services.exporter.factory import factory_model

        network, own = factory_model(source), IMAGENET
    elif source.name == LITE0:
        from services.exporter.lite0 import LITE0_PREPROCESSING, lite0
        from services.exporter.torchvision_models import imagenet_labels

        network, own, names = lite0(settings, len(labels)), LITE0_PREPROCESSING, imagenet_labels()
    else:
        from services.exporter.torchvision_models import torchvision_model

        network, own, names = torchvision_model(source.name, settings, len(labels))
    if path := weights_file(settings):
        load_weights(network, path)
    preprocessing = preprocessing_from(settings, own)
    network = network.eval().requires_grad_(requires_grad=False)
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention of frozen transformers (ViT) has no ONNX form
    if settings.weights == "random":
        log.warning("WEIGHTS=random: the model has learnt nothing, and its answers mean nothing")
        randomise(network, preprocessing.crop)
    _demand_classifier(network, preprocessing.crop)
    graph = onnx_from_torch(network, preprocessing.crop)
    tried = _scores(network, probes(preprocessing.crop))
    graph, finish = finished(graph, tried, settings.scores, f"MODEL={settings.model}")
    classes = finish(tried).shape[1]
    return Loaded(
        graph=graph,
        original=lambda inputs: finish(_scores(network, inputs)),
        preprocessing=preprocessing,
        labels=labels or (names if len(names) == classes else generic_labels(classes)),
        weights=settings.weights,
        weights_sha256=hash_of(network),
    )


def _demand_classifier(network: torch.nn.Module, size: int) -> None:
    """Of a batch of 2 the model must say ``[2,classes]``."""
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


def _scores(network: torch.nn.Module, inputs: Array) -> Array:
    with torch.no_grad():
        scores: Array = np.concatenate([network(torch.from_numpy(one[None])).numpy() for one in inputs]).astype(np.float32)
    return scores
