"""From a JPEG to a label: how fast ``<model>_image`` answers, against decoding and engine in one bare process. No GPU, no network.

  python -m benchmarks.pictures model_repository/efficientnet_lite0 --json pictures.json

The yardstick decodes in threads, as many as cores, while ONNX Runtime runs the batch before; no server, no protocol. Both decode alike.
A table in Markdown goes to stdout, progress to stderr. Every answer is compared with the yardstick's; a wrong one ends the run.
"""

import argparse
import io
import itertools
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks import machine
from benchmarks.load import PROTOCOLS, Clients, Load
from benchmarks.published import Published
from benchmarks.report import Cell, command_line, head, heading, save
from benchmarks.server import serve
from services.core import cpus, stage
from services.core import log as logs
from services.core.card import Preprocessing
from services.core.errors import ContractError, ImageError, SettingsError
from services.core.names import image_name
from services.core.published import CONFIG
from services.core.settings import BuilderSettings
from services.triton.decoder import Decoder, Picture

log = logging.getLogger(__name__)

SAMPLES = Path("samples")
WORDS = {
    "instances": "of <model>; INSTANCE_COUNT",
    "threads": "ONNX Runtime threads of each of them; CPU_THREADS",
    "image": "instances of <model>_image; IMAGE_INSTANCES",
    "workers": "threads that decode, in each of those; DECODE_WORKERS",
}
_QUALITY = 90
_BATCH = 8


def photographs(size: tuple[int, int]) -> list[bytes]:
    """The sample photographs as JPEG files of that width and height."""
    found = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        file = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY)
        found.append(file.getvalue())
    if not found:
        raise ContractError(f"no photograph in {SAMPLES}", hint="run it in the project's folder")
    return found


@dataclass(frozen=True)
class Bare:
    """Decoder and engine in this process."""

    session: onnxruntime.InferenceSession
    decoder: Decoder
    preprocessing: Preprocessing

    @classmethod
    def of(cls, published: Published) -> "Bare":
        """Both with a thread for each core; the engine's spin no longer than the served model's, or they would slow the decoder down."""
        options = onnxruntime.SessionOptions()
        threads = cpus.threads(cpus.find(), 1)
        options.intra_op_num_threads = threads.number
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads.spin_us > 0)))
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(threads.spin_us))
        session = onnxruntime.InferenceSession(str(published.version / "model.onnx"), options, providers=["CPUExecutionProvider"])
        settings = BuilderSettings()
        return cls(session, Decoder(machine.cores(), settings.max_pixels, settings.max_image_bytes), published.card.preprocessing)

    def inputs(self, pictures: Sequence[bytes]) -> npt.NDArray[Any]:
        """Decoded pictures as one batch."""
        decoded = self.decoder.decode([Picture("a photograph", one) for one in pictures], self.preprocessing)
        return np.stack([one for one in decoded if not isinstance(one, ImageError)])

    def scores(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """FP32 ``[N, classes]``."""
        scores: npt.NDArray[np.float32] = self.session.run(None, {self.session.get_inputs()[0].name: batch})[0]
        return scores

    def pipelined(self, pictures: Sequence[bytes], seconds: float) -> float:
        """Pictures a second in batches of 8: the next batch is decoded while the engine runs the one before."""
        endless = itertools.cycle(pictures)
        start, done = time.monotonic(), 0
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.inputs, list(itertools.islice(endless, _BATCH)))
            while time.monotonic() < start + seconds:
                batch, coming = coming.result(), ahead.submit(self.inputs, list(itertools.islice(endless, _BATCH)))
                done += len(self.scores(batch))
            return done / (time.monotonic() - start)

    def alone(self, pictures: Sequence[bytes], seconds: float) -> tuple[float, float]:
        """Pictures a second of the decoder alone, and of the engine alone in batches of 8."""
        eight = list(itertools.islice(itertools.cycle(pictures), _BATCH))
        batch = self.inputs(eight)
        return _rate(lambda: self.inputs(eight), seconds), _rate(lambda: self.scores(batch), seconds)


def _rate(work: Any, seconds: float) -> float:
    start, runs = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        work()
        runs += 1
    return runs * _BATCH / (time.monotonic() - start)


def write(variant: str, folder: Path, repository: Path) -> None:
    """Copy a published model and the one beside it that takes files, changed as the words of ``variant`` say."""
    words = dict(word.split("=") for word in variant.split())
    if unknown := words.keys() - WORDS.keys():
        raise SettingsError(f"--variant '{variant}': unknown words {', '.join(sorted(unknown))}", hint="the words are in --help")
    shutil.rmtree(repository, ignore_errors=True)
    for name, changes in (
        (folder.name, ("instances", "threads", "cpu_threads")),
        (image_name(folder.name), ("image", "workers", "decode_workers")),
    ):
        shutil.copytree(folder.with_name(name), repository / name)
        instances, setting, parameter = changes
        file = repository / name / CONFIG
        config = text_format.Parse(file.read_text(), pb.ModelConfig())
        if instances in words:
            config.instance_group[0].count = int(words[instances])
        if setting in words:
            config.parameters[parameter].string_value = words[setting]
        file.write_text(text_format.MessageToString(config, use_index_order=True))


class Comparison:
    """Rounds over variants, sizes, protocols and numbers of clients; the yardstick of a size is measured beside them each time."""

    def __init__(self, published: Published, options: argparse.Namespace) -> None:
        self._published, self._options = published, options
        self._bare = Bare.of(published)
        self._loads: dict[tuple[str, str, str, int], list[tuple[Load, float]]] = {}
        self._yardstick: dict[str, list[tuple[float, float, float]]] = {}

    def run(self, clients: Clients) -> Iterator[None]:
        """Measure; yields after each round."""
        folder = self._published.folder
        with tempfile.TemporaryDirectory(prefix="pictures-") as scratch:
            repository = Path(scratch) / "repository"
            for number in range(1, self._options.rounds + 1):
                order = 1 if number % 2 else -1
                for variant in self._options.variant[::order]:
                    log.info("round %d of %d: %s", number, self._options.rounds, variant or "as published")
                    write(variant, folder, repository)
                    with serve(repository, image_name(folder.name)) as server:
                        for size in self._options.sizes[::order]:
                            self._measure(variant, size, {"http": server.http, "grpc": server.grpc}, clients)
                yield

    def _measure(self, variant: str, size: str, addresses: dict[str, str], clients: Clients) -> None:
        width, height = (int(side) for side in size.split("x"))
        pictures = photographs((width, height))
        questions = [self._published.file_question(picture, self._bare.scores(self._bare.inputs([picture]))) for picture in pictures]
        rate = self._bare.pipelined(pictures, self._options.seconds)
        self._yardstick.setdefault(size, []).append((rate, *self._bare.alone(pictures, self._options.seconds / 2)))
        for protocol in self._options.protocols:
            for number in self._options.clients:
                asked = list(itertools.islice(itertools.cycle(questions), number))
                load = clients.measure(protocol, addresses[protocol], asked, seconds=self._options.seconds)
                self._loads.setdefault((variant, size, protocol, number), []).append((load, rate))

    def report(self) -> dict[str, Any]:
        """Everything, for JSON; ratios are to the yardstick that was measured just before."""
        sizes = []
        for size, rates in self._yardstick.items():
            pipelined, decoder, engine = (round(median(part), 1) for part in zip(*rates, strict=True))
            sizes.append({"size": size, "pipelined": pipelined, "decoder": decoder, "engine": engine})
        rows = []
        for (variant, size, protocol, number), found in self._loads.items():
            ratios = [round(load.rate / rate, 3) for load, rate in found]
            measured = {**Cell([load for load, _ in found]).served(), "ratio": median(ratios), "ratios": ratios}
            rows.append({"variant": variant or "as published", "size": size, "protocol": protocol, "clients": number, **measured})
        return {**head(self._published), "rounds": self._options.rounds, "seconds": self._options.seconds, "bare": sizes, "rows": rows}


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = [*heading(report), "In one bare process, pictures/s:"]
    lines += [
        f"- {bare['size']}: decoder and engine side by side {bare['pipelined']}, decoder alone {bare['decoder']}, engine {bare['engine']}"
        for bare in report["bare"]
    ]
    lines += [f"Rounds: {report['rounds']}, {report['seconds']} s a cell.", ""]
    lines += [
        "| served | JPEG | protocol | clients | pictures/s | against bare; least and most | p50 / p99 / max, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['variant']} | {row['size']} | {row['protocol']} | {row['clients']} | {row['rate']:.0f} "
        f"| **{row['ratio']:.2f}**; {min(row['ratios']):.2f}-{max(row['ratios']):.2f} "
        f"| {row['p50_ms']:.1f} / {row['p99_ms']:.0f} / {row['max_ms']:.0f} |"
        for row in report["rows"]
    ]
    return "\n".join(lines) + "\n"


def variants_command_line(module: str, description: str | None) -> argparse.ArgumentParser:
    """A command line whose variants ``write`` understands."""
    words = "\n".join(f"  {key}=N  {text}" for key, text in WORDS.items())
    found = command_line(module, description, f"words of a variant, separated by spaces, each with a number:\n{words}")
    found.add_argument(
        "--variant", action="append", metavar="WORDS", help="another way to serve it, once for each; without it, as published"
    )
    return found


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = variants_command_line("pictures", __doc__)
    parser.add_argument("--sizes", default="640x427,4032x3024", metavar="WxH,WxH", help="(%(default)s)")
    parser.add_argument("--clients", default="1,8", metavar="N,N", help="numbers of clients (%(default)s)")
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement (%(default)s)")
    options = parser.parse_args(arguments)
    options.variant = options.variant or [""]
    options.sizes, options.protocols = options.sizes.split(","), options.protocols.split(",")
    options.clients = [int(number) for number in options.clients.split(",")]
    return options


def main() -> int:
    """Measure, and print."""
    options = parse_arguments(sys.argv[1:])
    comparison = Comparison(Published.read(options.folder.resolve()), options)
    with Clients(max(options.clients)) as clients:
        for _ in comparison.run(clients):
            save(comparison.report(), options.json)
    sys.stdout.write(table(comparison.report()))
    return 0


if __name__ == "__main__":
    logs.set_up("benchmark")
    stage.run(main, debug="--debug" in sys.argv)
