"""Plots as SVG elements: lines over two axes, and stacked bars. Colours are those of the page's style sheet (``c0`` to ``c7``).

Made by hand: three kinds of plot are less code than a plotting library is megabytes, and the page needs no script and no network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench.elements import Child, Element, element

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 48
_LETTER = 7.2
_LEGEND_LINE = 20
_BAR, _BAR_GAP = 18, 8
COLOURS = 8


@dataclass(frozen=True)
class Point:
    """A place, and what is said of it where the pointer rests on it."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Line:
    """Points that belong together; ``dashed`` tells those of one colour apart."""

    name: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """Parts that lie one behind the other, as many as the plot has names for."""

    name: str
    parts: Sequence[float]


def linear_ticks(most: float, about: int = 6) -> list[float]:
    """Round numbers from 0 to the first that is not less than ``most``.

    >>> linear_ticks(47)
    [0, 10, 20, 30, 40, 50]
    """
    rough = (most if math.isfinite(most) and most > 0 else 1.0) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    number = math.ceil(most / step - 1e-9) if most > 0 else 1
    return [_tidy(step * index) for index in range(number + 1)]


def log_ticks(least: float, most: float) -> list[float]:
    """1, 2 and 5 of each power of ten, from the last that is not more than ``least`` to the first that is not less than ``most``.

    >>> log_ticks(3, 40)
    [2, 5, 10, 20, 50]
    """
    powers = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 1)
    every = [_tidy(factor * 10.0**power) for power in powers for factor in (1, 2, 5)]
    first = max(index for index, tick in enumerate(every) if tick <= least * (1 + 1e-9))
    last = min(index for index, tick in enumerate(every) if tick >= most * (1 - 1e-9))
    return every[first : max(last, first + 1) + 1]


def _tidy(value: float) -> float:
    found = float(f"{value:.6g}")
    return int(found) if found.is_integer() else found


def lines(title: str, x_label: str, y_label: str, drawn: Sequence[Line], *, log_y: bool = False) -> Element:
    """A plot of lines; x starts at 0, and so does y unless it is logarithmic. Points that are not finite are left out."""
    kept = [Line(line.name, _drawable(line.points, log_y=log_y), line.colour, line.dashed) for line in drawn]
    points = [point for line in kept for point in line.points]
    if not points:
        return element("p", f"{title}: nothing was measured.")
    legend, top = _legend([(line.name, line.colour, line.dashed) for line in kept])
    xs = linear_ticks(max(point.x for point in points))
    ys = [point.y for point in points]
    y_ticks = log_ticks(min(ys), max(ys)) if log_y else linear_ticks(max(ys))
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT

    def across(x: float) -> float:
        return round(_LEFT + (right - _LEFT) * x / xs[-1], 1)

    def down(y: float) -> float:
        share = math.log(y / y_ticks[0]) / math.log(y_ticks[-1] / y_ticks[0]) if log_y else y / y_ticks[-1]
        return round(bottom - (bottom - top) * share, 1)

    marks: list[Child] = [*legend]
    for tick in xs:
        marks.append(element("line", x1=across(tick), x2=across(tick), y1=top, y2=bottom, class_="grid"))
        marks.append(element("text", f"{tick:g}", x=across(tick), y=bottom + 18, class_="middle"))
    for tick in y_ticks:
        marks.append(element("line", x1=_LEFT, x2=right, y1=down(tick), y2=down(tick), class_="grid"))
        marks.append(element("text", f"{tick:g}", x=_LEFT - 8, y=down(tick) + 4, class_="end"))
    marks.append(element("text", x_label, x=(_LEFT + right) / 2, y=_HEIGHT - 8, class_="middle"))
    turned = f"translate(14 {(top + bottom) / 2}) rotate(-90)"
    marks.append(element("text", y_label, transform=turned, class_="middle"))
    for line in kept:
        style = f"c{line.colour % COLOURS}" + (" dashed" if line.dashed else "")
        places = [(across(point.x), down(point.y)) for point in line.points]
        marks.append(element("polyline", points=" ".join(f"{x},{y}" for x, y in places), class_=f"line {style}"))
        for (x, y), point in zip(places, line.points, strict=True):
            words = element("title", f"{line.name}: {point.words}")
            marks.append(element("circle", words, cx=x, cy=y, r=4, class_=f"dot c{line.colour % COLOURS}"))
    return _svg(title, _HEIGHT, marks)


def _drawable(points: Sequence[Point], *, log_y: bool) -> list[Point]:
    return [point for point in points if math.isfinite(point.x) and math.isfinite(point.y) and (point.y > 0 or not log_y)]


def bars(title: str, x_label: str, names: Sequence[str], drawn: Sequence[Bar]) -> Element:
    """Bars of stacked parts, one below the other, each with its sum at its end."""
    if not drawn:
        return element("p", f"{title}: nothing was measured.")
    legend, top = _legend([(name, place, False) for place, name in enumerate(names)])
    left = round(max(len(bar.name) for bar in drawn) * _LETTER) + 16
    right, bottom = _WIDTH - 64, top + len(drawn) * (_BAR + _BAR_GAP)
    ticks = linear_ticks(max(sum(bar.parts) for bar in drawn))
    scale = (right - left) / ticks[-1]
    marks: list[Child] = [*legend]
    for tick in ticks:
        x = round(left + tick * scale, 1)
        marks.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        marks.append(element("text", f"{tick:g}", x=x, y=bottom + 18, class_="middle"))
    marks.append(element("text", x_label, x=(left + right) / 2, y=bottom + 40, class_="middle"))
    for place, bar in enumerate(drawn):
        y, x = top + place * (_BAR + _BAR_GAP) + _BAR_GAP / 2, float(left)
        marks.append(element("text", bar.name, x=left - 8, y=y + _BAR - 5, class_="end"))
        for colour, (name, part) in enumerate(zip(names, bar.parts, strict=True)):
            words = element("title", f"{bar.name}, {name}: {part:.3g}")
            width = round(part * scale, 2)
            marks.append(element("rect", words, x=round(x, 2), y=y, width=width, height=_BAR, class_=f"bar c{colour % COLOURS}"))
            x += part * scale
        marks.append(element("text", f"{sum(bar.parts):.3g}", x=round(x + 6, 1), y=y + _BAR - 5))
    return _svg(title, bottom + _BOTTOM, marks)


def _legend(entries: Sequence[tuple[str, int, bool]]) -> tuple[list[Element], float]:
    """Its elements, and where the plot may begin."""
    marks, x, y = [], float(_LEFT), 14.0
    for name, colour, dashed in entries:
        width = 34 + len(name) * _LETTER
        if x + width > _WIDTH and x > _LEFT:
            x, y = float(_LEFT), y + _LEGEND_LINE
        style = f"line c{colour % COLOURS}" + (" dashed" if dashed else "")
        marks.append(element("line", x1=round(x, 1), x2=round(x + 20, 1), y1=y - 4, y2=y - 4, class_=f"{style} key"))
        marks.append(element("text", name, x=round(x + 25, 1), y=y))
        x += width + 8
    return marks, max(_TOP, y + 16)


def _svg(title: str, height: float, marks: Sequence[Child]) -> Element:
    box = f"0 0 {_WIDTH} {round(height)}"
    return element("svg", element("title", title), *marks, viewBox=box, role="img", class_="plot")
