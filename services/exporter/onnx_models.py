"""Somebody else's ONNX file: inspect it, and give it a dynamic batch where that is safe."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from services.core.card import LONGEST_SIDE
from services.core.errors import SourceError
from services.core.files import read_regular, sha256_of
from services.core.settings import ExporterSettings
from services.exporter import graph as edit
from services.exporter.batch import ConflictError, freed
from services.exporter.loaded import IMAGENET, Array, Loaded, generic_labels, preprocessing_from
from services.exporter.scores import Finish, ends_in_probabilities, finished, probes
from services.exporter.sources import OnnxSource, read_labels
from services.onnx_graphs.inspect import shape_of
from services.onnx_graphs.session import RUN_SECONDS, graph_runner, reason
from services.onnx_graphs.simplify import simplified

_MAX_BYTES = 2**31  # of a protobuf message, and so of an ONNX graph in one file
_LEAST_IR = 8  # below 4, every constant is an input too
_SHAPE_HINT = "expected one FP32 input [N,3,H,W] and one output [N,classes]"
_TOLERANCE = 1e-3  # of the largest absolute score; a batch may be summed up in another order than a single row


def load_onnx(source: OnnxSource, settings: ExporterSettings) -> Loaded:
    """Load an ONNX classifier; its preprocessing and labels come from settings.

    Raises:
        SourceError: it is damaged, no classifier, or has a fixed batch that cannot be made dynamic.
    """
    path = source.path
    model = _read(source)
    size = _check_classifier(model, path)
    if settings.crop not in (None, size):
        raise SourceError(f"{path}: the input is {size}x{size}, but CROP={settings.crop}", hint="leave CROP empty")
    model = edit.with_names(model)
    if settings.scores == "logits" and ends_in_probabilities(model):
        model = edit.without_last_operator(model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    try:
        original = _rows(model, batch or 1)
        tried = original(probes(size))
    except SourceError as error:
        raise SourceError(f"{path}: {error}", hint=error.hint) from error
    except Exception as error:
        # ONNX Runtime's errors have no base of their own.
        raise SourceError(f"{path}: ONNX Runtime cannot run it: {reason(error)}", hint="export it with standard operators only") from error
    dynamic = _with_dynamic_batch(model, batch, original, path) if batch else edit.with_dynamic_ends(model)
    graph, finish = finished(dynamic, tried, settings.scores, str(path))
    classes = finish(tried).shape[1]
    return Loaded(
        graph=graph,
        original=lambda inputs: finish(original(inputs)),
        preprocessing=preprocessing_from(settings.model_copy(update={"crop": size}), IMAGENET),
        labels=read_labels(Path(settings.labels)) if settings.labels else generic_labels(classes),
        weights=path.name,
        weights_sha256=sha256_of(*source.files()),
    )


def _read(source: OnnxSource) -> onnx.ModelProto:
    path, size = source.path, sum(file.stat().st_size for file in source.files())
    if size >= _MAX_BYTES:
        raise SourceError(f"{path} has {size} bytes, with its side files", hint="graphs of 2 GiB and more are not supported")
    try:
        model = onnx.load_model_from_string(read_regular(path, _MAX_BYTES))
        onnx.load_external_data_for_model(model, str(path.parent))
        model.ir_version = max(model.ir_version, _LEAST_IR)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        # Damage shows as many kinds of error: protobuf's, the checker's, a missing side file's.
        hint = (
            "export it again, or copy it again; weights in a side file (.onnx.data) belong beside it, under the name they were written with"
        )
        raise SourceError(f"{path} is no valid ONNX file ({path.stat().st_size} bytes): {reason(error)}", hint=hint) from error
    return model


def _check_classifier(model: onnx.ModelProto, path: Path) -> int:
    """Side of the square input; initializers leave the list of inputs, where old exporters put them too."""
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise SourceError(f"{path}: {len(inputs)} inputs and {len(model.graph.output)} outputs", hint=_SHAPE_HINT)
    model.graph.CopyFrom(_with_inputs(model.graph, inputs))
    ends = (model.graph.input[0], model.graph.output[0])
    found = [shape_of(value) for value in ends]
    kinds = [TensorProto.DataType.Name(value.type.tensor_type.elem_type) for value in ends]
    if kinds != ["FLOAT", "FLOAT"] or len(found[0]) != 4 or len(found[1]) != 2 or found[0][1] != 3:
        raise SourceError(f"{path}: input {kinds[0]} {found[0]}, output {kinds[1]} {found[1]}", hint=_SHAPE_HINT)
    height, width = found[0][2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise SourceError(f"{path}: the input {found[0]} has no fixed height and width", hint="export it with a fixed picture size")
    if height != width or not 0 < height <= LONGEST_SIDE:
        raise SourceError(f"{path}: the input is {height}x{width}", hint=f"expected a square input, of {LONGEST_SIDE} pixels at most")
    return height


def _with_inputs(graph: onnx.GraphProto, inputs: list[onnx.ValueInfoProto]) -> onnx.GraphProto:
    kept = onnx.GraphProto()
    kept.CopyFrom(graph)
    del kept.input[:]
    kept.input.extend(inputs)
    return kept


def _with_dynamic_batch(model: onnx.ModelProto, batch: int, original: Finish, path: Path) -> onnx.ModelProto:
    """Rewrite a fixed batch to a dynamic one, and prove by running it that every row still gets its own answer."""
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    rows = np.random.default_rng(1).standard_normal((3, 3, size, size), np.float32)
    apart = original(rows)
    problem = ""
    try:
        for candidate in _candidates(model, batch):
            dynamic = edit.with_dynamic_ends(candidate)
            problem = _difference(dynamic, rows, apart)
            if not problem:
                return dynamic
    except ConflictError as conflict:
        problem = str(conflict)
    raise SourceError(
        f"{path} has a fixed batch of {batch}, and it cannot be made dynamic: {problem}",
        hint='export it with a dynamic batch: torch.onnx.export(…, dynamic_shapes=({0: "batch"},)), or with the older exporter '
        'dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}',
    )


def _candidates(model: onnx.ModelProto, batch: int) -> Iterator[onnx.ModelProto]:
    """The graph as it is, which may compute its shapes; then each way of freeing the shapes that are constants."""
    as_it_is = onnx.ModelProto()
    as_it_is.CopyFrom(model)
    yield as_it_is
    yield from freed(simplified(model), batch)


def _difference(dynamic: onnx.ModelProto, rows: Array, apart: Array) -> str:
    """In words, how a batch of rows is answered otherwise than each row apart; empty where it is not."""
    try:
        together = graph_runner(dynamic, len(rows), seconds=RUN_SECONDS)(rows)
    except Exception as error:
        return reason(error)
    if together.shape != apart.shape:
        return f"a batch of {len(rows)} gives {list(together.shape)}"
    largest = float(np.abs(together - apart).max())
    if not largest <= _TOLERANCE * float(np.abs(apart).max()):
        return f"rows of a batch influence each other (largest difference {largest:.3g})"
    return ""


def _rows(model: onnx.ModelProto, batch: int) -> Finish:
    """Runs rows through a graph of a fixed batch; the last batch is filled up with zeros."""
    run = graph_runner(model, batch, seconds=RUN_SECONDS)

    def scores(inputs: Array) -> Array:
        missing = -len(inputs) % batch
        return run(np.concatenate([inputs, np.zeros((missing, *inputs.shape[1:]), inputs.dtype)]))[: len(inputs)]

    return scores
