"""The launcher without Docker: ``python -m services.local COMMAND``."""

import os
import signal
import sys

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # while modules are imported, there is nothing to clean up
        signal.signal(number, lambda number, _: os._exit(128 + number))

    from services.local.commands import main

    main(sys.argv[1:])
