"""One settings class per stage, read from the environment in ``main()`` and passed down from there.

A field's name in upper case is its environment variable. An empty variable counts as unset, because that is how Compose
hands on a key that ``.env`` leaves empty.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.core.errors import SettingsError
from services.core.names import served_name

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "auto"]
Protocol = Literal["http", "grpc"]


class Settings(BaseModel):
    """Base of the stages' settings."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    log_format: Literal["text", "json"] = Field("text", description="log lines for people, or one JSON object a line")
    model: str = Field(
        "resnet50",
        min_length=1,
        description="torchvision classifier by name, efficientnet_lite0, onnx:/path/model.onnx, or py:package.module:factory",
    )
    model_name: str = Field("", description="name the model is served under; made from MODEL where empty")

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **overrides: object) -> Self:
        """Read the settings; ``overrides`` (from the command line) that are not None win over the environment.

        Raises:
            SettingsError: a value is not of its kind; all of them are named at once.
        """
        values: dict[str, object] = {
            name: environ[name.upper()].strip() for name in cls.model_fields if environ.get(name.upper(), "").strip()
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("\n".join(_line(problem) for problem in error.errors()), hint=_SETTINGS_HINT) from None

    @classmethod
    def help(cls) -> str:
        """The settings as text for ``--help``."""
        lines = ["settings (environment variables; docs/configuration.md has them all):"]
        for name, field in cls.model_fields.items():
            default = "" if field.default in ("", None) else f" [{_shown(field.default)}]"
            lines.append(f"  {name.upper():<26}{field.description}{default}")
        return "\n".join(lines)

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        # An empty name would make the folder of all models the model's own.
        if not self.name:
            raise ValueError(f"MODEL={self.model}, MODEL_NAME={self.model_name}: no name is left to serve the model under; set MODEL_NAME")
        return self

    @property
    def name(self) -> str:
        """The name the model is served under."""
        return served_name(self.model, self.model_name)


_SETTINGS_HINT = "correct it in .env, in the environment or on the command line; docs/configuration.md explains every setting"


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _line(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]).upper()
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}={problem['input']}: {message}" if key else message


def _numbers(value: object) -> object:
    """Let a tuple be written as ``1,2,3``."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class FolderSettings(Settings):
    """The two folders in which the stages meet."""

    artifacts_dir: Path = Field(Path("artifacts"), description="folder of exported models, one below it per model")
    model_repository_dir: Path = Field(Path("model_repository"), description="Triton's model repository")

    @property
    def artifacts(self) -> Path:
        """Folder of this model's exported files."""
        return self.artifacts_dir / self.name


class ExporterSettings(FolderSettings):
    """Settings of the exporter."""

    weights: str = Field("default", description="default (the published ones), random (seeded), or a file of a state_dict")
    input: Literal["uint8", "float32"] = Field(
        "uint8", description="uint8: pixels [N,H,W,3], normalised in the graph; float32: normalised [N,3,H,W], as the tutorial has it"
    )
    scores: Literal["probabilities", "logits"] = Field("probabilities", description="what the output holds")
    labels: str = Field("", description="file with one class name a line; the model's own classes where empty")
    resize: int | None = Field(None, ge=1, description="short side to resize to, in pixels; the model's own where empty")
    crop: int | None = Field(None, ge=1, description="side of the centre crop, in pixels; the model's own where empty")
    interpolation: Literal["bilinear", "bicubic"] | None = Field(None, description="of the resize; the model's own where empty")
    mean: tuple[float, float, float] | None = Field(None, description="per channel, of pixels in 0..1; the model's own where empty")
    std: tuple[float, float, float] | None = Field(None, description="per channel, of pixels in 0..1; the model's own where empty")
    golden_dir: Path = Field(Path("samples"), description="photographs that the golden set is made from")
    golden_count: int = Field(8, ge=1, le=256, description="size of the golden set")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: dict[str, object]) -> dict[str, object]:
        return values | {key: _numbers(values[key]) for key in ("mean", "std") if key in values}


class BuilderSettings(FolderSettings):
    """Settings of the builder."""

    accelerator: Literal["tensorrt", "onnxruntime"] = Field("tensorrt", description="compiler and runtime of the engine")
    precision: Precision = Field("fp32", description="arithmetic of the engine; auto takes the fastest that passes the accuracy gate")
    min_batch: int = Field(1, ge=1, description="smallest batch of the optimisation profile")
    opt_batch: int = Field(8, ge=1, description="batch the engine is tuned for")
    max_batch: int = Field(32, ge=1, description="largest batch the engine and the server take")
    workspace_mib: int = Field(4096, ge=1, description="memory TensorRT may use while it builds, in MiB")
    build_timeout_seconds: float = Field(3600, gt=0, description="time after which a build is stopped, in seconds")
    instance_count: int = Field(1, ge=1, description="execution instances of the model")
    instance_kind: Literal["", "KIND_GPU", "KIND_CPU"] = Field("", description="where instances run; made from ACCELERATOR where empty")
    preferred_batch: tuple[int, ...] = Field((), description="batch sizes the dynamic batcher aims at; none where empty")
    max_queue_delay_us: int = Field(500, ge=0, description="time a request may wait for others to join its batch, in microseconds")
    max_queue_size: int = Field(256, ge=0, description="requests that may wait; more are refused (0: no bound)")
    queue_timeout_ms: int = Field(10_000, ge=0, description="time after which a waiting request is refused, in milliseconds (0: never)")
    keep_versions: int = Field(3, ge=1, description="published versions to keep")
    lock_wait_seconds: float = Field(600, ge=0, description="time to wait for another builder of the same model, in seconds")
    calibration_dir: Path | None = Field(None, description="folder of images that int8 and fp8 are calibrated on")
    ngc_release: str = Field("", description="release of the server's NGC image; says which TensorRT must have built the plan")
    server_tensorrt: str = Field("", description="TensorRT version of the server's image, where NGC_RELEASE does not say it")
    eval_dir: Path | None = Field(None, description="folder with one sub-folder of images per class, for top-1 and top-5")
    triton_grpc_url: str = Field("127.0.0.1:8001", description="gRPC address of the server to load the model into, if it answers")
    admin_key_file: Path | None = Field(None, description="file with the key of Triton's model control; made where missing")
    load_timeout_seconds: float = Field(300, gt=0, description="time a model may take to load, in seconds")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: dict[str, object]) -> dict[str, object]:
        return values | {key: _numbers(values[key]) for key in ("preferred_batch",) if key in values}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min_batch <= self.opt_batch <= self.max_batch:
            found = f"MIN_BATCH={self.min_batch}, OPT_BATCH={self.opt_batch}, MAX_BATCH={self.max_batch}"
            raise ValueError(f"{found}: expected MIN_BATCH <= OPT_BATCH <= MAX_BATCH")
        if any(not 1 <= size <= self.max_batch for size in self.preferred_batch):
            raise ValueError(f"PREFERRED_BATCH={_shown(self.preferred_batch)}: expected sizes from 1 to MAX_BATCH={self.max_batch}")
        return self

    @property
    def kind(self) -> str:
        """Instance group kind: never a silent fall-back to the CPU."""
        return self.instance_kind or ("KIND_GPU" if self.accelerator == "tensorrt" else "KIND_CPU")


class ClientSettings(FolderSettings):
    """Settings of the client."""

    triton_url: str = Field("127.0.0.1:8000", description="HTTP address of the server")
    triton_grpc_url: str = Field("127.0.0.1:8001", description="gRPC address of the server")
    protocol: Protocol = Field("http", description="http or grpc")
    top_k: int = Field(5, ge=1, description="classes to show per picture")
    client_batch: int = Field(8, ge=1, description="pictures per request; the server's own limit lowers it")
    wait_seconds: float = Field(120, ge=0, description="time to wait for the model to get ready, in seconds")
    request_timeout_seconds: float = Field(
        60, gt=0, description="time for one request, and for asking an overloaded server again, in seconds"
    )
