"""The commands of the launcher without Docker. ``scripts/*`` make its environment and call them."""

import argparse
import hashlib
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import NoReturn

from services.core import log as logging_setup
from services.core import stage
from services.core.errors import ToolError
from services.core.settings.check import check
from services.local import dotenv, gpu, processes
from services.local.closing import closing, served_models
from services.local.stack import PORTS, Folders, Stack

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
QUESTION = ("samples/coffee.jpg", "samples/chelsea.jpg")

_DESCRIPTION = """The launcher without Docker: the stages as processes of this Python's environment, and the server under a supervisor.

commands:
  check                  read all settings of all stages, and see that the ports are free
  up                     export, build, serve, and ask a first question; the server goes on running
  down                   stop the server
  classify [WORD ...]    ask the server: the client's command line
  builder [WORD ...]     the builder's command line
"""


def main(argv: list[str]) -> NoReturn:
    """Run one command, and end the process with its exit code."""
    logging_setup.set_up("local")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.run(lambda: work(argv), debug="--debug" in argv)


def work(argv: list[str]) -> int:
    """Run one command and return its exit code.

    Raises:
        StackError: whatever the command cannot do.
    """
    parser = stage.argument_parser("local", _DESCRIPTION, "settings: .env, docs/configuration.md")
    parser.add_argument("command", choices=("check", "up", "down", "classify", "builder"), help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="classify: where the names of pictures start")
    options = parser.parse_args(argv)
    if options.words and options.command not in ("classify", "builder"):
        parser.error(f"{options.command} takes no {options.words[0]}")
    own = {key: value for key, value in os.environ.items() if value}
    written = dotenv.read(ROOT / ".env", own)
    settings = {**written, **own}
    # Stopping and asking need not know, and nvidia-smi takes its time.
    fixed = {} if options.command in ("down", "classify") else {"ACCELERATOR": gpu.accelerator(settings)}
    stack = Stack(Folders.of_checkout(ROOT, settings), settings, fixed)
    if options.command == "down":
        log.info("server stopped" if stack.stop() else "no server runs")
        (stack.folders.state / "launcher").unlink(missing_ok=True)
        return 0
    if options.command == "classify":
        # What the shell names is asked for; otherwise the client asks the server what it serves.
        unnamed = tuple(key for key in ("MODEL", "MODEL_NAME") if key not in own)
        return stack.run_stage("client", *options.words, folder=options.folder, without=unnamed)
    if options.command == "builder":
        return stack.run_stage("builder", *options.words)
    check(stack.settings, written)
    if stack.supervisor is None:
        stack.demand_free_ports()
    else:
        stack.demand_what_runs()
    return up(stack) if options.command == "up" else 0


def up(stack: Stack) -> int:
    """Export, build, serve, ask; whatever fails, a server that was started here is stopped again."""
    started = stack.supervisor is None
    launcher = stack.folders.state / "launcher"
    launcher.parent.mkdir(parents=True, exist_ok=True)
    launcher.write_text("local\n")
    code = 1
    try:
        code = _up(stack, started=started)
    finally:
        if code and started:
            if stack.stop():
                log.info("the server that was started is stopped")
            launcher.unlink(missing_ok=True)
    if code == 0:
        asked = launcher.with_name("settings.new")  # scripts/up wrote it
        if asked.exists():
            asked.replace(launcher.with_name("settings"))
        sys.stdout.write(closing(stack.name, served_models(int(stack.settings["HTTP_PORT"])), *(stack.settings[name] for name in PORTS)))
    return code


def _up(stack: Stack, *, started: bool) -> int:
    install(stack)
    for name in ("exporter", "builder"):
        if code := stack.run_stage(name):
            return code
    if started:
        log.info("server (log: .stack/%s) ...", stack.log_file.name)
        stack.start_server()
    stack.wait_until_healthy(float(stack.settings.get("WAIT_SECONDS") or 120), lambda why: log.info("server ... %s", why))
    log.info("server ready")
    return stack.run_stage("client", "classify", *QUESTION)


def install(stack: Stack) -> None:
    """The packages of ``PIP_PACKAGES``, without a change of those that are pinned.

    Raises:
        ToolError: pip cannot install them.
    """
    packages = stack.settings.get("PIP_PACKAGES", "").split()
    stamp = Path(sys.prefix) / f".packages-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:16]}"
    if not packages or stamp.exists():
        return
    log.info("packages %s ...", " ".join(packages))
    lock = (stack.folders.code / "requirements/local.lock").read_text()
    pins = stack.folders.state / "pins.txt"  # without the hashes: with one, pip demands a hash of the named packages too
    pins.write_text("\n".join(re.findall(r"^\S+==\S+", lock, re.MULTILINE)))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(pins), *packages]
    if code := processes.run(command, stack.environment(), stack.folders.code):
        raise ToolError(f"pip install ended with {code}", hint="its last lines above say why; PIP_PACKAGES names the packages")
    stamp.touch()
