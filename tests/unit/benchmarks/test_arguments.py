"""The command line of scripts/bench, and its help."""

import re
import subprocess

import pytest

from benchmarks.bench.arguments import parse
from benchmarks.bench.plan import FULL, QUICK
from services.core.errors import SettingsError


def test_without_a_word_everything_is_measured():
    assert parse([]).plan == FULL
    assert parse([]).output.is_absolute()
    assert any(parse([]).pictures.iterdir())
    assert parse(["--quick"]).plan == QUICK


def test_the_words_change_the_plan():
    plan = parse(["--quick", "--rounds=3", "--seconds=0.5", "--clients=8,1,8", "--batches=2", "--rates=1", "--protocols=grpc"]).plan
    assert (plan.rounds, plan.seconds, plan.clients, plan.batches, plan.rates, plan.protocols) == (3, 0.5, (1, 8), (2,), 1, ("grpc",))


@pytest.mark.parametrize(
    "words",
    [
        ("--rounds", "0"),
        ("--rounds", "1.5"),
        ("--clients", "1,,2"),
        ("--clients", "-1"),
        ("--batches", "5000"),
        ("--seconds", "nan"),
        ("--seconds", "0"),
        ("--seconds", "soon"),
        ("--protocols", "http,ftp"),
    ],
)
def test_what_cannot_be_measured_is_refused(words):
    with pytest.raises(SettingsError, match=words[0]):
        parse([f"{words[0]}={words[1]}"])


def test_the_quick_plan_is_for_two_minutes_and_the_full_one_for_some_ten():
    assert QUICK.whole_seconds(2, engine=True) < 120
    assert 300 < FULL.whole_seconds(2, engine=True) < 720


def test_the_help_of_the_script_names_every_option(root, capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    done = subprocess.run([root / "scripts" / "bench", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert "#" not in done.stdout
    assert options <= set(re.findall(r"--[a-z][a-z-]+", done.stdout))
