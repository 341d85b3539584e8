"""A graph with its constants folded, in standard operators."""

from pathlib import Path

import onnx

from services.core.files import scratch_folder
from services.onnx_graphs.session import Optimise, session


def simplified(model: Path | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants (shapes too, where the input's is fixed) and join nodes, by ONNX Runtime's basic optimisations.

    What stands between a convolution and its neighbours goes away (a Pad node, most of all), which Q/DQ nodes would otherwise nail
    down. Only the operator sets in use are imported by the result.

    Raises:
        RepositoryError: there is no room for the result.
        Exception: ONNX Runtime cannot load the model.
    """
    with scratch_folder() as folder:
        path = folder / "simple.onnx"
        session(model, optimise=Optimise.BASIC, save_to=path)
        simple = onnx.load(path)
    used = {node.domain for node in simple.graph.node}
    imported = [entry for entry in simple.opset_import if entry.domain in used]
    del simple.opset_import[:]
    simple.opset_import.extend(imported)
    return simple
