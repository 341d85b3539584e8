"""An engine loaded by Polygraphy in a process of its own: CUDA and TensorRT stay out of the builder, and cannot bring it down.

    python -m services.builder.compilers.polygraphy_child describe PLAN OUT.json
    python -m services.builder.compilers.polygraphy_child run PLAN INPUTS.npy BATCH OUT.npy

``describe`` writes ``{"inputs": [{"name", "dtype", "shape"}], "outputs": [...], "max_batch": N}``, dtypes by numpy's names and -1 for
the batch. ``run`` writes the first output of all rows, asked for at most BATCH rows at a time.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from polygraphy.backend.common import bytes_from_path
from polygraphy.backend.trt import TrtRunner, engine_from_bytes
from polygraphy.datatype import DataType
from polygraphy.exception import PolygraphyException


def describe(plan: str) -> dict[str, Any]:
    """Tensors and largest batch of an engine."""
    engine = engine_from_bytes(bytes_from_path(plan))
    tensors: dict[str, list[dict[str, Any]]] = {"INPUT": [], "OUTPUT": []}
    largest = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        mode = engine.get_tensor_mode(name).name
        dtype = DataType.from_dtype(engine.get_tensor_dtype(name), "tensorrt").name
        tensors[mode].append({"name": name, "dtype": dtype, "shape": [*engine.get_tensor_shape(name)]})
        if mode == "INPUT":
            profiles = range(engine.num_optimization_profiles)
            largest += [engine.get_tensor_profile_shape(name, profile)[2][0] for profile in profiles]
    return {"inputs": tensors["INPUT"], "outputs": tensors["OUTPUT"], "max_batch": min(largest, default=0)}


def run(plan: str, inputs: np.ndarray[Any, Any], batch: int) -> np.ndarray[Any, Any]:
    """The engine's first output for all rows of ``inputs``."""
    with TrtRunner(engine_from_bytes(bytes_from_path(plan))) as runner:
        name = next(iter(runner.get_input_metadata()))
        # The runner gives out the same memory for each answer.
        parts = [next(iter(runner.infer({name: inputs[i : i + batch]}).values())).copy() for i in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def main(command: str, plan: str, *arguments: str) -> None:
    """Carry out one command."""
    if command == "describe":
        Path(arguments[0]).write_text(json.dumps(describe(plan)))
    else:
        inputs, batch, out = arguments
        np.save(out, run(plan, np.load(inputs, allow_pickle=False), int(batch)))


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # else Polygraphy loads PyTorch to ask whether our arrays are its tensors
    try:
        main(*sys.argv[1:])
    except PolygraphyException as error:
        sys.exit(f"polygraphy: {error}")
