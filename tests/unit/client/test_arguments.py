"""The command line alone."""

import pytest

from services.client.arguments import Arguments


@pytest.mark.parametrize(
    ("words", "command", "pictures"),
    [
        ([], "classify", ()),
        (["a.jpg"], "classify", ("a.jpg",)),
        (["classify", "a.jpg", "-"], "classify", ("a.jpg", "-")),
        (["classify", ""], "classify", ("",)),
        (["verify"], "verify", ()),
        (["wait"], "wait", ()),
        (["./verify"], "classify", ("./verify",)),
        (["a.jpg", "verify"], "classify", ("a.jpg", "verify")),
    ],
)
def test_classify_is_the_default_command(words, command, pictures):
    arguments = Arguments.parse(words)
    assert (arguments.command, arguments.pictures) == (command, pictures)


@pytest.mark.parametrize("line", ["--json a.jpg --top 3 b.jpg", "--top=3 a.jpg b.jpg --json", "a.jpg b.jpg --json --top 3"])
def test_options_stand_anywhere(line):
    arguments = Arguments.parse(line.split())
    assert (arguments.pictures, arguments.json, arguments.settings) == (("a.jpg", "b.jpg"), True, {"top_k": "3"})


def test_standard_input_is_not_an_option():
    assert Arguments.parse(["-", "--json"]).pictures == ("-",)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("verify a.jpg", "verify takes no pictures, found a.jpg"),
        ("wait a.jpg", "wait takes no pictures, found a.jpg"),
        ("a.jpg --golden g.npz", "--golden belongs to verify, found it with classify"),
        ("wait --skip-done a.jsonl", "--skip-done belongs to classify, found it with wait"),
        ("--tpo 3 a.jpg", "unrecognized arguments: --tpo"),
    ],
)
def test_a_mistake_shows_the_usage(line, found, capsys):
    with pytest.raises(SystemExit) as caught:
        Arguments.parse(line.split())
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage:")
    assert found in shown


@pytest.mark.parametrize(("launcher", "program"), [("local", "scripts/classify"), ("", "python -m services.client")])
def test_help_has_every_option_and_examples_as_they_are_typed(launcher, program, monkeypatch, capsys):
    monkeypatch.setenv("LAUNCHER", launcher)
    monkeypatch.setattr("services.core.hints.in_container", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        Arguments.parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {program} ")
    assert f"  {program} --json 'photos/**/*.jpg' > answers.jsonl" in shown
    for words in ("--top K ", "classes to show per picture (TOP_K)", "WAIT_SECONDS ", "Exit codes:"):
        assert words in shown
