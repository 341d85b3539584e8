"""The command line of ``scripts/bench``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench.plan import FULL, QUICK, Plan
from benchmarks.load import PROTOCOLS
from services.core.errors import SettingsError

_DESCRIPTION = """Measures a published model on this machine, and writes one report: index.html, report.md and report.json.

It asks the server at HTTP_PORT and GRPC_PORT where one answers, else one of its own. All in all some 10 minutes; --quick: under two.
Ctrl-C ends it early, and what was measured by then is reported. The report as text goes to stdout, progress to stderr."""
NONE = "none"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Arguments:
    """What was asked for; empty where the settings of the stack say it."""

    plan: Plan
    model: str
    url: str
    grpc_url: str
    pictures: Path
    output: Path
    against: str
    fail_on_regression: bool
    json: bool


def parse(words: Sequence[str]) -> Arguments:
    """Read the command line.

    Raises:
        SettingsError: an option is out of its range.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer cells, two short rounds: under two minutes")
    add("--against", default="", metavar="FILE", help="compare with that report.json; none: with no report (the newest like this)")
    add("--fail-on-regression", action="store_true", help="exit code 1 where something is worse than in the earlier report")
    add("--json", action="store_true", help="print report.json in the place of report.md")
    add("--model", default="", metavar="NAME", help="served name of a published model (that of MODEL and MODEL_NAME)")
    add("--url", default="", metavar="HOST:PORT", help="HTTP address of the server (127.0.0.1:HTTP_PORT)")
    add("--grpc-url", default="", metavar="HOST:PORT", help="its gRPC address (127.0.0.1:GRPC_PORT)")
    add("--pictures", type=Path, default=ROOT / "samples", metavar="FOLDER", help="photographs to ask about (samples)")
    add("--output", type=Path, default=ROOT / "reports", metavar="FOLDER", help="where reports go, a folder each (reports)")
    add("--rounds", metavar="N", help=f"over all cells ({FULL.rounds}; quick: {QUICK.rounds})")
    add("--seconds", metavar="S", help=f"of an open loop, others take half of it ({FULL.seconds:g}; quick: {QUICK.seconds:g})")
    add("--clients", metavar="N,N", help=f"of the closed loop ({_commas(FULL.clients)}; quick: {_commas(QUICK.clients)})")
    add("--batches", metavar="N,N", help=f"of the engine alone ({_commas(FULL.batches)}; quick: {_commas(QUICK.batches)})")
    add("--rates", metavar="N", help=f"how many of the open loop ({FULL.rates}; quick: {QUICK.rates})")
    add("--protocols", metavar="P,P", help=f"({','.join(FULL.protocols)})")
    add("--debug", action="store_true", help="show a traceback with an error")
    given = parser.parse_args(words)
    return Arguments(
        plan=_plan(given),
        model=given.model,
        url=given.url,
        grpc_url=given.grpc_url,
        pictures=given.pictures,
        output=given.output,
        against=given.against,
        fail_on_regression=given.fail_on_regression,
        json=given.json,
    )


def _plan(given: argparse.Namespace) -> Plan:
    plan = QUICK if given.quick else FULL
    plan = replace(
        plan,
        rounds=_number("rounds", given.rounds or str(plan.rounds)),
        rates=_number("rates", given.rates or str(plan.rates)),
        clients=_numbers("clients", given.clients) or plan.clients,
        batches=_numbers("batches", given.batches) or plan.batches,
    )
    if given.seconds:
        try:
            plan = replace(plan, seconds=float(given.seconds))
        except ValueError:
            raise SettingsError(f"--seconds {given.seconds}: expected a number", hint="--seconds 2") from None
        if not 0.1 <= plan.seconds <= 3600:  # NaN, too
            raise SettingsError(f"--seconds {given.seconds}: expected 0.1 to 3600", hint="--seconds 2")
    if given.protocols:
        plan = replace(plan, protocols=tuple(dict.fromkeys(given.protocols.split(","))))
        if unknown := set(plan.protocols) - set(PROTOCOLS):
            raise SettingsError(f"--protocols: {', '.join(sorted(unknown))} is unknown", hint="--protocols http,grpc")
    return plan


def _number(option: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise SettingsError(f"--{option} {text}: expected whole numbers from 1 to 1024", hint=f"--{option} 4")
    return int(text)


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    return tuple(sorted({_number(option, part) for part in text.split(",")})) if text else ()


def _commas(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
