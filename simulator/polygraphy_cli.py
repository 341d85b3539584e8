"""Polygraphy with a simulated TensorRT below it.

The command line, its checks, the comparison and the files are those of the real Polygraphy (PyPI); only the two names of
``polygraphy.backend.trt`` that load and run an engine are replaced, and where ``inspect model`` gets its data. So
``run X.plan --trt --model-type engine`` and ``inspect model X.plan --model-type engine --show layers`` work on simulated
plans; whatever else wants TensorRT fails as Polygraphy does without it.
"""

import json
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import polygraphy.backend.trt as trt
from polygraphy.backend.base import BaseLoader, BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType
from polygraphy.exception import PolygraphyException
from polygraphy.logger import G_LOGGER
from polygraphy.tools._main import main as real_main
from polygraphy.tools.inspect.subtool.model import extractors
from polygraphy.tools.inspect.subtool.model.graph_data import GraphData, NodeInfo, ProfileInfo, ProfileTensorInfo, TensorInfo

from simulator import layers, misbehave
from simulator.engine import NUMPY_TYPES, Array, Engine, ShapeError
from simulator.machine import Machine
from simulator.plan import DeserializationError, Plan, Tensor


class SimulatedEngine:
    """What Polygraphy holds for an engine."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """There is nothing to free."""

    def create_execution_context(self) -> Self:
        """The inspector needs one; here it is the engine itself."""
        return self


class EngineFromBytes(BaseLoader):  # type: ignore[misc]
    """Deserialises a plan, with the messages of TensorRT."""

    def __init__(self, serialized_engine: Any, runtime: Any = None) -> None:
        if runtime is not None:
            raise PolygraphyException("simulator: no runtime other than the simulated one")
        self._bytes = serialized_engine

    def call_impl(self) -> SimulatedEngine:
        """Load the plan."""
        data = self._bytes() if callable(self._bytes) else self._bytes
        try:
            return SimulatedEngine(Plan.load(data, Machine.from_env()))
        except DeserializationError as error:
            G_LOGGER.error(str(error))
            G_LOGGER.critical("Could not deserialize engine. See log for details.")
            raise  # critical() raises already


class TrtRunner(BaseRunner):  # type: ignore[misc]
    """Runs a simulated engine."""

    def __init__(self, engine: Callable[[], SimulatedEngine], name: str | None = None, **unsupported: Any) -> None:
        if any(value is not None for value in unsupported.values()):
            raise PolygraphyException(f"simulator: TrtRunner options {sorted(unsupported)} are not simulated")
        super().__init__(name=name, prefix="trt-runner")
        self._loader = engine

    def activate_impl(self) -> None:
        """Load the engine and prepare ONNX Runtime."""
        plan = (self._loader() if callable(self._loader) else self._loader).plan
        if misbehave.asked() == "wrong-answers":
            plan = Plan(**{**vars(plan), "onnx": misbehave.wrong_answers(plan.onnx)})
        self._engine = Engine(plan)

    def get_input_metadata_impl(self) -> TensorMetadata:
        """Names, types and shapes of the engine's inputs."""
        metadata = TensorMetadata()
        for tensor in self._engine.plan.inputs:
            metadata.add(tensor.name, dtype=DataType.from_dtype(NUMPY_TYPES[tensor.dtype]), shape=tensor.shape)
        return metadata

    def infer_impl(self, feed_dict: dict[str, Array]) -> dict[str, Array]:
        """Run one batch."""
        began = time.perf_counter()
        try:
            outputs = self._engine.run(dict(feed_dict))
        except ShapeError as error:
            G_LOGGER.critical(str(error))
            raise
        self.inference_time = time.perf_counter() - began
        return outputs

    def deactivate_impl(self) -> None:
        """Let go of the session."""
        del self._engine


def graph_data_from_trt_engine(engine: SimulatedEngine, _context: object, **_other: Any) -> GraphData:
    """What the real Polygraphy prints of an engine, taken from the plan."""
    plan = engine.plan
    found = json.loads(layers.render(plan, context=True))["Layers"]
    nodes = [_node(index, layer if isinstance(layer, dict) else {"Name": layer}) for index, layer in enumerate(found)]
    return GraphData(
        title="Name: Simulated Network 0 | Explicit Batch Engine",
        model_type="trt_engine",
        graph_inputs=[_tensor(tensor) for tensor in plan.inputs],
        graph_outputs=[_tensor(tensor) for tensor in plan.outputs],
        device_memory_bytes=0,
        num_io_tensors=len(plan.tensors),
        profiles=[ProfileInfo(index, _ranges(plan, profile)) for index, profile in enumerate(plan.profiles)],
        per_profile_nodes=[nodes],
        num_layers=len(nodes),
    )


def _tensor(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, DataType.from_dtype(NUMPY_TYPES[tensor.dtype]), tensor.shape)


def _ranges(plan: Plan, profile: dict[str, list[list[int]]]) -> list[ProfileTensorInfo]:
    return [
        ProfileTensorInfo(tensor.name, index, True, *(tuple(bound) for bound in profile[tensor.name]))
        if tensor.mode == "input"
        else ProfileTensorInfo(tensor.name, index, False, shape=tensor.shape)
        for index, tensor in enumerate(plan.tensors)
    ]


def _node(index: int, layer: dict[str, Any]) -> NodeInfo:
    def told(side: str) -> list[TensorInfo]:
        formats = [(tensor, tensor.get("Format/Datatype") or f"{tensor['Datatype']} {tensor['Format']}") for tensor in layer.get(side, [])]
        return [TensorInfo(tensor["Name"], None, tensor["Dimensions"], docstring=f"Format: {text}") for tensor, text in formats]

    tactic = layer.get("TacticName", "Unknown")
    return NodeInfo(f"p0_node_{index}", layer["Name"], layer.get("LayerType", "Unknown"), told("Inputs"), told("Outputs"), tactic=tactic)


def main() -> int:
    """Run Polygraphy's own command line."""
    trt.EngineFromBytes, trt.TrtRunner = EngineFromBytes, TrtRunner
    extractors.graph_data_from_trt_engine = graph_data_from_trt_engine
    sys.argv[0] = "polygraphy"
    return int(real_main() or 0)


if __name__ == "__main__":
    sys.exit(main())
