"""The report in Markdown, and as a bar chart that reads on light and on dark ground."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.report import heading

_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f; }
    .head { font-weight: 600; font-size: 14px; }
    .note { font-size: 12px; fill: #57606a; }
    .bar { fill: #8c959f; }
    .ours { fill: #2da44e; }
    .limit { fill: none; stroke: #8c959f; stroke-dasharray: 4 3; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .note { fill: #9198a1; }
      .bar { fill: #6e7681; }
      .ours { fill: #3fb950; }
    }
"""
_WIDTH, _LEFT, _BAR, _ROW, _HEAD = 760, 210, 440, 24, 34


def table(report: dict[str, Any]) -> str:
    """All of it."""
    lines = [*heading(report), f"Peers: {', '.join(f'{name} {version}' for name, version in report['peers'].items())}.", ""]
    lines += [f"Rounds: {report['rounds']}, {report['seconds']} s a cell."]
    for comparison in report["comparisons"]:
        lines += ["", f"### {comparison['title']}"]
        busy = sorted(comparison["others"])
        lines += ["", f"Something else had {median(busy):.2f} cores meanwhile, {busy[0]:.2f} to {busy[-1]:.2f} in one measurement."]
        for size, limit in comparison["limits"].items():
            lines += ["", *_one_size(comparison["rows"], size, report["clients"]), _limit(limit, len(report["clients"]))]
        lines += ["", *(f"- Out: {title}: {reason}" for title, reason in comparison["failed"].items())]
    lines += ["", *(f"- Not installed: {title}: {reason}" for title, reason in report["absent"].items())]
    lines += [f"- Tried, {title}: {_trials(found)}" for title, found in report["trials"].items()]
    return "\n".join(lines).rstrip() + "\n"


def _one_size(rows: Sequence[dict[str, Any]], size: str, clients: Sequence[int]) -> Iterator[str]:
    columns = [f"{number} client{'s' * (number > 1)}: pictures/s; against ours | p50 / p99 / max, ms" for number in clients]
    yield f"| JPEG {size} | {' | '.join(columns)} | memory, MB | bytes a picture |"
    yield "|---" * (2 * len(clients) + 3) + "|"
    of_size = [row for row in rows if row["size"] == size]
    for name in dict.fromkeys(row["name"] for row in of_size):
        cells = {row["clients"]: row for row in of_size if row["name"] == name}
        first = next(iter(cells.values()))
        title = f"{first['title']} ({first['setting']})" if first["setting"] else first["title"]
        yield f"| {title} | {' | '.join(_cell(cells[number]) for number in clients)} | {first['memory_mb']} | {first['wire_bytes']:,} |"


def _limit(limit: dict[str, Any], columns: int) -> str:
    first = f"| bare: decoder and engine in one process | **{limit['rate']:.0f}** {_span(limit['rates'], '.0f')} |"
    return first + " |" * (2 * columns + 1)


def _cell(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio']:.2f} {_span(row['ratios'], '.2f')}"
    return f"**{row['rate']:.0f}**; {ratio} | {row['p50_ms']:.0f} / {row['p99_ms']:.0f} / {row['max_ms']:.0f}"


def _span(values: Sequence[float], form: str) -> str:
    return f"({min(values):{form}}-{max(values):{form}})" if values else ""


def _trials(found: dict[str, float]) -> str:
    return "; ".join(f"{setting} {rate:.0f}" for setting, rate in found.items())


def chart(report: dict[str, Any]) -> str:
    """Pictures a second at the largest number of clients as SVG: a panel for each comparison and size, a dashed line at the bare limit."""
    clients = max(report["clients"])
    parts: list[str] = []
    top = 0
    for comparison in report["comparisons"]:
        for size, limit in comparison["limits"].items():
            rows = [row for row in comparison["rows"] if row["size"] == size and row["clients"] == clients]
            parts += _panel(f"{comparison['title']}, JPEG {size}", rows, limit["rate"], top)
            top += _HEAD + _ROW * len(rows) + 16
    cores = report["machine"]["cores"]
    note = f"Pictures a second, {clients} clients, {cores} cores. Dashed: decoder and engine in one process, no server."
    parts.append(f'<text class="note" x="8" y="{top + 12}">{escape(note)}</text>')
    height = top + 24
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img"'
    title = "<title>Pictures a second, this product and other servers</title>"
    return "\n".join([f"{head}>", title, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def _panel(title: str, rows: Sequence[dict[str, Any]], limit: float, top: int) -> Iterator[str]:
    scale = _BAR / max([limit, *(row["rate"] for row in rows)])
    yield f'<text class="head" x="8" y="{top + 20}">{escape(title)}</text>'
    for number, row in enumerate(rows):
        y = top + _HEAD + _ROW * number
        kind = "bar ours" if row["name"].startswith("ours") else "bar"
        yield f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(row["title"].replace("*", ""))}</text>'
        yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{row["rate"] * scale:.1f}" height="{_ROW - 6}" rx="2"/>'
        yield f'<text class="note" x="{_LEFT + row["rate"] * scale + 6:.1f}" y="{y + 13}">{row["rate"]:.0f}</text>'
    x, bottom = _LEFT + limit * scale, top + _HEAD + _ROW * len(rows) - 4
    yield f'<line class="limit" x1="{x:.1f}" y1="{top + _HEAD - 4}" x2="{x:.1f}" y2="{bottom}"/>'
    yield f'<text class="note" x="{x + 4:.1f}" y="{top + _HEAD - 8}">{limit:.0f}</text>'
