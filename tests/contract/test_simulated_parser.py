"""What the simulated parser takes and refuses, NVIDIA's own parser takes and refuses."""

import pytest
import tensorrt_rtx

from simulator.graph import Graph, RefusedNodeError
from tests.unit.simulator.test_simulated_parser import BAD, GOOD


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
