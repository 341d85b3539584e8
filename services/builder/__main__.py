"""``python -m services.builder``: an exported graph becomes a published, proven version in Triton's model repository."""

import json
import os
import sys
from typing import NoReturn

from services.builder.arguments import Arguments
from services.core import log, stage
from services.core.settings import BuilderSettings


def main(argv: list[str] | None = None) -> NoReturn:
    """Parse, run one command, and end the process with its exit code."""
    arguments = Arguments.parse(argv)
    stage.run(lambda: work(arguments), debug=arguments.debug)


def work(arguments: Arguments) -> int:
    """Run one command and return the exit code.

    Raises:
        StackError: whatever the command cannot do.
    """
    log.set_up("builder", debug=arguments.debug)
    settings = BuilderSettings.from_env(os.environ, model_name=arguments.model or None)
    model = "" if arguments.file else settings.name  # a backup holds all models
    log.set_up("builder", model, style=settings.log_format, debug=arguments.debug)
    # Imported after the settings are known to be good: numpy, grpc and protobuf take most of a second.
    from services.builder import commands
    from services.images.decode import own_pillow

    own_pillow()
    result = commands.run(arguments, settings)
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
    elif arguments.command == "list":
        sys.stdout.write(commands.table(result))
    return 0


if __name__ == "__main__":
    main()
