"""The client's command line: ``python -m services.client [classify|verify|wait] [PICTURE ...]``."""

import argparse
import os
import sys
from pathlib import Path

from services.client.classify import classify
from services.client.transport import connect
from services.client.verify import verify
from services.client.wait import wait_until_ready
from services.core import log, stage
from services.core.errors import SettingsError
from services.core.settings import ClientSettings

COMMANDS = ("classify", "verify", "wait")
SAMPLES = (Path("/samples"), Path("samples"))

_DESCRIPTION = """\
Ask Triton what is in a picture.

commands:
  classify [PICTURE ...]    the default; without a picture, the photographs in samples/
  verify                    send the golden set to the live server and compare with the original model
  wait                      return as soon as the model is ready

A PICTURE is a file, a folder, a quoted pattern ('photos/**/*.jpg'), an http(s) address, or - for standard input.
Exit codes: 0 all went well, 2 settings, 6 other answers than the original model, 8 server, 9 a picture could not be read.
"""


def parser() -> argparse.ArgumentParser:
    """The command line; every option wins over the setting of the environment that it stands for."""
    options = stage.argument_parser("client", _DESCRIPTION, ClientSettings.help())
    options.add_argument("arguments", nargs="*", metavar="[COMMAND] PICTURE", help="see above")
    options.add_argument("--url", metavar="HOST:PORT", help="HTTP address of the server (TRITON_URL)")
    options.add_argument("--grpc-url", metavar="HOST:PORT", help="gRPC address of the server (TRITON_GRPC_URL)")
    options.add_argument("--protocol", choices=("http", "grpc"), help="which of the two to use (PROTOCOL)")
    options.add_argument("--model", metavar="NAME", help="name the model is served under (MODEL_NAME)")
    options.add_argument("--top", type=int, metavar="K", help="classes to show per picture (TOP_K)")
    options.add_argument("--batch", type=int, metavar="N", help="pictures per request (CLIENT_BATCH)")
    options.add_argument("--wait", type=float, metavar="SECONDS", help="time to wait for the model (WAIT_SECONDS)")
    options.add_argument("--timeout", type=float, metavar="SECONDS", help="time one request may take (REQUEST_TIMEOUT_SECONDS)")
    options.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    options.add_argument("--golden", type=Path, metavar="FILE", help="verify: the golden set; the published one where not given")
    return options


def main(options: argparse.Namespace) -> int:
    """Run one command and return the exit code.

    Raises:
        StackError: whatever the command cannot do.
    """
    settings = ClientSettings.from_env(
        os.environ,
        triton_url=options.url,
        triton_grpc_url=options.grpc_url,
        protocol=options.protocol,
        model_name=options.model,
        top_k=options.top,
        client_batch=options.batch,
        wait_seconds=options.wait,
        request_timeout_seconds=options.timeout,
    )
    log.set_up("client", settings.name, style=settings.log_format, debug=options.debug)
    command, pictures = split_command(options.arguments)
    if pictures and command != "classify":
        raise SettingsError(f"{command} takes no pictures, found {' '.join(pictures)}", hint="see --help")
    if options.golden and command != "verify":
        raise SettingsError(f"--golden belongs to verify, found it with {command}", hint="see --help")
    pictures = pictures or (samples() if command == "classify" else [])
    # Output for people may hold labels that the terminal has no letters for; that must not end the run.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    wait_until_ready(settings)
    with connect(settings) as transport:
        if command == "classify":
            classify(transport, settings, pictures, as_json=options.json)
        elif command == "verify":
            verify(transport, settings, options.golden, as_json=options.json)
    return 0


def split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """The command and its pictures; a file that is called like a command is written ``./verify``."""
    if arguments and arguments[0] in COMMANDS:
        return arguments[0], arguments[1:]
    return "classify", arguments


def samples() -> list[str]:
    """The folder of sample photographs.

    Raises:
        SettingsError: there is none, so a picture has to be named.
    """
    for folder in SAMPLES:
        if folder.is_dir():
            return [str(folder)]
    raise SettingsError("no picture given, and no folder samples/ here", hint="name a picture: python -m services.client photo.jpg")


if __name__ == "__main__":
    log.set_up("client")
    parsed = parser().parse_intermixed_args()
    stage.run(lambda: main(parsed), debug=parsed.debug)
