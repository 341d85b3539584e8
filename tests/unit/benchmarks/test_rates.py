"""When requests of the open loop are due, and at which rates."""

import numpy as np
import pytest

from benchmarks.bench.rates import rates, rounded, schedule


def test_arrivals_are_as_many_as_the_rate_says_in_order_and_within_the_window():
    due = schedule(50, 4, seed=1)
    assert len(due) == 200
    assert (np.diff(due) >= 0).all()
    assert due[0] >= 0
    assert due[-1] < 4


def test_the_gaps_are_those_of_a_poisson_process():
    """Exponential: their standard deviation is their mean, and a share of 1/e is longer than it."""
    gaps = np.diff(schedule(1000, 20, seed=2)) * 1000
    assert gaps.mean() == pytest.approx(1, rel=0.01)
    assert gaps.std() == pytest.approx(1, rel=0.05)
    assert (gaps > 1).mean() == pytest.approx(1 / np.e, abs=0.01)


def test_a_seed_gives_the_same_arrivals_and_another_gives_others():
    assert (schedule(10, 3, seed=5) == schedule(10, 3, seed=5)).all()
    assert (schedule(10, 3, seed=5) != schedule(10, 3, seed=6)).any()


def test_a_rate_that_is_too_low_for_the_window_has_one_arrival():
    assert len(schedule(0.1, 0.5, seed=1)) == 1


@pytest.mark.parametrize(("rate", "rung"), [(1, 1), (0.93, 1), (111, 120), (97, 100), (88, 82), (3456, 3300), (0.05, 0.047)])
def test_rates_stand_on_a_ladder(rate, rung):
    assert rounded(rate) == rung


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_the_rates_go_from_a_third_to_beyond_what_the_server_gives(number):
    found = rates(100, number)
    assert found == sorted(set(found))
    assert number - 1 <= len(found) <= number
    if number > 1:
        assert found[0] == 33
        assert found[-1] == 120


def test_reports_of_nearly_the_same_speed_have_rates_in_common():
    assert len(set(rates(100, 5)) & set(rates(105, 5))) >= 3
