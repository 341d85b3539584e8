"""What Triton's tensorrt backend demands of a model configuration, with its messages.

After github.com/triton-inference-server/tensorrt_backend src/model_state.cc, instance_state.cc, tensorrt_utils.cc. In two
points the simulator is stricter: ``max_batch_size`` above the profile is refused at load whether or not the configuration
is auto-completed (without, the real backend takes it and refuses the requests), and so is a CUDA graph that the engine
cannot capture (the real backend logs it and serves without).
It takes any instance group: KIND_GPU the server itself refuses where there is no GPU.
"""

from pathlib import Path
from typing import Any

from simulator.machine import Machine
from simulator.plan import DeserializationError, Plan, Tensor


class RefusedModelError(Exception):
    """The backend would not load this model, or not run this request."""


def load_plan(config: dict[str, Any], folder: Path, machine: Machine) -> Plan:
    """The plan of a model version.

    Args:
        config: the model configuration, as the server hands it to a backend.
        folder: the version folder.
        machine: which TensorRT and GPU serve.

    Raises:
        RefusedModelError: there is no plan, or TensorRT would not load it here.
    """
    by_capability = config.get("cc_model_filenames") or {}
    path = folder / (by_capability.get(machine.compute_capability) or config.get("default_model_filename") or "model.plan")
    if not path.is_file():
        raise RefusedModelError(f"unable to find '{path}' for model instance '{config['name']}_0_0'")
    try:
        return Plan.read(path, machine)
    except DeserializationError as error:
        raise RefusedModelError(f"unable to create TensorRT engine: {error}") from None


def check_config(config: dict[str, Any], plan: Plan) -> None:
    """Compare configuration and engine.

    Raises:
        RefusedModelError: names, types, shapes, batch size or CUDA graphs do not fit the engine.
    """
    name, batch = config["name"], int(config.get("max_batch_size", 0))
    if len(config.get("input", [])) > len(plan.inputs):
        found = f"configuration expects {len(config['input'])} inputs, model provides at most {len(plan.inputs)}"
        raise RefusedModelError(f"unable to load model '{name}', {found}")
    for side, tensors in (("input", plan.inputs), ("output", plan.outputs)):
        for entry in config.get(side, []):
            _check_tensor(name, side, entry, {tensor.name: tensor for tensor in tensors}, batch)
    missing = {tensor.name for tensor in plan.inputs} - {entry["name"] for entry in config.get("input", [])}
    if missing:
        raise RefusedModelError(
            f"failed to specify the dimensions of all input bindings or values of all input shape bindings for {name}_0_0"
        )
    if batch > plan.max_batch:
        raise RefusedModelError(
            f"autofill failed for model '{name}': configuration specified max-batch {batch} "
            f"but TensorRT engine only supports max-batch {plan.max_batch}"
        )
    _check_graphs(config, batch, plan)


def _check_tensor(model: str, side: str, entry: dict[str, Any], allowed: dict[str, Tensor], batch: int) -> None:
    name = entry["name"]
    if name not in allowed:
        raise RefusedModelError(f"unexpected inference {side} '{name}', allowed {side}s are: {', '.join(sorted(allowed))}")
    tensor, configured = allowed[name], entry["data_type"].removeprefix("TYPE_")
    if tensor.dtype != configured:
        raise RefusedModelError(
            f"unexpected datatype TYPE_{tensor.dtype} for inference {side} '{name}', expecting TYPE_{configured} for {model}_0_0"
        )
    dims = [int(size) for size in (entry.get("reshape") or {}).get("shape", entry["dims"])]
    full = [-1, *dims] if batch > 0 else dims
    fits = len(full) == len(tensor.shape) and (batch == 0 or tensor.shape[0] == -1)
    if not fits or any(-1 not in (want, have) and want != have for want, have in zip(full, tensor.shape, strict=True)):
        expected = f"the model expects {len(tensor.shape)} dimensions (shape [{','.join(map(str, tensor.shape))}])"
        given = f"[{','.join(map(str, full))}]"
        why = (
            f"(an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete shape {given})"
            if batch > 0
            else f"(shape {given})"
        )
        raise RefusedModelError(
            f"model '{model}', tensor '{name}': {expected} but the model configuration specifies {len(full)} dimensions {why}"
        )


def _check_graphs(config: dict[str, Any], batch: int, plan: Plan) -> None:
    cuda = (config.get("optimization") or {}).get("cuda") or {}
    for spec in cuda.get("graph_spec") or []:
        size = int(spec.get("batch_size", 0))
        bound = int((spec.get("graph_lower_bound") or {}).get("batch_size", size))
        if batch == 0:
            if size or bound:
                raise RefusedModelError("graph spec expects 'batch_size' to be 0 if 'max_batch_size' is 0")
            continue
        if not 1 <= size <= batch or not 1 <= bound <= batch:
            raise RefusedModelError(f"graph spec expects 'batch_size' to be >= 1 and <= {batch}")
        if bound > size:
            raise RefusedModelError("graph lower bound spec expects 'batch_size' to be <= graph spec 'batch_size'")
        _check_graph_shapes(config["name"], spec, size, plan)


def _check_graph_shapes(model: str, spec: dict[str, Any], size: int, plan: Plan) -> None:
    """A graph's shapes, if it has any, are there for every input, without the batch, and for the lower bound too."""
    given = spec.get("input") or {}
    lower = (spec.get("graph_lower_bound") or {"input": given}).get("input") or {}
    for name in given:
        if name not in lower:
            raise RefusedModelError(f"graph lower bound spec expects shape for input '{name}'")
    for tensor in plan.inputs if given else ():
        if tensor.name not in given:
            raise RefusedModelError(f"trt failed to set input shape for unknown input '{tensor.name}' for {model}_0_0")
        shape = [size, *(int(dim) for dim in given[tensor.name].get("dim", []))]
        low, _, high = plan.profiles[0][tensor.name]
        if len(shape) != len(low) or any(not a <= dim <= b for a, dim, b in zip(low, shape, high, strict=True)):
            text = ",".join(map(str, shape))
            raise RefusedModelError(f"trt failed to set input shape to [{text}] for input {tensor.name} for {model}_0_0")


def check_request(config: dict[str, Any], plan: Plan, name: str, shape: tuple[int, ...]) -> None:
    """Compare the shape of a whole batch with the profile.

    Raises:
        RefusedModelError: a dimension is outside.
    """
    low, _, high = plan.profiles[0][name]
    if len(shape) != len(high):
        problem = f"model expected {len(high)} dimensions but received {len(shape)} dimensions"
    else:
        outside = [at for at, size in enumerate(shape) if not low[at] <= size <= high[at]]
        if not outside:
            return
        at = outside[0]
        problem = f"model expected the shape of dimension {at} to be between {low[at]} and {high[at]} but received {shape[at]}"
    raise RefusedModelError(f"request specifies invalid shape for input '{name}' for {config['name']}_0_0. Error details: {problem}")
