"""The exporter's one verb: a model's source in, checked ONNX graph, golden set, labels and card out."""

import io
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

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

log = logging.getLogger(__name__)

# Of the largest absolute score; ONNX Runtime and PyTorch order their FP32 sums differently.
TOLERANCE = 1e-3
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
        _check(content, inputs, scores)
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
        from services.exporter.onnx_models import load_onnx

        return load_onnx(source.path, settings)
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


def _check(content: bytes, inputs: Array, scores: Array) -> None:
    """ONNX checker, then ONNX Runtime against the original on the golden set, in one batch and one by one."""
    onnx.checker.check_model(content, full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    tolerance = TOLERANCE * float(np.abs(scores).max())
    for batch in (inputs, inputs[:1]):
        found = session.run(None, {name: batch})[0]
        error = float(np.abs(found - scores[: len(batch)]).max())
        if not error <= tolerance:
            raise AccuracyError(
                f"the ONNX graph and the original model differ by {error:.3g} in a batch of {len(batch)}, expected at most {tolerance:.3g}",
                hint="the model may hold code that tracing cannot follow; export it yourself and use MODEL=onnx:/path/model.onnx",
            )
    log.info("ONNX Runtime agrees with the original within %.2g (tolerance %.2g)", error, tolerance)


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
            opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
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
