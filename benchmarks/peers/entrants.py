"""Who takes part: the peers, how each is started and asked, and which of its documented settings are tried."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Connect
from benchmarks.peers import wire

FOLDER = Path(__file__).parent
_MODULE = "benchmarks.peers"


@dataclass(frozen=True)
class Setting:
    """Processes that run the model, and how many requests may run as one; None: the peer's own defaults."""

    workers: int | None = None
    batch: int | None = None

    def __str__(self) -> str:
        if self.workers is None:
            return "its defaults"
        batches = f"batches of {self.batch}" if self.batch else "no batching"
        return f"{self.workers} worker{'s' * (self.workers > 1)}, {batches}"

    def variables(self, cores: int, spinning: bool) -> dict[str, str]:
        """What ``classifier.py`` reads: each worker has its share of the cores; nothing where the defaults are asked for."""
        if self.workers is None:
            return {}
        return {
            "PEER_WORKERS": str(self.workers),
            "PEER_BATCH": str(self.batch or 0),
            "PEER_THREADS": str(max(1, cores // self.workers)),
            "PEER_SPINNING": str(int(spinning)),
        }


@dataclass(frozen=True)
class Start:
    """What a command line is made of: the environment's programs, three free ports, a folder of its own, and the setting."""

    programs: Path
    ports: Sequence[int]
    scratch: Path
    setting: Setting


@dataclass(frozen=True)
class Peer:
    """A server of somebody else's; its folder has its code and its requirements."""

    name: str
    title: str
    packages: Sequence[str]
    connect: Connect
    command: Callable[[Start], Sequence[str | Path]]
    batches: bool = True
    variables: Callable[[Start], Mapping[str, str]] = lambda _: {}
    connect_batching: Connect | None = None
    """Where it is asked otherwise while it batches."""

    def client(self, setting: Setting) -> Connect:
        """How it is asked with a setting."""
        return (setting.batch and self.connect_batching) or self.connect

    @property
    def folder(self) -> Path:
        """Of its code."""
        return FOLDER / self.name

    def settings(self, cores: int) -> list[Setting]:
        """To try: one worker and one for each core, and one that gathers batches."""
        found = [Setting(1), Setting(cores)] if cores > 1 else [Setting(1)]
        return [*found, Setting(1, 8)] if self.batches else found


def _uvicorn(start: Start) -> list[str | Path]:
    workers = ["--workers", str(start.setting.workers)] if start.setting.workers else []
    address = ["--host", "127.0.0.1", "--port", str(start.ports[0]), "--log-level", "warning"]
    return [start.programs / "uvicorn", f"{_MODULE}.fastapi.serve:app", *address, *workers]


def _module(name: str) -> Callable[[Start], list[str | Path]]:
    return lambda start: [start.programs / "python", "-m", f"{_MODULE}.{name}.serve"]


def _bentoml(start: Start) -> list[str | Path]:
    return [start.programs / "bentoml", "serve", f"{_MODULE}.bentoml.serve:Service", "--host", "127.0.0.1", "--port", str(start.ports[0])]


def _mlserver(start: Start) -> list[str | Path]:
    return [start.programs / "mlserver", "start", FOLDER / "mlserver"]


def _mlserver_variables(start: Start) -> dict[str, str]:
    setting = start.setting
    found = {"MLSERVER_HOST": "127.0.0.1"}
    found |= {f"MLSERVER_{what}_PORT": str(port) for what, port in zip(("HTTP", "GRPC", "METRICS"), start.ports, strict=True)}
    if setting.workers is not None:  # one worker is the process that answers HTTP: MLServer's advice where there is one model
        found["MLSERVER_PARALLEL_WORKERS"] = str(setting.workers if setting.workers > 1 else 0)
    if setting.batch:
        found |= {"MLSERVER_MODEL_MAX_BATCH_SIZE": str(setting.batch), "MLSERVER_MODEL_MAX_BATCH_TIME": "0.005"}
    return found


def _torchserve(start: Start) -> list[str | Path]:
    """Writes the archive as a folder, which TorchServe takes as well, and its settings."""
    store, setting = start.scratch / "store", start.setting
    archive = store / "pictures"
    shutil.rmtree(store, ignore_errors=True)
    (archive / "MAR-INF").mkdir(parents=True)
    shutil.copy(FOLDER / "torchserve" / "serve.py", archive / "serve.py")
    model = {"modelName": "pictures", "handler": "serve.py", "modelVersion": "1.0"}
    manifest = {"createdOn": "", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    (archive / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    names = ("inference", "management", "metrics")
    address = [f"{name}_address=http://127.0.0.1:{port}" for name, port in zip(names, start.ports, strict=True)]
    own = {"minWorkers": setting.workers, "maxWorkers": setting.workers, "batchSize": setting.batch or 1, "maxBatchDelay": 5}
    models = [f"models={json.dumps({'pictures': {'1.0': {'marName': 'pictures', **own}}})}"] if setting.workers else []
    settings = start.scratch / "config.properties"
    settings.write_text("\n".join([*address, "install_py_dep_per_model=false", *models]) + "\n")
    options = ["--foreground", "--no-config-snapshots", "--disable-token-auth", "--models", "pictures=pictures"]
    return [start.programs / "torchserve", "--start", *options, "--model-store", store, "--ts-config", settings]


PEERS = (
    Peer("fastapi", "FastAPI (uvicorn)", ("fastapi", "uvicorn"), wire.post_file, _uvicorn, batches=False),
    Peer("litserve", "LitServe", ("litserve",), wire.post_base64, _module("litserve")),
    Peer("bentoml", "BentoML", ("bentoml",), wire.post_file, _bentoml, connect_batching=wire.post_form),
    Peer("mlserver", "MLServer", ("mlserver",), wire.post_kserve, _mlserver, variables=_mlserver_variables),
    Peer("ray", "Ray Serve", ("ray",), wire.post_file, _module("ray")),
    Peer("torchserve", "TorchServe", ("torchserve",), wire.post_torchserve, _torchserve),
)
ABSENT = {"OpenVINO Model Server": "there is no package of it on PyPI, only archives on GitHub and an image on Docker Hub"}
"""Who does not take part, and why."""
