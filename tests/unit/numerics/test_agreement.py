"""The one accuracy rule: near-ties are forgiven, NaN never is, and a part of what passes passes."""

import math

import numpy as np
import pytest

from services.numerics.agreement import Limits, Tolerance, measure

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.41, 0.39, 0.2]], np.float32)
LIMITS = Limits(min_top1_agreement=1.0, max_error_tolerance=0.05, mean_error_tolerance=0.02)


def test_the_same_scores_agree():
    found = measure(EXPECTED, EXPECTED, LIMITS)
    assert (found.top1_agreement, found.max_error, found.mean_error, found.samples) == (1.0, 0.0, 0.0, 2)
    assert found.problems == []


def test_a_near_tie_may_turn_and_a_clear_answer_may_not():
    turned = EXPECTED.copy()
    turned[1] = [0.39, 0.41, 0.2]
    assert measure(turned, EXPECTED, LIMITS).problems == []
    wrong = EXPECTED.copy()
    wrong[0] = [0.2, 0.7, 0.1]
    assert measure(wrong, EXPECTED, LIMITS).top1_agreement == 0.5
    assert len(measure(wrong, EXPECTED, LIMITS).problems) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_never_agrees(value):
    broken = EXPECTED.copy()
    broken[1, 2] = value
    found = measure(broken, EXPECTED, LIMITS)
    assert found.top1_agreement == 0.5
    assert found.max_error == math.inf
    assert found.problems


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (3,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="expected \\[2, 3\\]"):
        measure(np.zeros(shape, np.float32), EXPECTED, LIMITS)


def test_limits_are_fractions_of_the_largest_score():
    limits = Tolerance(max_error=0.1, mean_error=0.01, top1_agreement=0.9).limits(np.array([[-20.0, 10.0]], np.float32))
    assert (limits.max_error_tolerance, limits.mean_error_tolerance, limits.min_top1_agreement) == pytest.approx((2.0, 0.2, 0.9))


def test_whatever_passes_as_a_whole_passes_in_parts():
    """Otherwise a version that passed the gate could be unhealthy for ever."""
    random = np.random.default_rng(0)
    for _ in range(200):
        total = int(random.integers(2, 20))
        expected = random.random((total, 4)).astype(np.float32)
        found = (expected + random.normal(0, 0.2, expected.shape)).astype(np.float32)
        blank = measure(found, expected, Limits(0, 0, 0))
        limits = Limits(0.5, blank.max_error, blank.mean_error)
        whole = measure(found, expected, limits)
        limits = Limits(whole.top1_agreement, whole.max_error, whole.mean_error)
        for rows in range(1, total + 1):
            start = int(random.integers(0, total - rows + 1))
            part = slice(start, start + rows)
            assert measure(found[part], expected[part], limits.of_part(rows, total)).problems == []


def test_a_part_of_a_perfect_whole_must_be_perfect():
    assert LIMITS.of_part(1, 8).min_top1_agreement == 1.0


def test_limits_come_from_a_build_record():
    record = {"samples": 8, "min_top1_agreement": 0.85, "max_error_tolerance": 0.3, "mean_error_tolerance": 0.02, "max_error": 0.1}
    assert Limits.of(record) == Limits(0.85, 0.3, 0.02)
