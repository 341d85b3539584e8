"""What the fast way from a JPEG to scores costs in accuracy: scaled decoding, the resize in one step, and int8.

  python -m benchmarks.accuracy artifacts/efficientnet_lite0 PHOTOGRAPHS

The first argument is an export with UINT8 input, PHOTOGRAPHS a folder of at least two. int8 is calibrated on crops of every second one;
crops of the others are enlarged to the sizes of the table, saved as JPEG, and scored: exactly as PyTorch's transforms would, in FP32, and
the fast way. No picture is on both sides. Needs the builder's packages.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.precisions import CALIBRATION, Array, crops, photographs, scores, session
from services.builder.precision import lower
from services.core.card import ModelCard
from services.core.published import CARD
from services.images.decode import decode
from services.images.preprocess import input_from_file, input_from_image

SIZES = ((640, 427), (1600, 1067), (4032, 3024))
_COUNT, _QUALITY = 96, 90


def files(paths: Sequence[Path], size: tuple[int, int], number: int) -> list[bytes]:
    """JPEG files of that size: random crops of the photographs, of the same shape, enlarged."""
    random = np.random.default_rng(1)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    found = []
    for index in range(number):
        picture = pictures[index % len(pictures)]
        scale = min(picture.width / size[0], picture.height / size[1]) * random.uniform(0.6, 1)
        width, height = (int(side * scale) for side in size)
        left, top = int(random.integers(0, picture.width - width + 1)), int(random.integers(0, picture.height - height + 1))
        file = io.BytesIO()
        part = picture.resize(size, Image.Resampling.LANCZOS, (left, top, left + width, top + height))
        part.save(file, "JPEG", quality=_QUALITY)
        found.append(file.getvalue())
    return found


def row(words: str, found: Array, expected: Array, inputs: Array, exact: Array) -> str:
    """One row of the table."""
    pixels = np.abs(inputs.astype(np.int16) - exact)
    error = np.abs(found - expected)
    first = found.argmax(axis=1)
    same = float(np.mean(first == expected.argmax(axis=1)))
    lost = float((expected.max(axis=1) - expected[np.arange(len(first)), first]).max())
    return f"| {words} | {pixels.mean():.2f} / {pixels.max()} | {error.mean():.1e} / {error.max():.3f} | {same:.1%} | {lost:.3f} |"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path, metavar="EXPORT", help="an exported model: artifacts/<model>")
    parser.add_argument("images", type=Path, metavar="PHOTOGRAPHS", help="a folder of at least two")
    options = parser.parse_args()
    card = ModelCard.load(options.export / CARD)
    paths = photographs(options.images)
    graph = options.export / "model.onnx"
    fp32 = session(graph)
    lines = [
        f"{card.name}: {_COUNT} JPEGs a size, of {len(paths[1::2])} photographs that int8 was not calibrated on.",
        "Compared with exact pixels in FP32. The last column: by how much FP32 scores its own first class above the one found, at most.",
        "",
        "| JPEG, engine, pixels | difference of pixels of 255, mean / max | of scores, mean / max | same top-1 | score lost |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        calibration = crops(paths[0::2], CALIBRATION, card.preprocessing.crop)
        quantised = Path(scratch) / "int8.onnx"
        lower(graph, quantised, "int8", "onnxruntime", calibration)
        int8 = session(quantised)
        for size in SIZES:
            pictures = files(paths[1::2], size, _COUNT)
            exact = np.stack([input_from_image(decode(picture), card.preprocessing) for picture in pictures])
            fast = np.stack([input_from_file(picture, card.preprocessing) for picture in pictures])
            expected = scores(fp32, exact)
            called = f"{size[0]}x{size[1]}"
            lines.append(row(f"{called}, fp32, fast", scores(fp32, fast), expected, fast, exact))
            lines.append(row(f"{called}, int8, exact", scores(int8, exact), expected, exact, exact))
            lines.append(row(f"{called}, int8, fast", scores(int8, fast), expected, fast, exact))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
