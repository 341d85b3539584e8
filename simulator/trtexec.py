"""A simulator of trtexec: strict in what it takes, exact in how it answers, and without a GPU.

Flow and messages after github.com/NVIDIA/TensorRT samples/trtexec/trtexec.cpp and samples/common/sampleEngines.cpp.
"""

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

from simulator import command_line, layers, log, measure, misbehave, timing_cache
from simulator.build import CompileError, SetUpError, build
from simulator.engine import Engine, ShapeError
from simulator.machine import Machine, dotted
from simulator.options import InvalidArgumentError, Options, read_table
from simulator.plan import HEAD_BYTES, DeserializationError, Plan, plan_version


def _help(machine: Machine) -> None:
    print(f"=== Options of trtexec {machine.version} (simulator) ===")  # noqa: T201
    for name, entry in read_table(machine.table).items():
        print(f"  {name}" + ("" if entry["kind"] == "flag" else f"=<{entry['kind']}>"))  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    """Run trtexec; the exit code is 0 or 1."""
    arguments = sys.argv[1:] if argv is None else argv
    machine = Machine.from_env()
    shown = ["trtexec", *arguments]
    log.frame("RUNNING", machine.tensorrt, shown)
    if command_line.wants_help(arguments):
        _help(machine)
        return 0
    try:
        options = command_line.parse(arguments, read_table(machine.table), machine.major)
        problems = [f"Unknown option: {name} {value}" for name, value in options.unknown]
    except InvalidArgumentError as error:
        problems = [str(error)]
    if problems:
        _help(machine)
        for problem in problems:
            log.error(problem)
        if machine.major < 11:
            log.frame("FAILED", machine.tensorrt, shown)
        return 1
    log.verbose = bool(options.get("--verbose"))
    for text in options.warnings:
        log.warning(text)
    try:
        passed = _run(options, machine)
    except SetUpError as error:
        for line in (*error.lines, "Failed to create engine from model or file.", "Engine set up failed"):
            log.error(line)
        passed = False
    except measure.InferenceError as error:
        log.error(f"Uncaught exception detected: {error}")
        passed = False
    log.frame("PASSED" if passed else "FAILED", machine.tensorrt, shown)
    return 0 if passed else 1


def _run(options: Options, machine: Machine) -> bool:
    log.info("=== Device Information ===")
    log.info(f"Selected Device: {machine.gpu}")
    log.info(f"Compute Capability: {machine.compute_capability}")
    log.info(f"Device Global Memory: {machine.memory_mib} MiB")
    log.info()
    log.info(f"TensorRT version: {dotted(machine.tensorrt[:3])}")
    if options.get("--loadEngine") is not None:
        path = Path(options.get("--loadEngine"))
        if not path.is_file():
            raise SetUpError(f"Error opening engine file: {path}")
        if options.get("--getPlanVersionOnly"):
            return _print_version(path)
        return _use(_deserialize(path.read_bytes(), machine), options, machine)
    return _use(_built(options, machine), options, machine)


def _print_version(path: Path) -> bool:
    head = path.read_bytes()[:HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        raise SetUpError("Failed to read plan file", "Failed to get plan file version.")
    version = plan_version(head)
    if version is None:
        raise SetUpError("Failed to verify a plan tag.", "Failed to get plan file version.")
    log.info(f"Plan was created with TensorRT version {dotted(version)}")
    return True


def _deserialize(data: bytes, machine: Machine) -> Plan | None:
    try:
        plan = Plan.load(data, machine)
    except DeserializationError as error:
        log.library_error(str(error))
        log.error("Engine deserialization failed")
        return None
    if plan.other_model(machine):
        log.library_warning(
            "Using an engine plan file across different models of devices is not recommended "
            "and is likely to affect performance or even cause errors."
        )
    log.info("Engine deserialized in 0.01 sec.")
    return plan


def _built(options: Options, machine: Machine) -> Plan | None:
    """Build, save, and load again, as trtexec does; None where the compiler failed."""
    trouble = misbehave.asked()
    if trouble == "hang":
        misbehave.hang()
    path = Path(options.get("--saveEngine")) if options.get("--saveEngine") else None
    began = time.monotonic()
    try:
        plan = build(options, machine)
        cache = _timings(options, machine, plan)
        if trouble == "out-of-memory":
            node = plan.layers["layers"][0]["Name"]
            log.library_error(
                "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (Requested size was 2147483648 bytes.)"
            )
            raise CompileError(
                f"IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation for node {node}.)"
            )
    except CompileError as error:
        log.library_error(str(error))
        if path is None:
            raise SetUpError("Engine could not be created from network", "Building engine failed") from None
        # The return value of buildSerializedNetworkToStream is not looked at: an empty plan is saved, and trtexec goes on.
        path.write_bytes(b"")
        log.info("Created engine with size: 0 MiB")
        return None
    data = _with_trouble(plan, trouble).dump()
    if trouble == "crash":
        misbehave.crash(path, data)
    if path is not None:
        _save(path, data, trouble)
    log.info(f"Created engine with size: {len(data) / 2**20:g} MiB")
    log.info(f"Engine built in {time.monotonic() - began:g} sec.")
    if cache is not None:
        timing_cache.save(Path(options.get("--timingCacheFile")), machine, cache)
    return _deserialize(data, machine) if trouble != "wrong-version" else plan


def _save(path: Path, data: bytes, trouble: str) -> None:
    try:
        path.write_bytes(data[: len(data) // 2] if trouble == "half-write" else data)
    except OSError:
        log.error("Cannot write to FileStreamWriter")
        raise SetUpError("Failed to open engine file for reading", "Building engine failed") from None
    if trouble == "half-write":
        raise SetUpError("Saving engine to file failed.")


def _with_trouble(plan: Plan, trouble: str) -> Plan:
    if trouble == "silent-fp32":
        return dataclasses.replace(plan, layers={"layers": [_as_fp32(layer) for layer in plan.layers["layers"]]})
    if trouble == "wrong-version":
        return dataclasses.replace(plan, tensorrt=misbehave.other_version(plan.tensorrt))
    if trouble.startswith(misbehave.SERVED):
        return dataclasses.replace(plan, trouble=trouble.removeprefix(misbehave.SERVED))
    if trouble == "wrong-answers":
        return dataclasses.replace(plan, onnx=misbehave.wrong_answers(plan.onnx))
    return plan


def _as_fp32(layer: dict[str, object]) -> dict[str, object]:
    changed = dict(layer)
    for side in ("Inputs", "Outputs"):
        tensors = layer[side]
        if isinstance(tensors, list):
            changed[side] = [tensor | {"Datatype": "Float", "Format": "Row major linear FP32"} for tensor in tensors]
    for part in ("Weights", "Bias"):
        value = layer.get(part)
        if isinstance(value, dict):
            changed[part] = value | {"Type": "Float"}
    return changed


def _timings(options: Options, machine: Machine, plan: Plan) -> dict[str, float] | None:
    """The timing cache to save after the build; None where none is asked for, or the file cannot be used."""
    if options.get("--noBuilderCache") or not options.get("--timingCacheFile"):
        return None
    known = timing_cache.load(Path(options.get("--timingCacheFile")), machine)
    names = {layer["Name"]: 0.1 for layer in plan.layers["layers"]}
    if options.get("--errorOnTimingCacheMiss") and (known is None or names.keys() - known.keys()):
        raise CompileError(
            "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Timing cache miss, and kERROR_ON_TIMING_CACHE_MISS is set)"
        )
    return None if known is None else known | names


def _use(plan: Plan | None, options: Options, machine: Machine) -> bool:
    """Layer information, then inference unless it is skipped."""
    wants_layers = options.get("--exportLayerInfo") or options.get("--dumpLayerInfo")
    skip = bool(options.get("--skipInference"))
    if plan is None:
        if not skip:
            log.error("Got invalid engine!")
            log.error("Inference set up failed")
            return False
        if wants_layers:
            # printLayerInfo uses the engine without looking whether there is one.
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        log.info("Skipped inference phase since --skipInference is added.")
        return True
    if wants_layers:
        _layer_information(plan, options, context=not skip)
    if skip:
        log.info("Skipped inference phase since --skipInference is added.")
        return True
    engine = Engine(plan)
    inputs = measure.inputs_of(engine, options)
    log.info("Starting inference")
    try:
        traces, outputs = measure.run(engine, inputs, options, machine.major)
    except ShapeError as error:
        log.library_error(str(error))
        log.error("Inference set up failed")
        return False
    measure.report(traces, options)
    measure.export(traces, outputs, options)
    return True


def _layer_information(plan: Plan, options: Options, *, context: bool) -> None:
    text = layers.render(plan, context=context)
    if options.get("--dumpLayerInfo"):
        log.info("Layer Information:")
        log.info(text)
    if options.get("--exportLayerInfo"):
        Path(options.get("--exportLayerInfo")).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
