"""Variants of how a published model is served: words on the command line, a changed copy of the model folder on disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks.published import Published
from services.core.errors import SettingsError
from services.core.published import CONFIG

WORDS = """  published        the published config.pbtxt, unchanged
  off | on         no dynamic batching, or with it (dynamic_batching {} where no other word says more)
  delay=US         max_queue_delay_microseconds
  preferred=4,8    preferred_batch_size
  policy           default_queue_policy: 256 requests, 10 s, override allowed (what releases before this one published)
  instances=N      instance_group.count
  threads=N        ONNX Runtime threads of each instance
  nospin           these threads sleep where they have nothing to do, and do not spin
  spin=US          they spin for so long, in microseconds, then sleep (100000: about as without the policy)
  session.K=V      any other entry of ONNX Runtime's session configuration
  norun            the golden answers, without ONNX Runtime: what is left is the server's own time"""

# Put before the served model.py, which asks for its threads by SessionOptions: this changes them on the way to the session.
_SESSION = """import onnxruntime
_session = onnxruntime.InferenceSession


def _session_of_the_benchmark(graph, options, **others):
    if {threads}:
        options.intra_op_num_threads = {threads}
    for key, value in {entries}.items():
        options.add_session_config_entry(key, value)
    return _session(graph, options, **others)


onnxruntime.InferenceSession = _session_of_the_benchmark
"""
_GOLDEN = """import pathlib

import numpy
import onnxruntime


class _Golden:
    def __init__(self, graph, options, **others):
        with numpy.load(pathlib.Path(graph).with_name("golden.npz"), allow_pickle=False) as golden:
            rows = golden["inputs"]
            self._scores = dict(zip(map(self._key, rows), golden["scores"]))
            self._other = golden["scores"][0]

    def _key(self, row):
        return row.ravel()[::997].tobytes()

    def run(self, names, feed):
        return [numpy.stack([self._scores.get(self._key(row), self._other) for row in next(iter(feed.values()))])]


onnxruntime.InferenceSession = _Golden
"""


@dataclass(frozen=True)
class Variant:
    """``words`` names it; ``threads`` 0 leaves the number to the model."""

    words: str
    published: bool = False
    batching: bool = True
    delay_us: int = 0
    preferred: tuple[int, ...] = ()
    policy: bool = False
    instances: int = 0
    threads: int = 0
    entries: tuple[tuple[str, str], ...] = ()
    running: bool = True

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read the words of a variant.

        Raises:
            SettingsError: a word is unknown, or its number is none.
        """
        flags = {
            "published": ("published", True),
            "off": ("batching", False),
            "on": ("batching", True),
            "policy": ("policy", True),
            "norun": ("running", False),
        }
        numbers = {"delay": "delay_us", "instances": "instances", "threads": "threads"}
        fields: dict[str, object] = {}
        entries: dict[str, str] = {}
        for word in text.split():
            key, _, value = word.partition("=")
            if word in flags:
                name, fields[name] = flags[word][0], flags[word][1]
            elif key in numbers and value.isdecimal():
                fields[numbers[key]] = int(value)
            elif word == "nospin":
                entries["session.intra_op.allow_spinning"] = "0"
            elif key == "spin" and value.isdecimal():
                entries |= {"session.intra_op.allow_spinning": "1", "session.intra_op.spin_duration_us": value}
            elif key.startswith("session.") and value:
                entries[key] = value
            elif key == "preferred" and all(size.isdecimal() for size in value.split(",")):
                fields["preferred"] = tuple(int(size) for size in value.split(","))
            else:
                raise SettingsError(f"--variant '{text}': unknown word {word!r}", hint="the words are in --help")
        return cls(text, entries=tuple(entries.items()), **fields)  # type: ignore[arg-type]

    def config(self, published: pb.ModelConfig) -> pb.ModelConfig:
        """The published config, changed."""
        config = pb.ModelConfig()
        config.CopyFrom(published)
        if self.published:
            return config
        config.ClearField("dynamic_batching")
        if self.batching:
            config.dynamic_batching.CopyFrom(
                pb.ModelDynamicBatching(max_queue_delay_microseconds=self.delay_us, preferred_batch_size=self.preferred)
            )
        if self.policy:
            config.dynamic_batching.default_queue_policy.CopyFrom(
                pb.ModelQueuePolicy(default_timeout_microseconds=10_000_000, allow_timeout_override=True, max_queue_size=256)
            )
        if self.instances:
            config.instance_group[0].count = self.instances
        return config

    def write(self, published: Published, repository: Path) -> None:
        """Make ``repository`` hold the model as this variant, and nothing else."""
        shutil.rmtree(repository, ignore_errors=True)
        folder = repository / published.folder.name
        shutil.copytree(published.version, folder / published.version.name)
        (folder / CONFIG).write_text(text_format.MessageToString(self.config(published.config), use_index_order=True))
        model = folder / published.version.name / "model.py"
        if not self.running:
            model.write_text(_GOLDEN + model.read_text())
        elif self.threads or self.entries:
            model.write_text(_SESSION.format(threads=self.threads, entries=dict(self.entries)) + model.read_text())


def default_variants(cores: int) -> list[Variant]:
    """What is compared where nobody says otherwise."""
    batching = ["delay=500 policy", "off", "on", "delay=100", "delay=500", "delay=2000", "preferred=4,8", "preferred=4,8 delay=500"]
    instances = [f"on instances={number}" for number in (1, 2, 4)]
    # A thread for each core, which spins: what releases before this one served with.
    threads = [f"on instances=1 threads={cores} spin=100000", "on nospin", "on spin=200", f"on threads={max(1, cores // 4)}", "on norun"]
    return [Variant.parse(words) for words in (*batching, *instances, *threads)]
