"""Table and chart of the comparison with other servers."""

from contextlib import nullcontext
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.load import Load
from benchmarks.peers.contest import Entrant, Seen, row, score
from benchmarks.peers.report import chart, table
from benchmarks.peers.wire import post_file

SVG = "{http://www.w3.org/2000/svg}"


def cell(name, title, size, clients, rate, ratios, setting=""):
    return {
        "name": name,
        "title": title,
        "setting": setting,
        "size": size,
        "clients": clients,
        "rate": rate,
        "p50_ms": 10.4,
        "p99_ms": 20,
        "max_ms": 30,
        "ratio": ratios[0],
        "ratios": ratios,
        "memory_mb": 300,
        "wire_bytes": 65568,
    }


@pytest.fixture
def report():
    rows = [
        cell("ours-http", "**this product**, HTTP", "640x427", 1, 80.0, [1.0]),
        cell("ours-http", "**this product**, HTTP", "640x427", 8, 100.0, [1.0]),
        cell("ray", "Ray <Serve>", "640x427", 1, 40.0, [0.5, 0.4, 0.6], "1 worker, no batching"),
        cell("ray", "Ray <Serve>", "640x427", 8, 50.0, [0.5], "1 worker, no batching"),
    ]
    host = {"cores": 2, "processor": "a processor", "vector_units": [], "memory_gib": 24, "load_before": 0.1}
    comparison = {
        "name": "engine",
        "title": "The same engine",
        "rows": rows,
        "limits": {"640x427": {"rate": 125.0, "rates": [120.0, 130.0]}},
    }
    return {
        "command": "python -m benchmarks.peers",
        "machine": host,
        "versions": {"python": "3.11"},
        "peers": {"ray": "2"},
        "rounds": 3,
        "seconds": 2,
        "clients": [1, 8],
        "absent": {"Another": "no package"},
        "trials": {"Ray <Serve>": {"1 worker, no batching": 30.0}},
        "comparisons": [{**comparison, "others": [0.04], "failed": {"A third": "it ended"}}],
    }


def test_the_table_has_a_line_for_each_server(report):
    lines = table(report).splitlines()
    times = "10 / 20 / 30"
    cells = f"**40**; 0.50 (0.40-0.60) | {times} | **50**; 0.50 (0.50-0.50) | {times}"
    assert f"| Ray <Serve> (1 worker, no batching) | {cells} | 300 | 65,568 |" in lines
    assert "- Out: A third: it ended" in lines
    assert "- Not installed: Another: no package" in lines
    assert "- Tried, Ray <Serve>: 1 worker, no batching 30" in lines
    columns = {line.count("|") for line in lines if line.startswith("|")}
    assert len(columns) == 1


def test_the_chart_is_an_image_whose_bars_are_in_proportion(report):
    image = ElementTree.fromstring(chart(report))  # noqa: S314 - of our own making
    widths = [float(bar.get("width", 0)) for bar in image.iter(f"{SVG}rect")]
    assert len(widths) == 2
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.01)
    (limit,) = image.iter(f"{SVG}line")
    left = float(next(iter(image.iter(f"{SVG}rect"))).get("x", 0))
    assert (float(limit.get("x1", 0)) - left) / widths[0] == pytest.approx(1.25, rel=0.01)
    assert any(text.text == "Ray <Serve>" for text in image.iter(f"{SVG}text"))
    assert "prefers-color-scheme: dark" in chart(report)


def test_ratios_are_those_of_one_round_each():
    def seen(*rates):
        return Seen({("s", 1): [Load(np.full(int(rate), 0.01), 1.0, 0.0) for rate in rates]}, [1_000_000], {"s": 9})

    entrant = Entrant("x", "X", post_file, lambda: nullcontext(""))
    found = row(entrant, seen(10, 40), seen(20, 20), "s", 1)
    assert (found["ratios"], found["ratio"], found["memory_mb"]) == ([0.5, 2.0], 1.25, 1)
    assert score(seen(10, 40)) == pytest.approx(20)
