"""The build record: how a published version was made, and what was measured of it. Format 2: ``build.json``."""

from typing import ClassVar

from pydantic import Field

from services.core.card import Source
from services.core.documents import Document, Part
from services.core.hints import command

LARGEST_BATCH = 65_536


class Accuracy(Part):
    """Agreement of the engine with the original FP32 model on the golden set; errors are of the scores."""

    samples: int
    top1_agreement: float = Field(ge=0, le=1)
    max_error: float
    mean_error: float
    min_top1_agreement: float
    max_error_tolerance: float
    mean_error_tolerance: float


class Evaluation(Part):
    """Share of right answers on the labelled images of EVAL_DIR, before (FP32) and after."""

    images: int
    top1_before: float
    top5_before: float
    top1: float
    top5: float


class Speed(Part):
    """Measured on the building machine at the profile's tuned batch; no promise for another.

    ``spread`` is half the range of the rounds' medians over their median: 0.05 means that a difference of 5 % says nothing.
    """

    batch: int
    images_per_second: float
    median_ms: float
    p99_ms: float
    spread: float


class Hardware(Part):
    """What the engine was built on and is bound to."""

    device: str
    compute_capability: str = ""
    driver: str = ""


class Compiler(Part):
    """The program that made the engine."""

    name: str
    version: str
    argv: tuple[str, ...] = ()


class BuildRecord(Document):
    """How a published version was made."""

    FORMAT: ClassVar[str] = "2.0"
    HINT: ClassVar[str] = f"build it anew: {command('builder', 'build', '--force')}"

    format_version: str = FORMAT
    model: str
    engine_fingerprint: str = Field(description="of everything the engine depends on; unchanged means that nothing is compiled")
    publication_fingerprint: str = Field(description="of how it is served; unchanged, with the engine's, means up to date")
    card_sha256: str
    source: Source
    precision: str
    compiler: Compiler
    hardware: Hardware
    max_batch: int = Field(ge=1, le=LARGEST_BATCH)
    engine_file: str = Field(pattern=r"^\w[\w.-]*$", description="its name in the version's folder")
    engine_sha256: str
    engine_bytes: int = Field(ge=0, le=2**63)
    accuracy: Accuracy
    evaluation: Evaluation | None = None
    speed: Speed | None = None
    notes: tuple[str, ...] = ()
    created: str = Field(description="UTC, ISO 8601")
