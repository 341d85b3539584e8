"""Plots are well-formed SVG, hold every point within their box, and text stays text."""

import itertools
import math
import xml.etree.ElementTree as ET

import pytest

from benchmarks.bench.elements import element, html
from benchmarks.bench.plots import Bar, Line, Point, bars, linear_ticks, lines, log_ticks

NASTY = "<script>alert(1)</script>&\"'"


@pytest.mark.parametrize("most", [0.0, 1e-4, 0.9, 1, 7, 47, 99.9, 1234, 1e6, math.inf, math.nan])
def test_linear_ticks_begin_at_0_and_reach_the_most(most):
    ticks = linear_ticks(most) if math.isfinite(most) else linear_ticks(0)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 12
    assert ticks[-1] >= (most if math.isfinite(most) else 0)
    assert len({round(b - a, 9) for a, b in itertools.pairwise(ticks)}) == 1


@pytest.mark.parametrize(("least", "most"), [(3, 40), (5, 5), (0.004, 900), (1, 1), (10, 20)])
def test_log_ticks_hold_what_is_between_them(least, most):
    ticks = log_ticks(least, most)
    assert ticks[0] <= least
    assert ticks[-1] >= most
    assert len(ticks) >= 2


@pytest.mark.parametrize("log_y", [False, True])
def test_every_point_lies_within_the_plot_with_its_words(log_y):
    points = [Point(1, 5, "five"), Point(7, 800, "many"), Point(3, 0.2, "few")]
    plot = lines("T", "x", "y", [Line("one", points, 0), Line("two", points[:1], 1, dashed=True)], log_y=log_y)
    _, _, width, height = (float(number) for number in plot.get("viewBox", "").split())
    dots = plot.findall("circle")
    assert len(dots) == 4
    for dot in dots:
        assert 0 < float(dot.get("cx", "")) < width
        assert 0 < float(dot.get("cy", "")) < height
    assert [dot.findtext("title") for dot in dots[:3]] == ["one: five", "one: many", "one: few"]
    first, second = (float(dots[place].get("cy", "")) for place in (0, 1))
    assert second < first, "more is further up"


def test_points_that_cannot_be_drawn_are_left_out():
    points = [Point(1, math.nan, ""), Point(math.inf, 2, ""), Point(2, 0, ""), Point(3, 4, "")]
    assert len(lines("T", "x", "y", [Line("one", points, 0)], log_y=True).findall("circle")) == 1
    assert len(lines("T", "x", "y", [Line("one", points, 0)]).findall("circle")) == 2
    assert lines("T", "x", "y", [Line("one", [], 0)]).tag == "p"
    assert bars("T", "x", ["a"], []).tag == "p"


def test_bars_are_stacked_one_behind_the_other_and_as_long_as_their_parts():
    plot = bars("T", "ms", ["a", "b"], [Bar("one", [1, 3]), Bar("two", [2, 0])])
    first, second, third, fourth = plot.findall("rect")
    assert float(second.get("x", "")) == pytest.approx(float(first.get("x", "")) + float(first.get("width", "")), abs=0.05)
    assert float(second.get("width", "")) == pytest.approx(3 * float(first.get("width", "")), abs=0.1)
    assert float(third.get("width", "")) == pytest.approx(2 * float(first.get("width", "")), abs=0.1)
    assert float(fourth.get("width", "")) == 0


def test_text_never_becomes_markup(parsed):
    plot = lines(NASTY, NASTY, NASTY, [Line(NASTY, [Point(1, 1, NASTY)], 0)])
    page = html(element("html", element("body", element("p", NASTY, title=NASTY), plot, bars(NASTY, NASTY, [NASTY], [Bar(NASTY, [1])]))))
    assert "<script" not in page
    root = parsed(page)
    assert root.findtext("body/p") == NASTY
    assert root.find("body/p").get("title") == NASTY


def test_text_and_elements_take_turns():
    made = element("p", "one ", element("b", "two"), " three", " four", stroke_width=2, class_="c")
    assert ET.tostring(made, encoding="unicode") == '<p stroke-width="2" class="c">one <b>two</b> three four</p>'
