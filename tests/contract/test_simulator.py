"""What the simulator takes, refuses and offers, NVIDIA's own parser and module do too."""

import importlib.util

import polygraphy.cuda.cuda
import pytest
import tensorrt_rtx

from simulator.graph import Graph, RefusedNodeError
from tests.contract.simulator.test_simulated_parser import BAD, GOOD


@pytest.mark.parametrize("name", [*BAD, *GOOD])
def test_agrees_with_nvidias_parser(name: str) -> None:
    graph = BAD[name][0] if name in BAD else GOOD[name]
    logger = tensorrt_rtx.Logger(tensorrt_rtx.Logger.INTERNAL_ERROR)
    network = tensorrt_rtx.Builder(logger).create_network(1 << int(tensorrt_rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt_rtx.OnnxParser(network, logger)
    taken = parser.parse(graph.SerializeToString())
    assert taken == (name in GOOD)
    if not taken:
        with pytest.raises(RefusedNodeError) as refused:
            Graph(graph).check()
        assert parser.get_error(0).node() == refused.value.index
        assert BAD[name][1] in parser.get_error(0).desc()


def test_the_simulated_module_has_no_name_that_the_real_one_has_not(root, monkeypatch):
    monkeypatch.setattr(polygraphy.cuda.cuda, "G_CUDA", None)
    spec = importlib.util.spec_from_file_location("simulated_tensorrt", root / "simulator" / "python" / "tensorrt" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    simulated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulated)
    own = {"complain"}
    for kind in ("ICudaEngine", "IExecutionContext", "Runtime", "DataType", "TensorIOMode", "TensorFormat", "ILogger", "IOutputAllocator"):
        offered = {name for name in vars(getattr(simulated, kind)) if not name.startswith("_")}
        assert offered - own <= set(dir(getattr(tensorrt_rtx, kind))), kind
