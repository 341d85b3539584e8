"""The command line alone."""

import pytest

from services.builder.arguments import COMMANDS, Arguments


@pytest.mark.parametrize(
    ("line", "command", "version", "model"),
    [
        ("", "build", None, ""),
        ("build", "build", None, ""),
        ("rollback", "rollback", None, ""),
        ("rollback 3", "rollback", 3, ""),
        ("--json rollback 3", "rollback", 3, ""),
        ("rollback --json 3", "rollback", 3, ""),
        ("retire", "retire", None, ""),
        ("retire resnet50", "retire", None, "resnet50"),
        ("retire 3", "retire", None, "3"),
        ("verify --debug", "verify", None, ""),
    ],
)
def test_a_command_and_what_it_takes(line, command, version, model):
    found = Arguments.parse(line.split())
    assert (found.command, found.version, found.model) == (command, version, model)
    assert (found.json, found.debug) == ("--json" in line, "--debug" in line)


def test_backup_and_restore_take_a_file():
    found = Arguments.parse(["restore", "--model", "a", "x.tar", "--model", "b", "--dry-run"])
    assert (found.command, found.file, found.models, found.model, found.dry_run) == ("restore", "x.tar", ("a", "b"), "", True)
    found = Arguments.parse(["backup", "-", "--with-weights"])
    assert (found.file, found.models, found.with_weights) == ("-", (), True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("rollback abc", "rollback takes the number of a version, found 'abc'"),
        ("rollback -1", "found '-1'"),
        ("roll back", "invalid choice: 'roll'"),
        ("list 3", "list takes no further words, found '3'"),
        ("rollback 3 4", "unrecognized arguments: 4"),
        ("list --force", "--force belongs to build, found it with list"),
        ("verify --dry-run", "--dry-run belongs to build and restore, found it with verify"),
        ("backup", "backup takes a FILE, or - for standard output"),
        ("restore --dry-run", "restore takes a FILE, or - for standard input"),
        ("backup - --json", "--json prints to standard output, where the backup goes"),
        ("backup --model tiny x.tar", "--model belongs to restore, found it with backup"),
        ("restore --with-weights x.tar", "--with-weights belongs to backup, found it with restore"),
        ("build --force --dry-run", "--force compiles in any case"),
        ("--fource", "unrecognized arguments: --fource"),
    ],
)
def test_a_mistake_shows_the_usage_and_what_was_found(capsys, line, told):
    with pytest.raises(SystemExit) as end:
        Arguments.parse(line.split())
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: ")
    assert told in shown


@pytest.mark.parametrize(("launcher", "program"), [("local", "scripts/builder"), ("", "python -m services.builder")])
def test_help_teaches_every_command_in_the_words_of_the_launcher(monkeypatch, capsys, launcher, program):
    monkeypatch.setenv("LAUNCHER", launcher)
    monkeypatch.setattr("services.core.hints.in_container", lambda: False)
    with pytest.raises(SystemExit) as end:
        Arguments.parse(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert f"\n  {program} rollback 3\n" in text
    assert "\n  MAX_QUEUE_DELAY_US " in text
