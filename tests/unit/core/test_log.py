"""Talk goes to stderr, a line a message, for people or for machines."""

import json
import sys

from services.core.log import printable

TALK = """
import logging, sys
from services.core import log
log.set_up("builder", "tiny", style=sys.argv[1], debug=sys.argv[2] == "debug")
logging.getLogger("a").debug("detail")
logging.getLogger("a").info("built %d", 3)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("a").error("broken", exc_info=True)
"""


def test_text_names_stage_and_model_and_has_no_colours_in_a_file(run_python):
    result = run_python(TALK, "text", "plain")
    assert result.stdout == ""
    assert result.stderr.startswith("[builder tiny] built 3\n[builder tiny] broken\nTraceback")
    assert "\033" not in result.stderr


def test_json_is_one_object_a_line_also_with_a_traceback(run_python):
    entries = [json.loads(line) for line in run_python(TALK, "json", "debug").stderr.splitlines()]
    assert [(entry["level"], entry["message"]) for entry in entries] == [("debug", "detail"), ("info", "built 3"), ("error", "broken")]
    assert {(entry["stage"], entry["model"]) for entry in entries} == {("builder", "tiny")}
    assert "ZeroDivisionError" in entries[2]["traceback"]


def test_escape_sequences_do_not_reach_the_terminal(run_python):
    code = r"""
import logging
from services.core import log
log.set_up("client")
logging.getLogger("a").error("%s", "a\x1b]0;title\x07.jpg: HTTP 404 \x9b31m\u202e\u2028 Caf\xe9\u202f1\n second line")
"""
    shown = r"[client] a\x1b]0;title\x07.jpg: HTTP 404 \x9b31m\u202e\u2028 Caf"
    assert run_python(code).stderr == f"{shown}\xe9\u202f1\n second line\n"


def test_our_own_colours_survive_on_a_terminal_and_those_of_others_do_not(run_python):
    code = r"""
import io, logging, sys
from services.core import log
class Terminal(io.StringIO):
    isatty = lambda self: True
sys.stderr = Terminal()
log.set_up("client")
logging.getLogger("a").warning("\x1b[5mblinks")
sys.stdout.write(sys.stderr.getvalue())
"""
    assert run_python(code).stdout == "\033[33m[client] \\x1b[5mblinks\033[0m\n"


def test_a_warning_of_python_is_a_line_of_the_log(run_python):
    code = r"""
import warnings
from services.core import log
warnings.simplefilter("default")
log.set_up("client")
warnings.warn("a\x1b[31m.png is odd")
"""
    assert run_python(code).stderr.startswith("[client] <string>:6: UserWarning: a\\x1b[31m.png is odd")


def test_only_what_a_terminal_acts_upon_is_shown_as_an_escape():
    """Every character there is."""
    acting = {*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
    changed = {code for code in range(sys.maxunicode + 1) if printable(chr(code)) != chr(code)}
    assert changed == acting
    assert all(printable(chr(code)).isprintable() and printable(chr(code)).startswith("\\") for code in acting)


def test_what_is_kept_stays_and_what_was_escaped_once_stays_as_it_is():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
    assert printable(printable("\x1b[31m \udcff")) == r"\x1b[31m \udcff"
