"""What of the GPU's runner can be seen without one; the rest: tests/gpu/local/test_engine_on_gpu.py."""

import pytest

from services.onnx_graphs.cuda_runner import sizes


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1, [1]), (2, [1, 2]), (12, [1, 2, 4, 8, 12]), (32, [1, 2, 4, 8, 16, 24, 32]), (100, [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 100])],
)
def test_every_batch_has_a_graph_that_is_less_than_twice_its_size(largest, expected):
    assert sizes(largest) == expected
