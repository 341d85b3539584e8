"""The table way of decoding x picture: time, pictures a second on all cores, and difference from the exact pixels, in Markdown.

  python -m benchmarks.decoding [--rounds N] [IMAGES_DIR]

IMAGES_DIR is a folder of photographs (default: samples). Each is enlarged (Lanczos) to the sizes of the table, with grain as a camera's
sensor has it, so that the files are as long as those of a phone, and saved as a JPEG of quality 88: sizes and times are those of
photographs, their detail is not. The ways take turns, so a busy machine is unfair to none. Needs the client's packages; the ways of
simplejpeg are measured where it is installed.
"""

import argparse
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import cores, describe
from services.core.card import Preprocessing
from services.images.decode import Picture, decode, decode_scaled
from services.images.find import images_in
from services.images.preprocess import InputArray, input_from_file, input_from_image, input_from_picture

simplejpeg: Any = importlib.import_module("simplejpeg") if importlib.util.find_spec("simplejpeg") else None

Way = Callable[[bytes], InputArray]
SIZES = ((640, 427), (1600, 1067), (4032, 3024))
RECIPE = Preprocessing(
    resize=256,
    crop=224,
    interpolation="bilinear",
    layout="NHWC",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    normalised_in_graph=True,
)
ENOUGH = 2 * RECIPE.resize
GRAIN, QUALITY, POOLED = 4.0, 88, 8


def exact(data: bytes) -> InputArray:
    """Everything decoded and resized, then cropped: torchvision's order, and its pixels."""
    return input_from_image(decode(data), RECIPE)


def in_one_step(data: bytes) -> InputArray:
    """Everything decoded, only the crop resized."""
    image = decode(data)
    return input_from_picture(Picture(image, image.size, (0, 0, *image.size)), RECIPE)


def scaled_in_two_steps(data: bytes) -> InputArray:
    """Decoded scaled, and taken for a picture of that size."""
    return input_from_image(decode_scaled(data, at_least=ENOUGH).image, RECIPE)


def scaled_in_one_step(data: bytes) -> InputArray:
    """What serving does."""
    return input_from_file(data, RECIPE)


def by_simplejpeg(data: bytes) -> InputArray:
    """Decoded by simplejpeg, everything, only the crop resized."""
    return _from_simplejpeg(data, 1)


def scaled_by_simplejpeg(data: bytes) -> InputArray:
    """Decoded by simplejpeg with the same scale as by Pillow, only the crop resized."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as header:
        return _from_simplejpeg(data, next((scale for scale in (8, 4, 2) if min(header.size) >= scale * ENOUGH), 1))


def _from_simplejpeg(data: bytes, scale: int) -> InputArray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as header:
        width, height = header.size
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_width=-(-width // scale), min_height=-(-height // scale))
    return input_from_picture(Picture(Image.fromarray(pixels), (width, height), (0, 0, width / scale, height / scale)), RECIPE)


WAYS: dict[str, Way] = {
    "Pillow full, two steps (exact)": exact,
    "Pillow full, one step": in_one_step,
    "Pillow scaled, two steps": scaled_in_two_steps,
    "**Pillow scaled, one step**": scaled_in_one_step,
}
if simplejpeg:
    WAYS |= {"simplejpeg full, one step": by_simplejpeg, "simplejpeg scaled, one step": scaled_by_simplejpeg}


def jpeg(path: Path, size: tuple[int, int]) -> bytes:
    """A photograph of that size, as a file."""
    pixels = np.asarray(decode(path).resize(size, Image.Resampling.LANCZOS), np.float32)
    grain = np.random.default_rng(0).normal(0, GRAIN, (*pixels.shape[:2], 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def seconds(files: list[bytes], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Seconds for each picture of each round, by way, one at a time."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for round_ in range(rounds + 1):
        for name, way in WAYS.items():
            for data in files:
                start = time.perf_counter()
                way(data)
                if round_:  # the first warms up
                    times[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in times.items()}


def speeds(files: list[bytes], rounds: int, pool: ThreadPoolExecutor) -> dict[str, float]:
    """Pictures a second of each way with a thread for each core, median of the rounds."""
    batch = [files[index % len(files)] for index in range(POOLED * cores())]
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            start = time.perf_counter()
            list(pool.map(way, batch))
            found[name].append(len(batch) / (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in found.items()}


def difference(way: Way, files: list[bytes]) -> tuple[float, int]:
    """Mean and largest absolute difference from the exact pixels, of 255."""
    apart = np.abs(np.stack([way(data).astype(np.int16) - exact(data) for data in files]))
    return float(apart.mean()), int(apart.max())


def main() -> None:
    """Make the pictures, time, compare and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoding", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="IMAGES_DIR", nargs="?", default=Path("samples"))
    parser.add_argument("--rounds", type=int, default=25, help="of every way over every photograph (default: 25)")
    options = parser.parse_args()
    photographs = images_in(options.folder) or sys.exit(f"{options.folder}: expected photographs, found none")
    lines = [
        f"`{json.dumps(describe())}`",
        "",
        f"| JPEG | way | ms: median, p99 | pictures/s, {cores()} threads | difference of 255: mean, max |",
        "|---|---|---|---|---|",
    ]
    with ThreadPoolExecutor(cores()) as pool:
        for size in SIZES:
            files = [jpeg(path, size) for path in photographs]
            alone = seconds(files, options.rounds)
            together = speeds(files, max(3, options.rounds // 5), pool)
            for name, way in WAYS.items():
                median, late = np.percentile(alone[name], (50, 99)) * 1000
                mean, most = difference(way, files)
                kilobytes = sum(map(len, files)) // len(files) // 1000
                cells = [f"{size[0]}x{size[1]}, {kilobytes} kB", name, f"{median:.1f}, {late:.1f}", f"{together[name]:.0f}"]
                lines.append("| " + " | ".join([*cells, f"{mean:.2g}, {most}" if most else "0"]) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
