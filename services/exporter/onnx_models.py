"""Somebody else's ONNX file: inspect it, and give it a dynamic batch where that is safe."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from services.core.errors import SourceError
from services.core.files import sha256_of
from services.core.settings import ExporterSettings
from services.exporter.graph import BATCH, with_logits, with_names, with_probabilities
from services.exporter.loaded import IMAGENET, Array, Loaded, are_probabilities, generic_labels, preprocessing_from
from services.exporter.sources import read_labels

_MAX_BYTES = 2**31  # of a protobuf message, and so of an ONNX graph in one file
_SHAPE_HINT = "expected one FP32 input [N,3,H,W] and one output [N,classes]"


def load_onnx(path: Path, settings: ExporterSettings) -> Loaded:
    """Load an ONNX classifier; its preprocessing and labels come from settings.

    Raises:
        SourceError: it is damaged, no classifier, or has a fixed batch that cannot be made dynamic.
    """
    model = _read(path)
    height, width = _check_classifier(model, path)
    if height != width:
        raise SourceError(f"{path}: the input is {height}x{width}", hint="expected a square input")
    if settings.crop not in (None, height):
        raise SourceError(f"{path}: the input is {height}x{width}, but CROP={settings.crop}", hint="leave CROP empty")
    model = with_names(model) if settings.scores == "probabilities" else with_logits(with_names(model))
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    try:
        static = _session(model)
        tried = _scores(static, batch or 1, np.zeros((1, 3, height, width), np.float32))
    except Exception as error:
        # ONNX Runtime's errors have no base of their own.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SourceError(f"{path}: ONNX Runtime cannot run it: {reason}", hint="export it with standard operators only") from error
    if settings.scores == "logits" and are_probabilities(tried):
        raise SourceError(f"SCORES=logits, but {path} gives probabilities", hint="set SCORES=probabilities")
    if settings.scores == "probabilities" and not are_probabilities(tried):
        model = with_probabilities(model)
        static = _session(model)
    dynamic = _with_dynamic_batch(model, batch, static, path)
    settings = settings.model_copy(update={"crop": height})
    return Loaded(
        graph=dynamic,
        original=lambda inputs: _scores(static, batch or 1, inputs),
        preprocessing=preprocessing_from(settings, IMAGENET),
        labels=read_labels(Path(settings.labels)) if settings.labels else generic_labels(tried.shape[1]),
        weights=str(path.name),
        weights_sha256=sha256_of(path),
    )


def _read(path: Path) -> onnx.ModelProto:
    if path.stat().st_size >= _MAX_BYTES:
        raise SourceError(f"{path} has {path.stat().st_size} bytes", hint="graphs of 2 GiB and more are not supported")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        # Damage shows as many kinds of error: protobuf's, the checker's, a missing side file's.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SourceError(
            f"{path} is no valid ONNX file ({path.stat().st_size} bytes): {reason}", hint="export it again, or copy it again"
        ) from error
    return model


def _check_classifier(model: onnx.ModelProto, path: Path) -> tuple[int, int]:
    """Height and width of the input."""
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise SourceError(f"{path}: {len(inputs)} inputs and {len(model.graph.output)} outputs", hint=_SHAPE_HINT)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    shapes = [value.type.tensor_type for value in (inputs[0], model.graph.output[0])]
    found = [[dim.dim_value or dim.dim_param or "?" for dim in shape.shape.dim] for shape in shapes]
    kinds = [TensorProto.DataType.Name(shape.elem_type) for shape in shapes]
    if kinds != ["FLOAT", "FLOAT"] or len(found[0]) != 4 or len(found[1]) != 2 or found[0][1] != 3:
        raise SourceError(f"{path}: input {kinds[0]} {found[0]}, output {kinds[1]} {found[1]}", hint=_SHAPE_HINT)
    if not isinstance(found[0][2], int) or not isinstance(found[0][3], int):
        raise SourceError(f"{path}: the input {found[0]} has no fixed height and width", hint="export it with a fixed picture size")
    return found[0][2], found[0][3]


def _with_dynamic_batch(model: onnx.ModelProto, batch: int, static: onnxruntime.InferenceSession, path: Path) -> onnx.ModelProto:
    """Rewrite a fixed batch to a dynamic one, and prove by running it that every row still gets its own answer."""
    graph = model.graph
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    if not batch:
        return model
    del graph.value_info[:]  # shapes with the old batch
    _free_reshapes(graph, batch)
    try:
        session = _session(model)
        height, width = (dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[2:])
        rows = np.random.default_rng(0).standard_normal((3, 3, height, width), np.float32)
        together = session.run(None, {graph.input[0].name: rows})[0]
    except Exception as error:
        raise _refusal(path, batch, next(iter(str(error).strip().splitlines()), "it does not run")) from error
    apart = _scores(static, batch, rows)
    if together.shape != apart.shape:
        raise _refusal(path, batch, f"a batch of 3 gives {list(together.shape)}")
    if not np.allclose(together, apart, rtol=1e-3, atol=1e-3 * float(np.abs(apart).max())):
        raise _refusal(path, batch, f"rows of a batch influence each other (largest difference {np.abs(together - apart).max():.3g})")
    return model


def _refusal(path: Path, batch: int, reason: str) -> SourceError:
    return SourceError(
        f"{path} has a fixed batch of {batch}, and it cannot be made dynamic: {reason}",
        hint='export it with a dynamic batch, for example dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}',
    )


def _free_reshapes(graph: onnx.GraphProto, batch: int) -> None:
    """Let a Reshape to ``[batch, ...]`` keep whatever batch comes in: 0 stands for the input's own size there."""
    constants = {initializer.name: initializer for initializer in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        name = node.input[1]
        tensor = (
            constants.get(name) or next((a.t for a in made[name].attribute if a.name == "value"), None)
            if name in constants or name in made
            else None
        )
        if tensor is None:
            continue
        shape = numpy_helper.to_array(tensor).copy()
        if shape.size > 1 and shape[0] == batch:
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _scores(session: onnxruntime.InferenceSession, batch: int, inputs: Array) -> Array:
    """Run rows through a graph of a fixed batch; the last batch is filled up with zeros."""
    name = session.get_inputs()[0].name
    rows = []
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), part.dtype)])
        rows.append(session.run(None, {name: filled})[0][: len(part)])
    return np.concatenate(rows)
