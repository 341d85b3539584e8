"""Misbehaviour on demand: ``SIMULATOR_MISBEHAVE`` names one of these.

crash           trtexec dies by SIGSEGV after it began to write the plan
hang            trtexec stops making progress, and ignores SIGTERM, before it writes anything
half-write      the file system fails: a truncated plan is left behind, exit code 1
silent-fp32     the engine is built in FP32 whatever the graph asks for; exit code 0, layer information tells
out-of-memory   no tactic fits. The real trtexec saves an empty plan then and, with --skipInference, still ends PASSED
wrong-version   the plan is stamped with another TensorRT version than trtexec's own
wrong-answers   the engine computes something else (backend, trtexec and polygraphy)
refuse-to-load  the backend refuses every plan

The last two and hang, planted in one plan by trtexec and obeyed by the backend alone, so that everything before it is content:
served-refuse-to-load, served-hang, served-wrong-answers.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import onnx

from simulator import log
from simulator.machine import version_of

SERVED = "served-"
KNOWN = (
    *("crash", "hang", "half-write", "silent-fp32", "out-of-memory", "wrong-version", "wrong-answers", "refuse-to-load"),
    *(f"{SERVED}refuse-to-load", f"{SERVED}hang", f"{SERVED}wrong-answers"),
)


def asked(environ: Mapping[str, str] = os.environ) -> str:
    """The misbehaviour that is asked for, or the empty text."""
    name = environ.get("SIMULATOR_MISBEHAVE", "")
    if name and name not in KNOWN:
        raise SystemExit(f"simulator: SIMULATOR_MISBEHAVE={name!r}: expected one of {', '.join(KNOWN)}")
    return name


def hang() -> None:
    """Do nothing, for longer than anybody waits."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log.info("Local timing cache in use. Profiling results in this builder pass will not be stored.")
    time.sleep(86_400)


def crash(plan: Path | None, data: bytes) -> None:
    """Die by signal with a part of the plan written."""
    if plan is not None:
        plan.write_bytes(data[: len(data) // 3])
    os.kill(os.getpid(), signal.SIGSEGV)


def other_version(version: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Another version of which there is a table."""
    one, other = version_of("10.16.1.11"), version_of("11.1.0.106")
    return one if version != one else other


def wrong_answers(serialized: bytes) -> bytes:
    """The graph with its first output reversed along the last axis: well-formed, plausible, and wrong."""
    model = onnx.load_from_string(serialized)
    if model.graph.node[-1].name == "misbehaviour":
        return serialized
    output = model.graph.output[0].name
    inner = f"{output}_before_misbehaviour"
    for node in model.graph.node:
        node.output[:] = [inner if name == output else name for name in node.output]
        node.input[:] = [inner if name == output else name for name in node.input]
    values = {"starts": [-1], "ends": [-(2**31)], "axes": [-1], "steps": [-1]}
    for name, value in values.items():
        model.graph.initializer.append(onnx.helper.make_tensor(f"{output}_{name}", onnx.TensorProto.INT64, [1], value))
    model.graph.node.append(
        onnx.helper.make_node("Slice", [inner, *(f"{output}_{name}" for name in values)], [output], name="misbehaviour")
    )
    return model.SerializeToString()
