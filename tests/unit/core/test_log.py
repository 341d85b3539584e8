"""Talk goes to stderr, a line a message, for people or for machines."""

import json

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
    assert run_python(code).stderr == "[client] a?]0;title?.jpg: HTTP 404 ?31m?? Caf\xe9\u202f1\n second line\n"
