"""What every stage's command does around its work: errors to exit codes, signals to a clean end, progress."""

import argparse
import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from services.core import log as logging_setup
from services.core.errors import StackError
from services.core.hints import command
from services.core.log import printable

log = logging.getLogger(__name__)

DEFECT = 70
_MORE_MEMORY = "give it more (with Docker EXPORTER_MEMORY, BUILDER_MEMORY, CLIENT_MEMORY), or take smaller pictures, CROP and RESIZE"


def run(main: Callable[[], int], *, debug: bool) -> NoReturn:
    """Run a stage and end the process with its exit code; a traceback is shown only with ``debug``."""
    told: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        """Leave through the ``finally`` blocks."""
        told.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, stop)
    if not logging.getLogger().hasHandlers():  # a mistake in the settings is told before they say how to talk
        logging_setup.set_up("")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a letter of a label must not end the run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _interrupted(signal.SIGINT)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): no error of ours; keep Python from reporting it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except Exception as error:
        code, message, hint = _verdict(error)
        if code == DEFECT and told:  # an extension module that is being imported makes an ImportError of it
            code = _interrupted(told[0])
        else:
            log.error("error: %s", message, exc_info=debug)
            if hint:
                log.error("   fix: %s", hint)
    sys.exit(code)


def _verdict(error: Exception) -> tuple[int, str, str]:
    """Exit code, message and fix of what ended a stage."""
    if isinstance(error, StackError):
        return error.exit_code, str(error), error.hint
    if isinstance(error, MemoryError):
        return 8, f"not enough memory: {error or 'no more is to be had'}", _MORE_MEMORY
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 7, str(error), "free some disk space and run it again"
    # A socket's error has no name in it; a disk's may lack one.
    if isinstance(error, OSError) and (error.filename is not None or error.errno in (errno.EIO, errno.EROFS, errno.ESTALE)):
        return 7, str(error), f"see that uid {os.getuid()} may read and write there, or name another; --debug shows where it is used"
    if isinstance(error, UnicodeDecodeError):  # its bytes are not shown: they may be a key
        found = f"a file holds bytes that are no {error.encoding} text, expected text ({error.reason} at {error.start})"
        return 4, found, "run the stage that writes it again; --debug shows where it is read"
    return DEFECT, f"{type(error).__name__}: {error} (a defect of this stack)", "run it again with --debug and report what it prints"


def _interrupted(number: int) -> int:
    log.error("interrupted; nothing half-written is left behind")
    return 128 + number


@contextlib.contextmanager
def progress(what: str, *, every_seconds: float = 5.0) -> Iterator[None]:
    """Say that ``what`` begins, that it is still going on, and how long it took."""
    started = time.monotonic()
    log.info("%s ...", what)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(every_seconds):
            log.info("%s ... %.0f s", what, time.monotonic() - started)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
    log.info("%s: done in %.1f s", what, time.monotonic() - started)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message, keep="\n"))


def argument_parser(stage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser every stage starts from: uniform help, and ``--debug``."""
    parser = _Parser(
        prog=command(stage),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show debug messages, and a traceback with an error")
    return parser
