"""``python -m services.builder``: an exported graph becomes a published, proven version in Triton's model repository."""

import argparse
import json
import logging
import os
import sys

from services.core import log as logging_setup
from services.core import stage
from services.core.settings import BuilderSettings

log = logging.getLogger(__name__)

_DESCRIPTION = """Compile an exported model, prove it against the original, and publish it for Triton.

commands:
  build                build and publish, unless the live version is already what would be built (the default)
  list                 show the published versions
  rollback [VERSION]   serve an older version again, with the config it was published with
  retire               take the model out of service; its versions stay, and rollback VERSION serves one again
  verify               ask the live version (over the server, where one answers) for the golden set

examples:
  PRECISION=fp16 python -m services.builder
  python -m services.builder rollback 3
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, run one command, and return the exit code."""
    parser = stage.argument_parser("builder", _DESCRIPTION, BuilderSettings.help())
    parser.add_argument(
        "command", nargs="?", choices=["build", "list", "rollback", "retire", "verify"], default="build", help=argparse.SUPPRESS
    )
    parser.add_argument("version", nargs="?", type=int, help="with rollback: the version to serve")
    parser.add_argument("--force", action="store_true", help="build again, even when nothing has changed")
    parser.add_argument("--json", action="store_true", help="print the result on stdout as JSON")
    arguments = parser.parse_args(argv)
    if arguments.version is not None and arguments.command != "rollback":
        parser.error(f"{arguments.command} takes no version")

    def work() -> int:
        logging_setup.set_up("builder", debug=arguments.debug)
        settings = BuilderSettings.from_env(os.environ)
        logging_setup.set_up("builder", settings.name, style=settings.log_format, debug=arguments.debug)
        # Imported after the settings are known to be good: numpy, grpc and protobuf take most of a second.
        from services.builder import commands

        result = commands.run(arguments.command, settings, version=arguments.version, force=arguments.force)
        if arguments.json:
            sys.stdout.write(json.dumps(result) + "\n")
        elif arguments.command == "list":
            sys.stdout.write(commands.table(result))
        return 0

    stage.run(work, debug=arguments.debug)


if __name__ == "__main__":
    main()
