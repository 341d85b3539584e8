"""What can be chosen of how a model is served, and in which steps; pure."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from services.builder.model_config import THREADS_PARAMETER
from services.core import cpus
from services.core.errors import SettingsError
from services.core.settings import ServingSettings
from services.core.settings.base import shown

DELAYS_US = (0, 100, 500, 1000, 2000, 5000, 10_000)
PREFERRED = ((), (4, 8), (8, 16), (16, 32))
GPU_INSTANCES = 4
_WAIT_SHARE = 4
"""A delay is tried up to this part of the latency that is asked for."""
_WORKERS_PARAMETER = "decode_workers"


@dataclass(frozen=True)
class Choice:
    """The settings that are searched for, by their names; 0 where the policy for processors decides (threads and workers)."""

    instance_count: int
    image_instances: int
    cpu_threads: int
    decode_workers: int
    preferred_batch: tuple[int, ...]
    max_queue_delay_us: int

    @classmethod
    def of(cls, model: pb.ModelConfig, image: pb.ModelConfig) -> "Choice":
        """What two published configs say; ``image`` is that of the model that takes files."""
        return cls(
            instance_count=model.instance_group[0].count,
            image_instances=image.instance_group[0].count,
            cpu_threads=int(model.parameters[THREADS_PARAMETER].string_value or 0),
            decode_workers=int(image.parameters[_WORKERS_PARAMETER].string_value or 0),
            preferred_batch=tuple(model.dynamic_batching.preferred_batch_size),
            max_queue_delay_us=model.dynamic_batching.max_queue_delay_microseconds,
        )

    def model(self, published: pb.ModelConfig, name: str) -> str:
        """The config of a model as this choice has it, under another name, in protobuf text format."""
        config = _copy(published, name, self.instance_count)
        config.dynamic_batching.max_queue_delay_microseconds = self.max_queue_delay_us
        del config.dynamic_batching.preferred_batch_size[:]
        config.dynamic_batching.preferred_batch_size.extend(self.preferred_batch)
        config.parameters.pop(THREADS_PARAMETER, None)
        if self.cpu_threads:
            config.parameters[THREADS_PARAMETER].string_value = str(self.cpu_threads)
        return _text(config)

    def image(self, published: pb.ModelConfig, name: str, model: str) -> str:
        """The same of the model that takes files and asks ``model``."""
        config = _copy(published, name, self.image_instances)
        config.parameters[_WORKERS_PARAMETER].string_value = str(self.decode_workers)
        config.parameters["model"].string_value = model
        return _text(config)

    def settings(self) -> dict[str, str]:
        """As ``.env`` has them."""
        return {name.upper(): shown(value) for name, value in asdict(self).items()}

    def against(self, other: "Choice") -> str:
        """What is different from ``other``, in words."""
        mine, theirs = self.settings(), other.settings()
        changed = [f"{name} {theirs[name] or 'empty'} -> {value or 'empty'}" for name, value in mine.items() if theirs[name] != value]
        return ", ".join(changed) or "nothing"

    def with_(self, name: str, value: Any) -> "Choice":
        """The same with one setting changed."""
        return replace(self, **{name: value})


NAMES = tuple(field.name for field in fields(Choice))
OF_FILES = ("image_instances", "decode_workers")


@dataclass(frozen=True)
class Ladders:
    """The values of each setting in their order, so that a search can go a step up or down.

    Attributes:
        processors: how many the server may use.
        gpu: instances that are published on a GPU where no setting says otherwise; 0 where the model runs on a CPU.
        files: whether pictures are sent as files.
        max_batch: the largest batch of the model.
        bound: the latency that is asked for, in seconds.
        only: settings to leave all others alone for; all where empty.
    """

    processors: int
    gpu: int
    files: bool
    max_batch: int
    bound: float
    only: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The settings that matter here; those first that did most where they were measured."""
        idle = {*(("cpu_threads",) if self.gpu else ()), *(() if self.files else OF_FILES)}
        return [name for name in self.only or NAMES if name not in idle]

    def defaults(self, choice: Choice) -> Choice:
        """``choice`` with what would be published if nothing were set."""
        found = cpus.Cpus(self.processors)
        values = Choice(self.gpu or cpus.instances(found), cpus.image_instances(found, self.gpu > 0), 0, 0, (), 0)
        changed = {name: getattr(values, name) for name in self.names() if getattr(values, name) in self.values(name, choice)}
        return replace(choice, **changed)

    def values(self, name: str, choice: Choice) -> list[Any]:
        """The values of a setting, that of ``choice`` among them."""
        current = getattr(choice, name)
        found: Iterable[Any]
        if name == "instance_count":
            found = range(1, GPU_INSTANCES + 1) if self.gpu else _powers(self.processors)
        elif name == "image_instances":
            found = _powers(max(2, self.processors))
        elif name == "max_queue_delay_us":
            found = [delay for delay in DELAYS_US if delay <= self.bound * 1e6 / _WAIT_SHARE]
        elif name == "preferred_batch":
            # An empty variable counts as unset: one that .env sets cannot be taken back by the environment.
            found = [sizes for sizes in PREFERRED if max(sizes, default=0) <= self.max_batch and (sizes or not current)]
        else:
            each = max(1, self.processors // (choice.instance_count if name == "cpu_threads" else choice.image_instances))
            own = [0, *(number for number in _powers(self.processors) if number != each)]
            return sorted({*own, current}, key=lambda number: number or each)
        return sorted({*found, current})


def _powers(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def _copy(published: pb.ModelConfig, name: str, instances: int) -> pb.ModelConfig:
    config = pb.ModelConfig()
    config.CopyFrom(published)
    config.name = name
    config.instance_group[0].count = instances
    return config


def _text(config: pb.ModelConfig) -> str:
    return text_format.MessageToString(config, use_index_order=True)


def seconds_of(text: str) -> float:
    """A time such as ``20ms``, ``0.02s`` or ``500us``, in seconds.

    Raises:
        SettingsError: it is none, or not above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s)", text.strip())
    seconds = float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]] if found else 0.0
    if seconds <= 0:
        raise SettingsError(f"--p99 {text}: expected a time above zero with its unit", hint="write it as 20ms or 0.02s")
    return seconds


def settings_file(choice: Choice, head: Iterable[str]) -> str:
    """The choice in the format of ``.env``, each setting below its meaning, all of it below the lines of ``head``."""
    lines = [f"# {line}".rstrip() for line in head]
    for name, value in choice.settings().items():
        meaning = f"{ServingSettings.model_fields[name.lower()].description}."
        lines += [*textwrap.wrap(meaning, 118, initial_indent="# ", subsequent_indent="# "), f"{name}={value}"]
    return "\n".join(lines) + "\n"
