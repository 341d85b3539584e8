"""Does the server keep its memory to itself? So many requests of each kind, and what its processes hold after each number of them.

  python -m benchmarks.memory model_repository/tiny --requests 1000,10000,100000

Asks a server of its own with pixels and with JPEG files, over HTTP and gRPC, by eight clients; a small model makes it quick. A table
in Markdown goes to stdout, progress to stderr. Every answer is compared with a known one.
"""

import argparse
import itertools
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import PROTOCOLS, Clients
from benchmarks.pictures import Bare, photographs, write
from benchmarks.published import Published
from benchmarks.report import head, heading
from benchmarks.server import Server, serve
from services.core import log as logs
from services.core import stage
from services.core.names import image_name

log = logging.getLogger(__name__)

_CLIENTS = 8
_SIZE = (160, 120)


def resident(server: Server) -> dict[str, list[float]]:
    """MiB that each process of the server holds in memory that is its own, by the program's name and, of a model, the model's."""
    found: dict[str, list[float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) != server.process.pid:
                continue
            words = (folder / "cmdline").read_text().split("\0")
            held = next(line for line in (folder / "smaps_rollup").read_text().splitlines() if line.startswith("Pss_Anon:"))
        except (OSError, StopIteration):  # it ended meanwhile
            continue
        name = Path(words[1]).parts[-3] if words[0].endswith("stub") else Path(words[0]).name
        found.setdefault(name, []).append(int(held.split()[1]) / 1024)
    return found


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a published model: model_repository/<model>")
    parser.add_argument("--requests", default="1000,10000,100000", metavar="N,N", help="look after so many (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    options = parser.parse_args(arguments)
    options.requests = [int(number) for number in options.requests.split(",")]
    return options


def main() -> int:
    """Ask, and print."""
    options = parse_arguments(sys.argv[1:])
    published = Published.read(options.folder.resolve())
    bare = Bare.of(published)
    files = [published.file_question(picture, bare.scores(bare.inputs([picture]))) for picture in photographs(_SIZE)]
    kinds = {
        "pixels": [published.question(row) for row in range(_CLIENTS)],
        "files": list(itertools.islice(itertools.cycle(files), _CLIENTS)),
    }
    rows: list[tuple[int, dict[str, list[float]]]] = []
    with tempfile.TemporaryDirectory(prefix="memory-") as scratch, Clients(_CLIENTS) as clients:
        repository = Path(scratch) / "repository"
        write("", published.folder, repository)
        with serve(repository, image_name(published.folder.name)) as server:
            asked = 0
            for number in options.requests:
                for protocol, (kind, questions) in itertools.product(PROTOCOLS, kinds.items()):
                    log.info("%s over %s: %d to %d", kind, protocol, asked, number)
                    address = server.http if protocol == "http" else server.grpc
                    clients.measure(protocol, address, questions, requests=number - asked)
                asked = number
                rows.append((number, resident(server)))
    names = sorted(rows[0][1])
    lines = [*heading(head(published)), f"| requests of each kind | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for number, held in rows:
        cells = (" + ".join(f"{part:.0f}" for part in sorted(held.get(name, []))) for name in names)
        lines.append(f"| {number} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join([*lines, "", "MiB of anonymous memory, one figure per process."]) + "\n")
    return 0


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
