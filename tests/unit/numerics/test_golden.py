"""A golden set is whole, or the error names the file and the fix."""

import numpy as np
import pytest

from services.core.errors import ContractError
from services.numerics.dtypes import NUMPY, triton_name
from services.numerics.golden import golden_of, load_golden


def test_it_comes_back_as_it_was_written_in_batches_too(tmp_path):
    inputs, scores = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3), np.arange(10, dtype=np.float32).reshape(5, 2)
    np.savez(tmp_path / "golden.npz", inputs=inputs, scores=scores)
    golden = load_golden(tmp_path / "golden.npz")
    assert (golden.inputs == inputs).all()
    parts = list(golden.batches(2))
    assert [len(part.inputs) for part in parts] == [2, 2, 1]
    assert (np.concatenate([part.scores for part in parts]) == scores).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        (b"", "not a golden set"),
        (b"PK\x03\x04 cut off", "not a golden set"),
        ({"inputs": np.zeros((2, 3))}, "not a golden set"),
        ({"inputs": np.zeros((2, 3)), "scores": np.zeros((1, 3))}, "one row of scores per input"),
        ({"inputs": np.zeros((0, 3)), "scores": np.zeros((0, 3))}, "one row of scores per input"),
        ({"inputs": np.zeros((2, 3)), "scores": np.zeros((2, 3))}, "scores float64"),
        ({"inputs": np.array(3), "scores": np.array(4)}, "one row of scores per input"),
        ({"inputs": np.array([{}], object), "scores": np.zeros((1, 3))}, "not a golden set"),
    ],
)
def test_a_damaged_one_is_named(tmp_path, content, says):
    path = tmp_path / "golden.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ContractError, match=says) as caught:
        load_golden(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


SCORES = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("inputs", "scores"),
    [
        (np.zeros((3, 9, 8, 3), np.uint8), SCORES),
        (np.zeros((3, 8, 8, 3), np.float32), SCORES),
        (np.zeros((3, 8, 8, 3), np.uint8), SCORES[:, 1:]),
    ],
    ids=["other size", "other type", "other classes"],
)
def test_one_of_another_model_is_refused(tmp_path, make_card, inputs, scores):
    path = tmp_path / "golden.npz"
    np.savez(path, inputs=np.zeros((3, 8, 8, 3), np.uint8), scores=SCORES)
    assert golden_of(path, make_card(), "mend it").inputs.shape == (3, 8, 8, 3)
    np.savez(path, inputs=inputs, scores=scores)
    with pytest.raises(ContractError, match="the model's card says") as caught:
        golden_of(path, make_card(), "mend it")
    assert caught.value.hint == "mend it"


def test_every_name_of_a_type_is_the_same_type():
    for name, dtype in NUMPY.items():
        assert triton_name(dtype) == triton_name(np.dtype(dtype).name) == name
    assert triton_name("tensor(float)") == "FP32"
    assert triton_name("tensor(uint8)") == "UINT8"
    assert triton_name("tensor(float16)") == "tensor(float16)"
