"""The build record: how a published version was made, and what was measured of it. Format 1: ``build.json``."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from services.core.card import Source, read_text, validated

FORMAT_VERSION = "1.0"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Accuracy(_Part):
    """Agreement of the engine with the original FP32 model on the golden set; errors are of the scores."""

    samples: int
    top1_agreement: float = Field(ge=0, le=1)
    max_error: float
    mean_error: float
    min_top1_agreement: float
    max_error_tolerance: float
    mean_error_tolerance: float


class Evaluation(_Part):
    """Share of right answers on the labelled images of EVAL_DIR, before (FP32) and after."""

    images: int
    top1_before: float
    top5_before: float
    top1: float
    top5: float


class Speed(_Part):
    """Measured on the building machine at the profile's tuned batch; no promise for another."""

    batch: int
    images_per_second: float
    median_ms: float
    p99_ms: float


class Hardware(_Part):
    """What the engine was built on and is bound to."""

    device: str
    compute_capability: str = ""
    driver: str = ""


class Compiler(_Part):
    """The program that made the engine."""

    name: str
    version: str
    argv: tuple[str, ...] = ()


class BuildRecord(_Part):
    """How a published version was made."""

    format_version: str = FORMAT_VERSION
    model: str
    fingerprint: str = Field(description="of everything the build depends on; unchanged means up to date")
    card_sha256: str
    source: Source
    precision: str
    compiler: Compiler
    hardware: Hardware
    max_batch: int
    engine_file: str
    engine_sha256: str
    engine_bytes: int
    accuracy: Accuracy
    evaluation: Evaluation | None = None
    speed: Speed | None = None
    notes: tuple[str, ...] = ()
    created: str = Field(description="UTC, ISO 8601")

    def dumps(self) -> str:
        """The record as JSON text."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a record.

        Raises:
            ContractError: it is missing, damaged, or of another major format version.
        """
        hint = f"remove {path.parent} and run the builder again"
        return validated(cls, read_text(path, hint), str(path), FORMAT_VERSION, hint)
