"""What every stage's command does around its work: errors to exit codes, signals to a clean end, progress."""

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from services.core.errors import StackError
from services.core.hints import command

log = logging.getLogger(__name__)


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
    try:
        code = main()
        sys.stdout.flush()
    except StackError as error:
        log.error("error: %s", error, exc_info=debug)
        if error.hint:
            log.error("   fix: %s", error.hint)
        code = error.exit_code
    except KeyboardInterrupt:
        code = _interrupted(signal.SIGINT)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): no error of ours; keep Python from reporting it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        log.error("error: %s", error, exc_info=debug)
        log.error("   fix: %s", "free some disk space and run it again" if full else "see the error; --debug shows where")
        code = 7 if full else 70
    except Exception as error:
        if told:  # an extension module that is being imported makes an ImportError of it
            code = _interrupted(told[0])
        else:
            log.error("error: %s: %s (a defect of this stack)", type(error).__name__, error, exc_info=debug)
            log.error("   fix: run it again with --debug and report what it prints")
            code = 70
    sys.exit(code)


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


def argument_parser(stage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser every stage starts from: uniform help, and ``--debug``."""
    parser = argparse.ArgumentParser(
        prog=command(stage),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show debug messages, and a traceback with an error")
    return parser
