"""The interface between the builder and what turns a graph into something that runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from services.core.card import ModelCard, Tensor
from services.core.published import CARD
from services.core.record import BuildRecord, Hardware, Speed
from services.core.record import Compiler as CompilerRecord

Array = npt.NDArray[Any]

COMPILER_FILES = ("build.log", "build.sh")
"""What a compiler may leave beside its engine: its log, and the command that makes the engine again."""


@dataclass(frozen=True)
class Profile:
    """Batch sizes: the one to tune for, and the largest; the smallest is always 1, because one picture is asked for at least."""

    opt: int
    max: int


@dataclass(frozen=True)
class Engine:
    """A compiled graph.

    Attributes:
        path: the file Triton loads, or that its Python model loads.
        compiler: which program made it, and the command.
        input_name: name of its one input.
        max_batch: largest batch of the profile it was compiled for.
    """

    path: Path
    compiler: CompilerRecord
    input_name: str
    max_batch: int


@dataclass(frozen=True)
class Inspection:
    """What a compiled engine says of itself, and how fast it is.

    Attributes:
        inputs: its inputs; -1 stands for the batch.
        outputs: its outputs.
        max_batch: largest batch it takes.
        precisions: how many of its convolutions and matrix products run in which precision; None where it does not say.
        speed: at the batch that it was inspected with.
        notes: sentences for the user and the build record.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int
    precisions: dict[str, int] | None
    speed: Speed
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """How Triton runs such engines: the fields of ``config.pbtxt`` that depend on the compiler.

    ``code`` is what runs inside the server: a name in the version's folder, and the file that is published under it.
    """

    platform: str = ""
    backend: str = ""
    default_model_filename: str = ""
    cuda_graphs: bool = False
    code: tuple[tuple[str, Path], ...] = ()


class Compiler(Protocol):
    """Turns a graph into an engine, and can run it to have it checked."""

    serving: Serving

    def identity(self) -> tuple[CompilerRecord, Hardware]:
        """Version of the compiler and the hardware that it builds for, found without building anything."""
        ...

    def like_devices(self) -> tuple[int, ...]:
        """Indices of the GPUs that are like the one built for, where there are others beside them; else nothing.

        They are what ``gpus`` of an instance group must name: KIND_GPU alone puts an instance on every GPU.
        """
        ...

    def instances(self) -> int:
        """Execution instances where the settings leave their number open."""
        ...

    def demand_server(self) -> None:
        """Refuse to build for a server that could not load the engine; asked before anything else is done.

        Raises:
            ContractError: the server has another version of the compiler.
        """
        ...

    def compile(self, graph: Path, folder: Path, profile: Profile) -> Engine:
        """Compile a graph into ``folder``.

        Raises:
            ToolError: the compiler failed.
        """
        ...

    def inspect(self, engine: Engine, inputs: Array) -> Inspection:
        """Read names, types, shapes and precisions from the compiled engine, and time it.

        Two speeds differ where ``speed.faster`` says so; by less than their spreads they are the same.

        Args:
            engine: what ``compile`` returned.
            inputs: one batch ``[N,...]`` of the card's type, of the size to time.

        Raises:
            ToolError: the engine cannot be loaded.
        """
        ...

    def run(self, engine: Engine, inputs: Array) -> Array:
        """Scores FP32 ``[N,classes]`` for inputs ``[N,...]`` of the card's type."""
        ...


def published_engine(folder: Path, record: BuildRecord) -> Engine:
    """The engine of a published version, from its folder."""
    return Engine(folder / record.engine_file, record.compiler, ModelCard.load(folder / CARD).input.name, record.max_batch)
