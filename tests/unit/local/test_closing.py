"""The commands that scripts/up prints."""

import shlex

import pytest

from services.local.closing import closing, served_models
from tests.ports import free_ports


def commands(text: str) -> list[str]:
    return [line[20:] for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize(
    ("served", "command"),
    [
        (["net"], "scripts/classify samples/rocket.jpg"),
        ([], "scripts/classify samples/rocket.jpg"),
        (["net", "other"], "scripts/classify --model net samples/rocket.jpg"),
        (["other"], "scripts/classify --model net samples/rocket.jpg"),
    ],
)
def test_the_model_is_named_where_the_server_has_others(served, command):
    assert commands(closing("net", served, "1", "2", "3"))[0] == command


def test_every_command_is_one_for_the_shell():
    for command in commands(closing("net-1.5_x", ["net-1.5_x"], "8000", "8001", "8002")):
        assert shlex.split(command)[0] in ("scripts/classify", "scripts/builder", "curl", "scripts/down")


def test_a_server_that_does_not_say_has_no_models():
    assert served_models(free_ports(1)[0]) == []
