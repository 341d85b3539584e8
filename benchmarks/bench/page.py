"""A report for people: ``report.md`` and ``index.html``, the same words and tables in both. Pure functions of ``report.json``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bench.breakdown import PARTS
from benchmarks.bench.compare import HIGHER_IS_BETTER, KEYS, LEAST, Report
from benchmarks.bench.elements import Element, element, html
from benchmarks.bench.open_loop import SATURATED
from benchmarks.bench.plots import Bar, Line, Point, bars, lines
from benchmarks.bench.style import STYLE

_UNITS = {"images_per_second": "images/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms"}
_STACKED = 12
"""Bars that are readable in one plot."""
_MARKED = (
    f"A figure is marked where it differs by more than the spreads of both reports together, and by {LEAST:.0%} at least. With few rounds "
    "some are so by chance; with one round none is marked, for nothing is known of its spread. Where the server was saturated, latency is "
    "not compared."
)
_CLOSED = (
    "So many clients, each with one picture a request: it asks again when it has its answer. A stall takes 300 ms more than the median.",
)
_OPEN = (
    (
        "Requests come at random moments (Poisson) at a given rate, whether or not those before have an answer. Their time counts from "
        "the moment at which they were due, so that a slow server cannot hide behind clients that wait for it (coordinated omission)."
    ),
    (
        f"A rate is saturated where latency grows by more than {SATURATED:.0%} of the time that passes: the server does not keep up, and "
        "its latency says how long the window was. Late: how long after it was due a request was sent (99 % of them, in the worst round); "
        "where that is not small, the generator had no core."
    ),
)
_WHERE = (
    (
        "Mean milliseconds of a request, closed loop, from the server's statistics before and after. Queue: waiting for an instance. "
        "Decode: from the file to pixels, with the overhead of asking the model (only where files are asked). Input, compute, output: of "
        "the model. Other: what the server takes besides. Wire: what the client waits longer than the server takes: network, protocol, "
        "client."
    ),
)


@dataclass(frozen=True)
class Section:
    """A heading, sentences, a table whose first row is its head, and plots, which Markdown does without."""

    title: str
    words: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    plots: Sequence[Element] = field(default=())


def markdown(report: Report) -> str:
    """``report.md``."""
    text = [f"# {_flat(_title(report))}", ""]
    for section in sections(report):
        text += [f"## {section.title}", ""] if section.title else []
        text += [line for words in section.words for line in (_flat(words), "")]
        if section.rows:
            head, *rows = ([_cell(cell) for cell in row] for row in section.rows)
            text += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in rows), ""]
    return "\n".join(text)


def page(report: Report) -> str:
    """``index.html``, whole in itself."""
    body: list[Element] = [element("h1", _title(report))]
    for section in sections(report):
        body += [element("h2", section.title)] if section.title else []
        stopped = {"class": "stopped"} if not report["complete"] and not section.title else {}
        body += [element("p", words, **(stopped if place == 0 else {})) for place, words in enumerate(section.words)]
        body += section.plots
        if section.rows:
            head, *rows = section.rows
            table = element("table", element("tr", *(element("th", cell) for cell in head)))
            for row in rows:
                verdict = {"class": row[-1]} if row[-1] in ("worse", "better") else {}
                table.append(element("tr", *(element("td", cell) for cell in row), **verdict))
            body.append(element("div", table, class_="wide"))
    viewport = element("meta", name="viewport", content="width=device-width, initial-scale=1")
    about = element("head", element("meta", charset="utf-8"), viewport, element("title", _title(report)), element("style", STYLE))
    return html(element("html", about, element("body", *body), lang="en"))


def sections(report: Report) -> Iterator[Section]:
    """What a report says, in its order."""
    yield _summary(report)
    if report.get("against"):
        yield _against(report["against"])
    yield _latency(report)
    yield _closed(report)
    yield _open(report)
    yield _where(report)
    yield _engine(report)
    yield _library(report)
    yield _circumstances(report)


def _title(report: Report) -> str:
    return f"{report['model']} on {report['machine'].get('gpu') or report['machine']['processor']}"


def _flat(text: object) -> str:
    return " ".join(str(text).split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _flat(text).replace("|", "\\|")


def _figure(found: dict[str, Any]) -> str:
    return f"{found['median']:.4g}" + (f" ±{found['spread']:.0%}" if len(found["rounds"]) > 1 else "")


def _best(report: Report) -> dict[tuple[str, str], dict[str, Any]]:
    """The row of most images a second of each way of asking."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in report["closed"]:
        way = row["asked"], row["protocol"]
        if way not in best or row["images_per_second"]["median"] > best[way]["images_per_second"]["median"]:
            best[way] = row
    return best


def _summary(report: Report) -> Section:
    settings = report["settings"]
    words = [] if report["complete"] else [f"Incomplete: {report['stopped']}. What follows is what was measured until then."]
    words.append(
        f"Begun {report['started']}, {report['rounds_done']} of {settings['rounds']} rounds done. A figure is the median of its rounds, "
        "± half their range: a difference of less says nothing."
    )
    words.append("Every answer of the server was compared with known scores. Most images a second, closed loop:")
    rows = [["asked with", "images/s", "clients", "p50, ms", "p99, ms"]]
    rows += [
        [f"{asked}, {protocol}", _figure(row["images_per_second"]), str(row["clients"]), _figure(row["p50_ms"]), _figure(row["p99_ms"])]
        for (asked, protocol), row in _best(report).items()
    ]
    engine = max(report["engine"], key=lambda row: row["images_per_second"]["median"], default=None)
    if engine:
        cells = [_figure(engine["images_per_second"]), "-", _figure(engine["p50_ms"]), _figure(engine["p99_ms"])]
        rows.append([f"engine alone, batch {engine['batch']}", *cells])
    return Section("", words, rows)


def _against(against: dict[str, Any]) -> Section:
    found = against["differences"]
    marked = sorted(
        (one for one in found if one["verdict"] in ("worse", "better")), key=lambda one: (one["verdict"] != "worse", -abs(one["change"]))
    )
    worse = sum(one["verdict"] == "worse" for one in found)
    words = [
        f"Compared with {against['report']} of {against['started']}: {len(found)} figures, {worse} worse, {len(marked) - worse} better.",
        _MARKED,
    ]
    if against["circumstances"]:
        words.append("What else is different: " + "; ".join(against["circumstances"]) + ".")
    rows = [["what", "figure", "before", "now", "change", "noise", ""]] if marked else []
    for one in marked:
        what = ", ".join([one["section"], *(str(one[name]) for name in KEYS[one["section"]])])
        figures = [f"{one['before']:.4g}", f"{one['after']:.4g}", f"{one['change']:+.0%}", f"±{one['noise']:.0%}"]
        rows.append([what, _UNITS[one["metric"]], *figures, one["verdict"]])
    return Section("Against an earlier report", words, rows)


def _ways(report: Report) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["asked"], row["protocol"]) for row in report["closed"]))


def _latency(report: Report) -> Section:
    plots = []
    for asked in dict.fromkeys(asked for asked, _ in _ways(report)):
        for loop, unit in (("closed", "clients"), ("open", "offered/s")):
            drawn = []
            for colour, protocol in enumerate(report["settings"]["protocols"]):
                rows = [row for row in report[loop] if (row["asked"], row["protocol"]) == (asked, protocol)]
                for name in ("p50", "p99"):
                    key = "clients" if loop == "closed" else "rate"
                    points = [
                        Point(
                            row["images_per_second"]["median"],
                            row[f"{name}_ms"]["median"],
                            f"{row[key]:g} {unit}, {row['images_per_second']['median']:g} images/s, {row[f'{name}_ms']['median']:g} ms",
                        )
                        for row in rows
                    ]
                    drawn.append(Line(f"{protocol} {name}", points, colour, dashed=name == "p99"))
            title = f"{asked}, {loop} loop: latency over throughput"
            plots += [element("h3", title), lines(title, "images/s", "latency, ms (logarithmic)", drawn, log_y=True)]
    words = ["Further right is more throughput, further down less waiting. Where a line turns upwards, the server has no more to give."]
    return Section("Latency against throughput", words, plots=plots)


def _closed(report: Report) -> Section:
    drawn = [
        Line(
            f"{asked}, {protocol}",
            [
                Point(row["clients"], row["images_per_second"]["median"], f"{row['clients']} clients, {_figure(row['images_per_second'])}")
                for row in report["closed"]
                if (row["asked"], row["protocol"]) == (asked, protocol)
            ],
            colour,
            dashed=protocol == "grpc",
        )
        for colour, (asked, protocol) in enumerate(_ways(report))
    ]
    beside = any("perf_analyzer" in row for row in report["closed"])
    head = ["asked", "protocol", "clients", "images/s", "p50, ms", "p99, ms", "max, ms", "stalls", "client, ms of a core", "server, cores"]
    rows = [head + (["perf_analyzer: images/s, p50 / p99, ms"] if beside else [])]
    for row in report["closed"]:
        figures = [_figure(row[name]) for name in HIGHER_IS_BETTER]
        others = [f"{row['max_ms']:.4g}", f"{row['stalls']} of {row['requests']}", f"{row['client_cpu_ms']:.2g}"]
        cells = [row["asked"], row["protocol"], str(row["clients"]), *figures, *others, str(row.get("server_cores", "-"))]
        if beside:
            seen = row.get("perf_analyzer")
            cells.append(f"{seen['images_per_second']:.4g}, {seen['p50_ms']:.3g} / {seen['p99_ms']:.3g}" if seen else "-")
        rows.append(cells)
    return Section("Throughput over concurrency: closed loop", _CLOSED, rows, [lines("Throughput", "clients", "images/s", drawn)])


def _open(report: Report) -> Section:
    rows = [["asked", "protocol", "rate", "answered/s", "p50, ms", "p99, ms", "max, ms", "late, ms", "requests", "refused", ""]]
    for row in report["open"]:
        figures = [_figure(row[name]) for name in HIGHER_IS_BETTER]
        counts = [str(row["requests"]), str(row["refused"])]
        others = [f"{row['max_ms']:.4g}", f"{row['late_ms']:.2g}", *counts, "saturated" if row["saturated"] else ""]
        rows.append([row["asked"], row["protocol"], f"{row['rate']:g}", *figures, *others])
    return Section("Latency at a given rate: open loop", _OPEN, rows if report["open"] else ())


def _where(report: Report) -> Section:
    told = [row for row in report["closed"] if row["parts_ms"]]
    rows = [["asked", "protocol", "clients", *PARTS]]
    rows += [[row["asked"], row["protocol"], str(row["clients"]), *(f"{row['parts_ms'][name]:.3g}" for name in PARTS)] for row in told]
    fewest, most = (choose((row["clients"] for row in told), default=0) for choose in (min, max))
    drawn = [
        Bar(f"{row['asked']}, {row['protocol']}, {row['clients']}", [row["parts_ms"][name] for name in PARTS])
        for row in told
        if row["clients"] in (fewest, most)
    ][:_STACKED]
    plots = [bars("Where the time goes", "ms (asked, protocol, clients)", PARTS, drawn)]
    return Section("Where the time goes", _WHERE, rows if told else (), plots)


def _engine(report: Report) -> Section:
    words = []
    if built := report.get("built"):
        words.append(
            f"The builder measured {built['images_per_second']:.4g} images/s ±{built['spread']:.0%} at batch {built['batch']} "
            f"(p50 {built['median_ms']:.3g}, p99 {built['p99_ms']:.3g} ms), on the machine that built it (build.json)."
        )
    rows = [["engine alone", "batch", "images/s", "p50, ms", "p99, ms", "max, ms"]]
    points = []
    for row in sorted(report["engine"], key=lambda row: row["batch"]):
        figures = [_figure(row[name]) for name in HIGHER_IS_BETTER]
        rows.append([row["source"], str(row["batch"]), *figures, f"{row['max_ms']:.4g}"])
        points.append(Point(row["batch"], row["images_per_second"]["median"], f"batch {row['batch']}, {figures[0]}"))
    plots = [lines("Engine alone", "batch", "images/s", [Line("engine alone", points, 0)])] if points else []
    return Section("The engine alone", words, rows if points else (), plots)


def _library(report: Report) -> Section:
    rows = [["Classifier.classify", "protocol", "images/s"]]
    rows += [[f"sends {row['asked']}", row["protocol"], _figure(row["images_per_second"])] for row in report["library"]]
    words = ["From a file on disk to its labels, with the library's defaults (8 pictures a request, 4 requests under way), one process."]
    return Section("The client library", words, rows if report["library"] else ())


def _circumstances(report: Report) -> Section:
    host, used = report["machine"], report["processor"]
    units = ", ".join(host["vector_units"]) or "no AVX2"
    cores = (
        f"its clients {used['clients']}, the server {used['server']}, other work {used['other_work']}"
        if used["server"] is not None
        else f"its clients {used['clients']}, the server (whose process cannot be seen) and other work {used['other_work']}"
    )
    words = [
        f"{host['cores']} cores, {host['processor']} ({units}), {host['memory_gib']} GiB, kernel {host['kernel']}"
        + (f", {host['gpu']}." if host.get("gpu") else "."),
        f"Load average {host['load_before']} before, {report['load_after']} after. Cores used while it measured: {cores}.",
        "Served: " + _pairs(report["served"]) + ".",
        "Settings: " + _pairs(report["settings"]) + ".",
        "Versions: " + _pairs(report["versions"]) + ".",
        f"Command: {report['command']}",
    ]
    if report["requests_of_others"]:
        words.append(f"Others asked the server {report['requests_of_others']} times meanwhile (its own watcher is one of them).")
    words += [f"Note: {note}" for note in report["notes"]]
    return Section("Machine, versions, settings", words)


def _pairs(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in found.items())
