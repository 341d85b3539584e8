"""The golden set and how agreement with it is judged."""

import numpy as np
import pytest

from services.client.verify import agreement, is_within, load_golden
from services.core.errors import ContractError
from services.core.record import Accuracy

LIMITS = Accuracy(
    samples=8, top1_agreement=1, max_error=0, mean_error=0, min_top1_agreement=0.5, max_error_tolerance=0.1, mean_error_tolerance=0.05
)
EXPECTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], np.float32)


def measured(change):
    found = EXPECTED.copy()
    change(found)
    return agreement(EXPECTED, found, LIMITS)


def test_equal_scores_agree():
    same = agreement(EXPECTED, EXPECTED.copy(), LIMITS)
    assert (same.samples, same.top1_agreement, same.max_error, same.mean_error) == (2, 1, 0, 0)
    assert is_within(same)


def test_errors_are_measured():
    def one_off(found):
        found[0, 1] += 0.06

    result = measured(one_off)
    assert result.max_error == pytest.approx(0.06, rel=1e-5)
    assert result.mean_error == pytest.approx(0.01, rel=1e-5)
    assert is_within(result)


def swap_all(found):
    found[:] = found[:, ::-1] * [[1, 1, 1], [1, 0.1, 9]]


def large(found):
    found[0, 0] += 0.2


def everywhere(found):
    found += 0.06


def broken(found):
    found[1, 2] = np.nan


@pytest.mark.parametrize("change", [swap_all, large, everywhere, broken])
def test_each_limit_counts(change):
    assert not is_within(measured(change))


def golden(**arrays):
    return {"inputs": np.zeros((2, 8, 8, 3), np.uint8), "scores": np.zeros((2, 4), np.float32)} | arrays


def test_golden_set_is_read(tmp_path, card):
    np.savez(tmp_path / "golden.npz", **golden())
    assert load_golden(tmp_path / "golden.npz", card).inputs.shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    "arrays",
    [
        golden(inputs=np.zeros((2, 9, 8, 3), np.uint8)),
        golden(inputs=np.zeros((2, 8, 8, 3), np.float32)),
        golden(scores=np.zeros((2, 5), np.float32)),
        golden(scores=np.zeros((3, 4), np.float32)),
        golden(inputs=np.zeros((0, 8, 8, 3), np.uint8), scores=np.zeros((0, 4), np.float32)),
    ],
    ids=["other size", "other type", "other classes", "other count", "empty"],
)
def test_golden_set_of_another_model_is_refused(tmp_path, card, arrays):
    np.savez(tmp_path / "golden.npz", **arrays)
    with pytest.raises(ContractError, match="the served model's card says"):
        load_golden(tmp_path / "golden.npz", card)


def test_missing_and_damaged_golden_sets(tmp_path, card):
    with pytest.raises(ContractError, match="No such file"):
        load_golden(tmp_path / "golden.npz", card)
    for content in (b"", b"hello", b"PK\x03\x04 broken"):
        (tmp_path / "golden.npz").write_bytes(content)
        with pytest.raises(ContractError, match=r"golden\.npz is no golden set"):
            load_golden(tmp_path / "golden.npz", card)
    np.savez(tmp_path / "golden.npz", inputs=np.zeros(1))
    with pytest.raises(ContractError, match="is no golden set"):
        load_golden(tmp_path / "golden.npz", card)
