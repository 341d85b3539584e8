"""Our reader of .env and Compose itself understand every line alike."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from services.core.errors import SettingsError
from services.core.settings.reference import keys
from services.local import compose, dotenv

ROOT = Path(__file__).resolve().parents[2]
LINES = r"""
PLAIN=resnet18
COMMENT=8000 # http
QUOTED="resnet18" # note
SINGLE='a # b'  # c
HASH=a#b
EMPTY=
EMPTY_QUOTED=""
BLANK_LINE_BELOW=1

# a comment
   INDENTED=2
export EXPORTED=exported
AROUND = around
TRAILING=x@@
SPACES=a b c
EQUALS=a=b=c
APOSTROPHE=it's
TABS="tab\there"
NEWLINE="a\nb"
LITERAL='a\nb'
QUOTES="a \"b\" c"
BARE=$PLAIN
BRACES="${PLAIN}-x"
UNEXPANDED='$PLAIN ${PLAIN}'
DEFAULT=${UNKNOWN:-other}
DEFAULT_IF_UNSET="${EMPTY-x}${EMPTY:-y}${UNKNOWN-z}"
UNKNOWN_IS_EMPTY=[$UNKNOWN]
DOLLARS=$$PLAIN
ESCAPED="a\$b"
SHELL_WINS=file
FROM_SHELL=$SHELL_WINS/$ONLY_SHELL
EMPTY_SHELL=file
TWICE=1
TWICE=2
MULTILINE="a
b"
UMLAUT=müller
""".replace("@", " ")  # blanks at the end of a line
SHELL = {"SHELL_WINS": "shell", "ONLY_SHELL": "only", "EMPTY_SHELL": ""}
KEYS = [line.split("=")[0].strip().removeprefix("export ") for line in LINES.splitlines() if "=" in line]

needs_compose = pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="docker compose is not installed",
)


@pytest.fixture
def file(tmp_path):
    (tmp_path / ".env").write_text(LINES)
    return tmp_path / ".env"


@pytest.fixture
def ours(file):
    return dotenv.read(file, SHELL)


@pytest.fixture
def composes(file):
    return compose.settings(file.parent, KEYS, os.environ | SHELL)


@needs_compose
@pytest.mark.parametrize("key", dict.fromkeys(KEYS))
def test_a_line_is_read_alike(ours, composes, key):
    assert ours[key] == composes[key]


def test_values_are_those_that_a_person_means(ours):
    """Without Compose, at least these."""
    wanted = {"COMMENT": "8000", "QUOTED": "resnet18", "SINGLE": "a # b", "HASH": "a#b", "EXPORTED": "exported", "TRAILING": "x"}
    assert {key: ours[key] for key in wanted} == wanted


def test_the_shell_wins_and_an_empty_variable_counts_as_unset(ours):
    assert (ours["SHELL_WINS"], ours["FROM_SHELL"], ours["EMPTY_SHELL"]) == ("shell", "shell/only", "file")


@needs_compose
def test_the_stacks_own_file_is_read_alike():
    ours = dotenv.read(ROOT / ".env", {})
    assert ours == compose.settings(ROOT, ours, {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ})
    assert ours.keys() <= keys()


@pytest.mark.parametrize("line", ["just words", "A='open", 'A="open'])
def test_a_line_that_is_no_setting_is_named(file, line):
    file.write_text(f"GOOD=1\n{line}\n")
    with pytest.raises(SettingsError, match=r"\.env, line 2"):
        dotenv.read(file, {})


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_setting(file):
    file.write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert dotenv.read(file, {}) == {"A": "1", "B": "2"}


def test_no_file_means_no_settings(tmp_path):
    assert dotenv.read(tmp_path / ".env", {"A": "1"}) == {}
