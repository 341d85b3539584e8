"""The exporter's one verb: a model's source in, checked ONNX graph, golden set, labels and card out."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from services.core.card import BATCH, Golden, ModelCard, Onnx, Preprocessing, Tensor
from services.core.card import Source as CardSource
from services.core.errors import AccuracyError, SourceError
from services.core.files import lock, sha256_of, write_atomically, writing
from services.core.settings import ExporterSettings
from services.core.stage import progress
from services.exporter import graph as edit
from services.exporter.fingerprint import tool_versions
from services.exporter.golden import golden_views, inputs_from_views
from services.exporter.loaded import Array, Loaded
from services.exporter.sources import OnnxSource, Source
from services.numerics.agreement import Tolerance, measure
from services.onnx_graphs.inspect import opset_of
from services.onnx_graphs.session import RUN_SECONDS, graph_runner

log = logging.getLogger(__name__)

# ONNX Runtime and PyTorch order their FP32 sums differently.
TOLERANCE = Tolerance(max_error=1e-3, mean_error=1e-3, top1_agreement=1.0)
_WRITE_SECONDS = 60


def export(settings: ExporterSettings, source: Source, fingerprint: str) -> ModelCard:
    """Load, export, check, and write ``model.onnx``, ``golden.npz``, ``labels.txt`` and, last, ``card.json``.

    Raises:
        SourceError: the model or its weights cannot be had, or cannot be exported.
        AccuracyError: the graph answers other than the original model.
        RepositoryError: the artifacts folder cannot be written.
    """
    loaded = _load(source, settings)
    model = _finished_graph(loaded, settings)
    preprocessing = loaded.preprocessing.model_copy(
        update={"normalised_in_graph": settings.input == "uint8", "layout": "NHWC" if settings.input == "uint8" else "NCHW"}
    )
    with progress("golden set from the original model"):
        inputs, scores, made_from = _golden_set(loaded, preprocessing, settings)
    if len(loaded.labels) != scores.shape[1]:
        raise SourceError(
            f"LABELS={settings.labels} has {len(loaded.labels)} names, the model gives {scores.shape[1]} scores",
            hint="give one line per class, in the order of the scores",
        )
    content = model.SerializeToString()
    with progress("ONNX Runtime against the original"):
        onnx.checker.check_model(content, full_check=True)
        run = graph_runner(content, len(inputs), seconds=RUN_SECONDS)
        _check(run, inputs, scores)
        _check_extremes(run, loaded, preprocessing)
    folder = settings.artifacts
    golden = io.BytesIO()
    np.savez(golden, inputs=inputs, scores=scores)
    with lock(folder / ".lock", wait_seconds=_WRITE_SECONDS, on_wait=lambda holder: log.info("waiting for %s to write", holder)):
        with writing(folder):
            (folder / "card.json").unlink(missing_ok=True)  # until all is written there is no export, neither the old nor the new
        write_atomically(folder / "model.onnx", content)
        write_atomically(folder / "golden.npz", golden.getvalue())
        write_atomically(folder / "labels.txt", "".join(f"{label}\n" for label in loaded.labels))
        card = _card(settings, loaded, model, preprocessing, made_from, folder, fingerprint)
        card.dump(folder / "card.json")
    return card


def _load(source: Source, settings: ExporterSettings) -> Loaded:
    # Imported here, so that an up-to-date run, and an ONNX file, never wait for torch.
    if isinstance(source, OnnxSource):
        with progress(f"loading {source.path.name}"):
            from services.exporter.onnx_models import load_onnx

            return load_onnx(source, settings)
    with progress("loading PyTorch and the model"):
        from services.exporter.torch_models import load_torch

        return load_torch(source, settings)


def _finished_graph(loaded: Loaded, settings: ExporterSettings) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(loaded.graph)
    if settings.input == "uint8":
        model = edit.with_pixel_input(model, loaded.preprocessing.mean, loaded.preprocessing.std)
    return model


def _golden_set(loaded: Loaded, preprocessing: Preprocessing, settings: ExporterSettings) -> tuple[Array, Array, str]:
    views, made_from = golden_views(settings.golden_dir, settings.golden_count, settings.max_pixels)
    scores = loaded.original(inputs_from_views(views, loaded.preprocessing))
    if not np.isfinite(scores).all():
        raise SourceError("the original model gives NaN or infinity for the golden set", hint="check WEIGHTS, MEAN and STD")
    return inputs_from_views(views, preprocessing), scores, made_from


def _check(run: Callable[[Array], Array], inputs: Array, scores: Array) -> None:
    """The graph against the original on the golden set: a row by itself, then all in one batch."""
    for batch in (inputs[:1], inputs):
        expected = scores[: len(batch)]
        agreement = measure(run(batch), expected, TOLERANCE.limits(expected))
        if agreement.problems:
            raise AccuracyError(
                f"the ONNX graph and the original model disagree in a batch of {len(batch)}: {'; '.join(agreement.problems)}",
                hint="the model may hold code that tracing cannot follow; export it yourself and use MODEL=onnx:/path/model.onnx",
            )
    log.info("ONNX Runtime agrees with the original: %s", agreement)


def _check_extremes(run: Callable[[Array], Array], loaded: Loaded, preprocessing: Preprocessing) -> None:
    """The same for a black, a white and a noisy picture: photographs may all take the same branch of a model's code."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    views = {"a black": np.zeros_like(noise), "a white": np.full_like(noise, 255), "a noisy": noise}
    for name, pixels in views.items():
        view = [Image.fromarray(pixels)]
        expected = loaded.original(inputs_from_views(view, loaded.preprocessing))
        if not np.isfinite(expected).all():
            continue  # the model's own weakness
        agreement = measure(run(inputs_from_views(view, preprocessing)), expected, TOLERANCE.limits(expected))
        if agreement.problems:
            raise AccuracyError(
                f"the ONNX graph and the original agree on the golden set, but not on {name} picture: {'; '.join(agreement.problems)}",
                hint="Python code that looks at values (`if x.mean() > 0`) is decided once, while tracing: write it with torch.where",
            )


def _card(
    settings: ExporterSettings,
    loaded: Loaded,
    model: onnx.ModelProto,
    preprocessing: Preprocessing,
    made_from: str,
    folder: Path,
    fingerprint: str,
) -> ModelCard:
    size = preprocessing.crop
    pixels = settings.input == "uint8"
    shape = (BATCH, size, size, 3) if pixels else (BATCH, 3, size, size)
    return ModelCard(
        name=settings.name,
        source=CardSource(model=settings.model, weights=loaded.weights, weights_sha256=loaded.weights_sha256),
        onnx=Onnx(
            sha256=sha256_of(folder / "model.onnx"),
            opset=opset_of(model),
            producer=model.producer_name,
        ),
        inputs=(Tensor(name=model.graph.input[0].name, dtype="UINT8" if pixels else "FP32", shape=shape),),
        outputs=(Tensor(name=model.graph.output[0].name, dtype="FP32", shape=(BATCH, len(loaded.labels))),),
        preprocessing=preprocessing,
        scores=settings.scores,
        labels=len(loaded.labels),
        labels_sha256=sha256_of(folder / "labels.txt"),
        golden=Golden(count=settings.golden_count, sha256=sha256_of(folder / "golden.npz"), made_from=made_from),
        fingerprint=fingerprint,
        created_by=tool_versions(),
    )
