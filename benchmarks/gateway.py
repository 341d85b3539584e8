"""What the gateway of compose.public.yaml costs over Triton itself, and what it does under more load than it lets through.

  python -m benchmarks.gateway FOLDER --triton HOST:8000 --gateway localhost:443 --certificate tls/fullchain.pem --key-file key

Triton publishes no port beside the gateway: its address is that of its container. KEY_RATE, KEY_BURST and KEY_IN_FLIGHT must be high
enough for one key. Refused clients ask again after a second, as Retry-After says. Tables in Markdown go to stdout.
"""

import argparse
import http.client
import ssl
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load import TIMEOUT_SECONDS, Client, Clients, Connect, HttpClient
from benchmarks.published import Published, Question
from benchmarks.report import Cell, command_line
from services.core import stage

RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Through:
    """Connects to the gateway."""

    certificate: Path
    key: str

    def __call__(self, address: str, question: Question) -> HttpClient:
        """See ``Connect``."""
        return HttpClient(address, question, tls=ssl.create_default_context(cafile=str(self.certificate)), key=self.key)


def plain(address: str, question: Question) -> Client:
    """Connects to Triton itself."""
    return HttpClient(address, question)


def questions(published: Published, picture: Path, triton: str) -> dict[str, Question]:
    """One of pixels, and one of a picture as a file, whose known answer is Triton's own."""
    unknown = published.file_question(picture.read_bytes(), np.empty((1, published.golden.scores.shape[1]), np.float32))
    client = HttpClient(triton, unknown)
    scores = np.frombuffer(client.answer(client.exchange()), np.float32).reshape(1, -1)
    client.close()
    return {"pixels": published.question(0), picture.name: published.file_question(picture.read_bytes(), scores)}


def cost(options: argparse.Namespace, asked: dict[str, Question], doors: dict[str, tuple[Connect, str]]) -> None:
    """Both doors in turns."""
    print("| what | clients | door | requests/s | p50 ms | p99 ms |\n|---|---|---|---|---|---|")  # noqa: T201
    with Clients(max(options.clients)) as clients:
        for what, question in asked.items():
            for number in options.clients:
                cells = {door: Cell() for door in doors}
                for _ in range(options.rounds):
                    for door, (connect, address) in doors.items():
                        cells[door].loads.append(clients.measure(connect, address, [question] * number, seconds=options.seconds))
                for door, cell in cells.items():
                    seen = cell.summary()
                    print(f"| {what} | {number} | {door} | {seen['rate']} | {seen['p50_ms']} | {seen['p99_ms']} |")  # noqa: T201


def overload(options: argparse.Namespace, what: str, question: Question, through: Through) -> None:
    """Many clients at the gateway; by status how many answers there were, and how long they took."""
    print(f"\n| {what}, clients | status | answers | p50 ms | p99 ms |\n|---|---|---|---|---|")  # noqa: T201
    for number in (1, options.overload):
        seen: dict[int, list[float]] = defaultdict(list)
        ready = threading.Barrier(number, timeout=TIMEOUT_SECONDS)

        def work(seen: dict[int, list[float]] = seen, ready: threading.Barrier = ready) -> None:
            client = through(options.gateway, question)
            client.attempt()  # the connection is made
            ready.wait()
            end = time.monotonic() + options.seconds * options.rounds
            while time.monotonic() < end:
                begun = time.perf_counter()
                status, body = client.attempt()
                seen[status].append(time.perf_counter() - begun)
                if status == http.client.OK:
                    question.check(client.answer(body))
                else:
                    time.sleep(RETRY_SECONDS)
            client.close()

        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for status, times in sorted(seen.items()):
            p50, p99 = np.percentile(times, (50, 99)) * 1e3
            print(f"| {number} | {status} | {len(times)} | {p50:.1f} | {p99:.1f} |")  # noqa: T201


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = command_line("gateway", __doc__)
    parser.add_argument("--triton", required=True, metavar="HOST:PORT", help="Triton itself")
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="the gateway")
    parser.add_argument("--certificate", required=True, type=Path, help="of the gateway, or of its authority")
    parser.add_argument("--key-file", required=True, type=Path, help="NAME:KEY")
    parser.add_argument("--picture", type=Path, default=Path("samples/coffee.jpg"))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--overload", type=int, default=256, help="clients at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args(argv)
    through = Through(options.certificate, options.key_file.read_text().strip())
    asked = questions(Published.read(options.folder), options.picture, options.triton)
    cost(options, asked, {"Triton": (plain, options.triton), "gateway": (through, options.gateway)})
    overload(options, options.picture.name, asked[options.picture.name], through)
    return 0


if __name__ == "__main__":
    stage.run(lambda: main(sys.argv[1:]), debug="--debug" in sys.argv)
