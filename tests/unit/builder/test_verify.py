"""The gate lets an engine through that answers as the original does, and tells by which numbers it refuses.

The rule itself: tests/unit/numerics/test_agreement.py.
"""

import numpy as np
import pytest

from services.builder.precision import PRECISIONS
from services.builder.verify import compare, demand, gate
from services.core.errors import AccuracyError
from services.numerics.agreement import Limits

EXPECTED = np.array([[0.70, 0.20, 0.10], [0.05, 0.05, 0.90], [0.34, 0.33, 0.33]], np.float32)


def changed(row: int, column: int, by: float) -> np.ndarray:
    scores = EXPECTED.copy()
    scores[row, column] += by
    return scores


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_scores_pass_and_a_score_that_is_no_number_does_not(precision):
    demand(gate(EXPECTED, EXPECTED, precision), "the engine")
    with pytest.raises(AccuracyError, match=r"largest error is inf.*mean error is inf"):
        demand(gate(changed(1, 0, np.nan), EXPECTED, precision), "the engine")


def test_tolerances_are_fractions_of_the_largest_score():
    found = gate(100 * EXPECTED, 100 * EXPECTED, "fp32")
    assert (found.max_error_tolerance, found.mean_error_tolerance) == pytest.approx((0.01 * 90, 0.001 * 90))


def test_a_refusal_tells_what_was_found_and_what_was_expected():
    with pytest.raises(AccuracyError) as caught:
        demand(gate(changed(1, 2, -0.5), EXPECTED, "fp32"), "the fp32 engine")
    message = str(caught.value)
    assert message.startswith("the fp32 engine disagrees with the original model on 3 golden samples: ")
    assert "the largest error is 0.5, expected at most 0.009" in message
    assert "the mean error is 0.0556, expected at most 0.0009" in message
    assert "top-1" not in message
    assert "nothing was published" in caught.value.hint


def test_a_wrong_first_class_is_refused_by_the_share_of_right_ones():
    with pytest.raises(AccuracyError, match=r"top-1 agreement is 33\.3%, expected at least 85\.0%"):
        demand(gate(EXPECTED[:, [2, 1, 0]], EXPECTED, "int8"), "the engine")


@pytest.mark.parametrize("scores", [EXPECTED[:1], EXPECTED[:, :2], EXPECTED[0], EXPECTED[..., None]])
def test_scores_of_another_shape_are_not_stretched_to_fit(scores):
    with pytest.raises(AccuracyError, match=r"the scores have the shape .*, expected \[3, 3\]") as caught:
        compare(scores, EXPECTED, Limits(1, 1, 1))
    assert "exporter" in caught.value.hint
