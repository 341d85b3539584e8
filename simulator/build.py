"""The builder: an ONNX file and options to a plan, or to the real one's errors."""

from pathlib import Path

import onnx

from simulator import layers, log
from simulator.engine import TRITON_TYPES
from simulator.graph import Graph, RefusedNodeError
from simulator.machine import Machine
from simulator.options import Options
from simulator.plan import Plan, Tensor

_PRECISION_FLAGS = ("--fp16", "--bf16", "--int8", "--fp8", "--int4", "--best")


class SetUpError(Exception):
    """Building stops before the compiler starts: trtexec fails, and says where in these lines."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


class CompileError(Exception):
    """The compiler fails. trtexec does not look at that where it saves the engine: it goes on with an empty plan."""


def build(options: Options, machine: Machine) -> Plan:
    """Build a plan.

    Raises:
        SetUpError: the graph cannot be parsed, or the options do not fit it.
        CompileError: the compiler itself fails.
    """
    graph = _parse(Path(options.get("--onnx")).expanduser())
    profiles = _profiles(graph, options)
    weak = machine.major < 11 and not options.get("--stronglyTyped")
    _check_types(graph, options, profiles, weak=weak)
    half = weak and not any(options.get(flag) for flag in _PRECISION_FLAGS)
    optimum = {name: bounds[1] for name, bounds in profiles[0].items()} if profiles else {}
    described = layers.describe(graph, optimum, weakly_fp32=half)
    return Plan(
        tensorrt=machine.tensorrt,
        gpu=machine.gpu,
        compute_capability=machine.compute_capability,
        hardware=options.get("--hardwareCompatibilityLevel") or "none",
        tensors=_tensors(graph),
        profiles=tuple({name: [list(bound) for bound in bounds] for name, bounds in profile.items()} for profile in profiles),
        layers={"layers": described},
        verbosity=_verbosity(options),
        onnx=graph.model.SerializeToString(),
    )


def _verbosity(options: Options) -> str:
    given = options.get("--profilingVerbosity") or "layer_names_only"
    return {"default": "layer_names_only", "verbose": "detailed"}.get(given, given)


def _parse(path: Path) -> Graph:
    log.info("Start parsing network model.")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # any unreadable file is one and the same to the parser
        log.library_error(f"ModelImporter.cpp:914: Failed to parse ONNX model from file: {path}: {error}")
        raise SetUpError("Failed to parse onnx file", "Parsing model failed") from error
    graph = Graph(model)
    try:
        graph.check()
    except RefusedNodeError as refused:
        for line in refused.lines():
            log.library_error(line)
        raise SetUpError("Failed to parse onnx file", "Parsing model failed") from refused
    log.info("Finished parsing network model. Parse time: 0.01")
    return graph


def _dims(item: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in item.type.tensor_type.shape.dim)


def _tensors(graph: Graph) -> tuple[Tensor, ...]:
    found = [(item, "input") for item in graph.inputs] + [(item, "output") for item in graph.model.graph.output]
    return tuple(Tensor(item.name, mode, TRITON_TYPES.get(item.type.tensor_type.elem_type, "?"), _dims(item)) for item, mode in found)


def _profiles(graph: Graph, options: Options) -> list[dict[str, tuple[list[int], list[int], list[int]]]]:
    """Every profile with a range for every input, static ones included."""
    inputs = {item.name: _dims(item) for item in graph.inputs}
    given = [dict(profile) for profile in options.profiles] or [{}]
    for name, sizes in (options.get("--shapes") or {}).items():
        given[0].setdefault(name, (sizes, sizes, sizes))
    for name in (name for profile in given for name in profile):
        if name not in inputs:
            log.error(
                f'Cannot find input tensor with name "{name}" in the network inputs! Please make sure the input tensor names are correct.'
            )
            raise SetUpError("Network And Config setup failed", "Building engine failed")
    if given[0] and not any(-1 in shape for shape in inputs.values()):
        log.error("Static model does not take explicit shapes since the shape of inference tensors will be determined by the model itself")
        raise SetUpError("Network And Config setup failed", "Building engine failed")
    return [{name: _range(name, shape, profile, index) for name, shape in inputs.items()} for index, profile in enumerate(given)]


def _range(
    name: str, shape: tuple[int, ...], profile: dict[str, tuple[list[int], list[int], list[int]]], index: int
) -> tuple[list[int], list[int], list[int]]:
    if -1 not in shape:
        return list(shape), list(shape), list(shape)
    if name not in profile:
        ones = [size if size > 0 else 1 for size in shape]
        text = "x".join(map(str, ones))
        log.warning(
            f"Dynamic dimensions required for input: {name}, but no shapes were provided. Automatically overriding shape to: {text}"
        )
        return ones, ones, ones
    low, middle, high = profile[name]
    if not len(low) == len(middle) == len(high) or any(not 0 <= a <= b <= c for a, b, c in zip(low, middle, high, strict=True)):
        raise SetUpError("Required optimization profile is invalid", "Network And Config setup failed", "Building engine failed")
    texts = ["x".join(map(str, bound)) for bound in (low, middle, high)]
    log.info(f"Set shape of input tensor {name} for optimization profile {index} to: MIN={texts[0]} OPT={texts[1]} MAX={texts[2]}")
    return low, middle, high


def _check_types(graph: Graph, options: Options, profiles: list[dict[str, tuple[list[int], list[int], list[int]]]], *, weak: bool) -> None:
    """What only the compiler finds out."""
    for index, profile in enumerate(profiles):
        for item in graph.inputs:
            _check_static(item.name, _dims(item), profile[item.name], index)
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.model.graph.node)
    if weak and quantised and not (options.get("--int8") or options.get("--fp8") or options.get("--best")):
        raise CompileError(
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error "
            "(Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder)"
        )


def _check_static(name: str, shape: tuple[int, ...], bounds: tuple[list[int], list[int], list[int]], index: int) -> None:
    where = f"for dimension number {{}} in profile {index} does not match network definition (got min={{}}, opt={{}}, max={{}}), expected"
    if len(bounds[0]) != len(shape):
        raise CompileError(
            f"IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error ({name}: profile {index} has {len(bounds[0])} dimensions, "
            f"the network definition has {len(shape)})"
        )
    for at, (size, got) in enumerate(zip(shape, zip(*bounds, strict=True), strict=True)):
        if size != -1 and set(got) != {size}:
            raise CompileError(
                f"IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error ({name}: {where.format(at, *got)} min=opt=max={size}).)"
            )
