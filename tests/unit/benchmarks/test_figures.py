"""Medians, spreads and percentiles of rounds, and what a report keeps of them."""

import numpy as np
import pytest

from benchmarks.bench.figures import Figure, short, summary
from benchmarks.load import Load


def test_a_figure_is_the_median_and_half_the_range_over_it():
    figure = Figure.of([90, 100, 120])
    assert figure.median == 100
    assert figure.spread == pytest.approx(0.15)
    assert figure.json() == {"median": 100, "spread": 0.15, "rounds": [90, 100, 120]}


def test_one_round_has_no_spread_and_nothing_is_divided_by_zero():
    assert Figure.of([7]).spread == 0
    assert Figure.of([0, 0]).spread == 0


def test_five_digits_are_kept():
    assert short(123.456789) == 123.46
    assert short(0.000123456789) == 0.00012346


def test_a_summary_counts_images_and_keeps_the_tail():
    loads = [Load(np.array([0.01] * 99 + [0.5]), 2.0, 0.1), Load(np.array([0.02] * 100), 1.0, 0.1)]
    found = summary(loads, images=8)
    assert found["requests"] == 200
    assert found["images_per_second"]["rounds"] == [400, 800]
    assert found["p50_ms"]["rounds"] == [10, 20]
    assert found["p99_ms"]["median"] == pytest.approx((10 + 0.01 * 490 + 20) / 2, rel=1e-3)
    assert found["max_ms"] == 500
    assert found["mean_ms"] == pytest.approx((99 * 10 + 500 + 100 * 20) / 200, rel=1e-4)
