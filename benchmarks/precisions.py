"""The table precision x accuracy x size x CPU speed of a model, in Markdown.

  python -m benchmarks.precisions MODEL.onnx IMAGES_DIR

MODEL.onnx is an export with UINT8 input (artifacts/<model>/model.onnx), IMAGES_DIR a folder of at least two photographs. int8 and fp8
are calibrated on crops of every second one, flipped and at several scales; crops of the others are compared with FP32, so that no
picture is on both sides. Needs the builder's packages.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from services.builder.precision import lower

Array = NDArray[Any]
CELLS = [("fp32", "onnxruntime"), ("int8", "onnxruntime"), *((name, "tensorrt") for name in ("fp16", "bf16", "int8", "fp8"))]
CALIBRATION, EVALUATION, ROUNDS, BATCH = 64, 96, 9, 8


def photographs(folder: Path) -> list[Path]:
    """The .jpg and .png files of a folder, by name."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return found if len(found) > 1 else sys.exit(f"{folder}: expected two .jpg or .png files at least, found {len(found)}")


def crops(paths: list[Path], number: int, size: int) -> Array:
    """UINT8 [number, size, size, 3]: random square crops of the photographs."""
    random = np.random.default_rng(0)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    rows = []
    for index in range(number):
        picture = pictures[index % len(pictures)]
        side = int(min(picture.size) * random.uniform(0.5, 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
        pixels = np.asarray(picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC))
        rows.append(pixels[:, ::-1] if random.random() < 0.5 else pixels)
    return np.stack(rows)


def session(path: Path, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """The graph on two threads; without optimisation every cast and Q/DQ node is computed as it stands."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def scores(running: onnxruntime.InferenceSession, inputs: Array) -> Array:
    """FP32 [N, classes]."""
    name = running.get_inputs()[0].name
    return np.concatenate([running.run(None, {name: inputs[i : i + BATCH]})[0] for i in range(0, len(inputs), BATCH)])


def speeds(sessions: dict[str, onnxruntime.InferenceSession], inputs: Array) -> dict[str, tuple[float, float]]:
    """Seconds per image of each session, best and median of the rounds; the sessions take turns, so a busy machine is unfair to none."""
    times: dict[str, list[float]] = {key: [] for key in sessions}
    for _ in range(ROUNDS):
        for key, running in sessions.items():
            start = time.perf_counter()
            scores(running, inputs)
            times[key].append((time.perf_counter() - start) / len(inputs))
    return {key: (min(values), float(np.median(values))) for key, values in times.items()}


def main() -> None:
    """Lower, compare, time and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precisions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("folder", type=Path, metavar="IMAGES_DIR")
    options = parser.parse_args()
    model, folder = options.model, options.folder
    size = session(model).get_inputs()[0].shape[1]
    files = photographs(folder)
    calibration, evaluation = crops(files[::2], CALIBRATION, size), crops(files[1::2], EVALUATION, size)
    expected = scores(session(model), evaluation)
    rows, timed = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision, accelerator in CELLS:
            path = Path(scratch) / f"{precision}-{accelerator}.onnx"
            lower(model, path, precision, accelerator, calibration)
            cell = [f"{precision}, {accelerator}", "-", "-", "-", f"{path.stat().st_size / 1e6:.1f} MB"]
            if precision != "bf16":  # ONNX Runtime cannot run it
                found = scores(session(path, optimise=accelerator == "onnxruntime"), evaluation)
                error = np.abs(found - expected)
                same = np.mean(found.argmax(1) == expected.argmax(1))
                cell[1:4] = [f"{same:.1%}", f"{error.max():.3f}", f"{error.mean():.1e}"]
            if accelerator == "onnxruntime":
                timed[cell[0]] = session(path)
            rows.append(cell)
        measured = speeds(timed, evaluation[: 4 * BATCH])
    base = measured["fp32, onnxruntime"]
    lines = [
        "| precision, accelerator | same top-1 as FP32 | largest error | mean error | graph | CPU speed: best, median |",
        "|---|---|---|---|---|---|",
    ]
    for cell in rows:
        ratio = " / ".join(f"x{b / m:.2f}" for b, m in zip(base, measured[cell[0]], strict=True)) if cell[0] in measured else "-"
        lines.append("| " + " | ".join([*cell, ratio]) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
