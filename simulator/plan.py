"""The plan file of the simulator: TensorRT's public 28-byte head, then a JSON description and the ONNX graph.

The head is the one that ``trtexec --getPlanVersionOnly`` reads (github.com/NVIDIA/TensorRT samples/common/sampleEngines.cpp,
printPlanVersion): tag, serialisation version, and the four-part TensorRT version in bytes 24 to 27. The rest is our own.
"""

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from simulator.machine import Machine, dotted

TAG = struct.pack("<II", 0x74727466, 0)
MARK = b"SIMULATOR-PLAN-1"
HEAD_BYTES = 28

DESERIALIZE = "IRuntime::deserializeCudaEngine"


class DeserializationError(Exception):
    """TensorRT would not load this file here; the text is the library's."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of the engine; ``shape`` has -1 where it is dynamic, ``dtype`` is Triton's name (``FP32``)."""

    name: str
    mode: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A simulated engine.

    Attributes:
        tensorrt: the version that built it.
        profiles: for each optimisation profile, input to (minimum, optimum, maximum) shape.
        layers: what the engine inspector knows, with and without shapes.
        verbosity: ``--profilingVerbosity`` of the build.
        onnx: the graph that is run in place of an engine.
        trouble: misbehaviour that only the backend obeys.
    """

    tensorrt: tuple[int, int, int, int]
    gpu: str
    compute_capability: str
    hardware: str
    tensors: tuple[Tensor, ...]
    profiles: tuple[dict[str, list[list[int]]], ...]
    layers: dict[str, Any]
    verbosity: str
    onnx: bytes
    trouble: str = ""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, in order."""
        return tuple(tensor for tensor in self.tensors if tensor.mode == "input")

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs, in order."""
        return tuple(tensor for tensor in self.tensors if tensor.mode == "output")

    @property
    def dynamic(self) -> bool:
        """Some dimension of some tensor is set at run time."""
        return any(-1 in tensor.shape for tensor in self.tensors)

    @property
    def max_batch(self) -> int:
        """Largest first dimension that profile 0 allows; 0 where no input has a dynamic one."""
        limits = [self.profiles[0][tensor.name][2][0] for tensor in self.inputs if tensor.shape[:1] == (-1,)]
        return min(limits, default=0)

    def dump(self) -> bytes:
        """The file's content."""
        description = asdict(self)
        del description["onnx"]
        text = json.dumps(description).encode()
        body = struct.pack("<Q", len(text)) + text + self.onnx
        return TAG + MARK + bytes(self.tensorrt) + body + hashlib.sha256(body).digest()

    @classmethod
    def load(cls, data: bytes, machine: Machine) -> Self:
        """Read a plan on a machine.

        Raises:
            DeserializationError: it is no plan, cut short, or made for another TensorRT or GPU.
        """
        version = plan_version(data)
        if version is None or data[8:24] != MARK:
            raise DeserializationError(
                f"{DESERIALIZE}: Error Code 1: Serialization "
                "(Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match)"
            )
        if version != machine.tensorrt:
            raise DeserializationError(
                f"{DESERIALIZE}: Error Code 6: API Usage Error (The engine plan file is not compatible with this version of TensorRT, "
                f"expecting library version {machine.version} got {dotted(version)}, please rebuild.)"
            )
        body, digest = data[HEAD_BYTES:-32], data[-32:]
        if hashlib.sha256(body).digest() != digest:
            raise DeserializationError(
                f"{DESERIALIZE}: Error Code 1: Serialization (Serialization assertion read == size failed.Unexpected end of plan)"
            )
        (length,) = struct.unpack_from("<Q", body)
        description = json.loads(body[8 : 8 + length])
        description["tensors"] = tuple(Tensor(t["name"], t["mode"], t["dtype"], tuple(t["shape"])) for t in description["tensors"])
        description["tensorrt"] = tuple(description["tensorrt"])
        description["profiles"] = tuple(description["profiles"])
        plan = cls(onnx=body[8 + length :], **description)
        plan.check_device(machine)
        return plan

    @classmethod
    def read(cls, path: Path, machine: Machine) -> Self:
        """Read a plan file."""
        return cls.load(path.read_bytes(), machine)

    def check_device(self, machine: Machine) -> None:
        """Whether the GPU can run it.

        Raises:
            DeserializationError: it was built for another compute capability.
        """
        ampere_or_later = self.hardware == "ampere+" and float(machine.compute_capability) >= 8
        if machine.compute_capability != self.compute_capability and not ampere_or_later:
            raise DeserializationError(
                f"{DESERIALIZE}: Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, "
                f"expecting compute {machine.compute_capability} got compute {self.compute_capability}, please rebuild.)"
            )

    def other_model(self, machine: Machine) -> bool:
        """It was built on another GPU model of the same compute capability: TensorRT warns and goes on."""
        return self.gpu != machine.gpu and self.hardware == "none"


def plan_version(data: bytes) -> tuple[int, int, int, int] | None:
    """The four-part version in a plan's head; None where there is no such head."""
    if len(data) < HEAD_BYTES or not data.startswith(TAG):
        return None
    a, b, c, d = data[24:28]
    return a, b, c, d
