"""What counts as worse, what as noise, and which report one is compared with."""

import json

import pytest

from benchmarks.bench.compare import FORMAT, differences, identity, newest, other_circumstances, read
from services.core.errors import ContractError


def figure(median, spread=0.02, rounds=3):
    return {"median": median, "spread": spread, "rounds": [median] * rounds}


def a_report(rate=100.0, p99=20.0, spread=0.02, rounds=3, **changes):
    row = {"images_per_second": figure(rate, spread, rounds), "p50_ms": figure(10), "p99_ms": figure(p99, spread, rounds)}
    return {
        "format": FORMAT,
        "started": "2026-01-01T00:00:00Z",
        "complete": True,
        "model": "net",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 8},
        "served": {"version": 1},
        "settings": {"rounds": 3},
        "versions": {"numpy": "1"},
        "closed": [{"asked": "pixels", "protocol": "http", "clients": 4, **row}],
        **changes,
    }


def verdicts(before, after):
    return {one.metric: one.verdict for one in differences(before, after)}


def test_the_same_is_the_same():
    assert set(verdicts(a_report(), a_report()).values()) == {"same"}


def test_less_throughput_and_more_latency_are_worse_and_the_other_way_round_better():
    assert verdicts(a_report(), a_report(rate=80, p99=30)) == {"images_per_second": "worse", "p50_ms": "same", "p99_ms": "worse"}
    assert verdicts(a_report(), a_report(rate=130, p99=10)) == {"images_per_second": "better", "p50_ms": "same", "p99_ms": "better"}


@pytest.mark.parametrize(("spread", "verdict"), [(0.05, "worse"), (0.11, "same")])
def test_what_the_spreads_of_both_explain_is_not_marked(spread, verdict):
    assert verdicts(a_report(spread=spread), a_report(rate=80, spread=spread))["images_per_second"] == verdict


def test_a_small_difference_is_never_marked_though_the_rounds_agree():
    assert verdicts(a_report(spread=0), a_report(rate=96, spread=0))["images_per_second"] == "same"
    assert verdicts(a_report(spread=0), a_report(rate=94, spread=0))["images_per_second"] == "worse"


def test_of_one_round_nothing_is_known():
    assert verdicts(a_report(rounds=1), a_report(rate=10))["images_per_second"] == "unknown"
    (one, *_) = differences(a_report(rounds=1), a_report(rate=10))
    assert one.json()["noise"] is None
    json.dumps(one.json(), allow_nan=False)


def test_a_difference_is_a_share_of_the_earlier_figure_and_names_its_cell():
    (one, *_) = differences(a_report(rate=200), a_report(rate=100))
    told = one.json()
    assert told["change"] == -0.5
    assert (told["section"], told["asked"], told["protocol"], told["clients"]) == ("closed", "pixels", "http", 4)


def test_only_what_both_have_is_compared():
    assert differences(a_report(), a_report(closed=[])) == []
    other = a_report()
    other["closed"][0]["clients"] = 8
    assert differences(a_report(), other) == []


def test_where_either_was_saturated_only_throughput_is_compared():
    row = {"asked": "pixels", "protocol": "http", "rate": 47, "images_per_second": figure(47), "p50_ms": figure(9), "saturated": False}
    quiet, full = a_report(closed=[], open=[row]), a_report(closed=[], open=[{**row, "p50_ms": figure(900), "saturated": True}])
    assert verdicts(quiet, quiet) == {"images_per_second": "same", "p50_ms": "same"}
    assert verdicts(quiet, full) == verdicts(full, quiet) == {"images_per_second": "same"}


def test_other_work_is_named_where_it_differs():
    busy, idle = a_report(processor={"other_work": 1.5}), a_report(processor={"other_work": 0.1})
    assert other_circumstances(busy, idle) == ["other work used 1.5 cores before, 0.1 now"]
    assert other_circumstances(busy, busy) == []


def test_other_circumstances_are_named():
    after = a_report(versions={"numpy": "2"}, served={"version": 3})
    assert other_circumstances(a_report(), after) == ["served, version: 1 before, 3 now", "versions, numpy: 1 before, 2 now"]


def test_the_newest_whole_report_of_the_same_machine_model_and_settings_is_taken(tmp_path):
    now = a_report(started="2026-06-01T00:00:00Z")
    kept = {
        "2026-01-01": a_report(),
        "2026-02-01": a_report(started="2026-02-01T00:00:00Z"),
        "2026-03-01": a_report(complete=False),
        "2026-03-02": a_report(model="other"),
        "2026-03-03": a_report(machine={"processor": "Q", "cores": 2, "memory_gib": 8}),
        "2026-03-04": a_report(format=FORMAT + 1),
        "2026-03-05": a_report(settings={"rounds": 2}),
        "2026-07-01": a_report(started="2026-07-01T00:00:00Z"),
    }
    for name, content in kept.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(content))
    (tmp_path / "2026-05-01").mkdir()
    (tmp_path / "2026-05-01" / "report.json").write_text("{")
    assert newest(tmp_path, now) == tmp_path / "2026-02-01" / "report.json"
    assert newest(tmp_path / "none", now) is None
    assert identity(now) == identity(kept["2026-01-01"])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(ContractError, match=r"report\.json is"):
        read(file)
