"""The client's command: ``python -m services.client [classify|verify|wait] [PICTURE ...]``."""

import logging
import os
from pathlib import Path
from typing import NoReturn

from services.client.arguments import Arguments
from services.client.asking import Asking
from services.client.classify import classify
from services.client.connect import connect
from services.client.served import ServedModel
from services.client.verify import verify
from services.client.wait import ABSENT_SECONDS, wait_until_ready
from services.core import log as logging_setup
from services.core import stage
from services.core.errors import SettingsError
from services.core.hints import command
from services.core.settings import ClientSettings
from services.images.decode import own_pillow

log = logging.getLogger(__name__)

SAMPLES = (Path("/samples"), Path("samples"))


def main(argv: list[str] | None = None) -> NoReturn:
    """Parse, run one command, and end the process with its exit code."""
    arguments = Arguments.parse(argv)
    stage.run(lambda: work(arguments), debug=arguments.debug)


def work(arguments: Arguments) -> int:
    """Run one command and return the exit code.

    Raises:
        StackError: whatever the command cannot do.
    """
    logging_setup.set_up("client", debug=arguments.debug)
    own_pillow()
    settings = ClientSettings.from_env(os.environ, **arguments.settings)
    logging_setup.set_up("client", settings.name, style=settings.log_format, debug=arguments.debug)
    pictures = (arguments.pictures or samples()) if arguments.command == "classify" else ()
    # Whoever waits on purpose may have started the server a moment ago.
    on_purpose = arguments.command == "wait" or "wait_seconds" in arguments.settings
    name = wait_until_ready(settings, settings.wait_seconds if on_purpose else ABSENT_SECONDS)
    logging_setup.set_up("client", name, style=settings.log_format, debug=arguments.debug)
    if arguments.command == "wait":
        log.info("%s is ready", name)
        return 0
    with connect(settings) as transport:
        model = ServedModel.of(transport, name, settings)
        if arguments.command == "verify":
            verify(model, settings, arguments.golden, as_json=arguments.json)
            return 0
    with Asking(model, settings) as asking:
        classify(asking, settings, pictures, as_json=arguments.json, skip_done=arguments.skip_done)
    return 0


def samples() -> tuple[str, ...]:
    """The folder of sample photographs.

    Raises:
        SettingsError: there is none, so a picture has to be named.
    """
    for folder in SAMPLES:
        if folder.is_dir():
            return (str(folder),)
    raise SettingsError("no picture named, and there is no folder samples/ here", hint=f"name one: {command('client', 'photo.jpg')}")


if __name__ == "__main__":
    main()
