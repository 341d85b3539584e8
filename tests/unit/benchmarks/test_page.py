"""A report for people says what ``report.json`` holds, whatever that holds."""

import pytest

from benchmarks.bench import perf_analyzer
from benchmarks.bench.breakdown import PARTS
from benchmarks.bench.compare import differences
from benchmarks.bench.page import markdown, page
from benchmarks.bench.plan import QUICK
from services.core.errors import ContractError

NASTY = "</style><script>alert(1)</script> | & \"'"


def figure(median):
    return {"median": median, "spread": 0.1, "rounds": [median, median]}


def a_report(name="net", rate=50.0, **changes):
    timed = {"images_per_second": figure(rate), "p50_ms": figure(12), "p99_ms": figure(30), "mean_ms": 14, "max_ms": 44, "requests": 99}
    parts = dict(zip(PARTS, (1, 2, 3, 4, 5, 6, 7), strict=True))
    closed = {"stalls": 0, "client_cpu_ms": 0.6, "server_cores": 1.2, "parts_ms": parts}
    return {
        "started": "2026-01-02T03:04:05Z",
        "command": f"scripts/bench --model {name}",
        "complete": True,
        "stopped": "",
        "model": name,
        "machine": {"cores": 2, "processor": name, "vector_units": [], "memory_gib": 8, "kernel": "6", "load_before": 1, "gpu": ""},
        "load_after": 2.5,
        "versions": {"numpy": name},
        "served": {"by": name},
        "settings": QUICK.json(),
        "built": {"batch": 8, "images_per_second": 321.0, "median_ms": 4, "p99_ms": 5, "spread": 0.01},
        "rounds_done": 2,
        "notes": [name],
        "requests_of_others": 3,
        "processor": {"clients": 0.1, "server": None, "other_work": 0.4},
        "engine": [{"batch": 8, "source": "trtexec", **timed}],
        "closed": [{"asked": "files", "protocol": "http", "clients": 4, **timed, **closed}],
        "open": [{"asked": "files", "protocol": "grpc", "rate": 40.0, **timed, "saturated": True, "refused": 0, "late_ms": 0.2}],
        "library": [{"asked": "files", "protocol": "http", "images_per_second": figure(77)}],
        **changes,
    }


def against(report):
    found = [one.json() for one in differences(a_report(rate=100.0), report)]
    return {"report": "reports/x/report.json", "started": "2026-01-01T00:00:00Z", "circumstances": [NASTY], "differences": found}


def test_both_say_what_was_measured():
    report = a_report()
    report["against"] = against(report)
    for text in (markdown(report), page(report)):
        for said in (
            "50 ±10%",
            "321",
            "77 ±10%",
            "saturated",
            "3 times meanwhile",
            "reports/x/report.json",
            "-50%",
            "worse",
            "Load average 1",
        ):
            assert said in text, said


def test_a_page_is_whole_in_itself_and_works_in_the_dark(parsed):
    text = page(a_report())
    assert "prefers-color-scheme: dark" in text
    for foreign in ("http://", "https://", "<script", "<link", "src="):
        assert foreign not in text
    root = parsed(text)
    assert len(root.findall(".//svg")) >= 5


def test_nothing_of_a_report_becomes_markup(parsed):
    report = a_report(NASTY, complete=False, stopped=NASTY)
    report["against"] = against(report)
    text = page(report)
    assert "<script" not in text
    assert text.count("</style>") == 1
    parsed(text)
    told = markdown(report)
    assert "<script" not in told
    assert "Incomplete: " in told


@pytest.mark.parametrize("empty", ["engine", "closed", "open", "library"])
def test_a_report_that_was_ended_early_is_still_one(empty):
    report = a_report(complete=False, stopped="interrupted", built=None, **{empty: []})
    for text in (markdown(report), page(report)):
        assert "Incomplete: interrupted" in text


def test_without_statistics_there_is_no_breakdown_and_perf_analyzer_has_a_column_where_it_ran():
    report = a_report()
    report["closed"][0] |= {"parts_ms": {}, "perf_analyzer": {"images_per_second": 48.5, "p50_ms": 13, "p99_ms": 33}}
    assert "perf_analyzer" in markdown(report)
    assert "48.5" in page(report)
    assert "perf_analyzer" not in markdown(a_report())


def test_the_table_of_perf_analyzer_is_read():
    head = "Concurrency,Inferences/Second,Client Send,Server Queue,p50 latency,p90 latency,p95 latency,p99 latency"
    assert perf_analyzer.parse(f"{head}\n4,123.4,10,20,31000,40000,41000,52000\n") == {
        "images_per_second": 123.4,
        "p50_ms": 31,
        "p99_ms": 52,
    }
    for text in ("", head, f"{head}\n4,no,1,1,1,1,1,1\n", "a,b\n1,2\n"):
        with pytest.raises(ContractError, match="cannot be read"):
            perf_analyzer.parse(text)
