"""The builder's main verb: a card and its graph in, a checked and published version out."""

import datetime
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from services.builder.compilers.base import Array, Compiler, Profile
from services.builder.compilers.layer_info import demand_precision
from services.builder.model_config import ModelConfig, config_from_card
from services.builder.precision import lower, require, supported
from services.builder.publish import ensure_served, publish
from services.builder.repository import RECORD, ModelFolder
from services.builder.server import Server
from services.builder.verify import compare, demand, load_golden, summary
from services.core.card import ModelCard
from services.core.errors import AccuracyError, ContractError, ToolError
from services.core.files import fingerprint_of, sha256_of, source_fingerprint
from services.core.record import BuildRecord, Hardware
from services.core.record import Compiler as CompilerRecord
from services.core.settings import BuilderSettings, Precision

log = logging.getLogger(__name__)

# What a build does not depend on: where things are, and how long to wait.
_NOT_AN_INPUT = {
    "artifacts_dir", "model_repository_dir", "log_format", "build_timeout_seconds", "lock_wait_seconds", "load_timeout_seconds",
    "triton_grpc_url", "admin_key_file", "keep_versions",
}  # fmt: skip


@dataclass(frozen=True)
class Export:
    """What the exporter left, with its hashes checked."""

    card: ModelCard
    graph: Path
    labels: Path
    golden: Path
    inputs: Array
    scores: Array


@dataclass(frozen=True)
class Candidate:
    """A compiled engine that passed the gate, in a folder that is ready to be published."""

    folder: Path
    record: BuildRecord
    config: ModelConfig


def read_export(folder: Path) -> Export:
    """Read what the exporter left.

    Raises:
        ContractError: something is missing, damaged, or not what the card says.
    """
    card = ModelCard.load(folder / "card.json")
    graph, labels, golden = folder / "model.onnx", folder / "labels.txt", folder / "golden.npz"
    for path, expected in ((graph, card.onnx.sha256), (golden, card.golden.sha256), (labels, None)):
        if not path.is_file():
            raise ContractError(f"{path} is missing, and {folder / 'card.json'} names it", hint="run the exporter again")
        if expected and (found := sha256_of(path)) != expected:
            raise ContractError(f"{path} has sha256 {found[:12]}…, the card says {expected[:12]}…", hint="run the exporter again")
    inputs, scores = load_golden(golden)
    return Export(card, graph, labels, golden, inputs, scores)


def build_fingerprint(settings: BuilderSettings, card: ModelCard, compiler: CompilerRecord, hardware: Hardware) -> str:
    """Fingerprint of everything a build depends on: card (and so the graph), settings, compiler, hardware, and code."""
    here = Path(__file__).resolve().parent
    return fingerprint_of(
        {
            "card": card.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json", exclude=_NOT_AN_INPUT),
            "compiler": compiler.model_dump(),
            "hardware": hardware.model_dump(),
            "code": source_fingerprint(here, here.parent / "core", here.parent / "triton" / "models"),
        }
    )


def build(settings: BuilderSettings, compiler: Compiler, server: Server | None, *, force: bool) -> int:
    """Build and publish, unless the live version is already what would be built; return the live version's number.

    Raises:
        StackError: see the module of the step that failed; whatever was served before still is.
    """
    export = read_export(settings.artifacts)
    made_by, hardware = compiler.identity()
    fingerprint = build_fingerprint(settings, export.card, made_by, hardware)
    folder = ModelFolder(settings.model_repository_dir, settings.name)
    with folder.locked(settings.lock_wait_seconds):
        live = folder.live()
        if live is not None and not force and _is_current(folder, live, fingerprint):
            log.info("up to date: %s version %d", folder.path, live)
            ensure_served(folder, live, server)
            return live
        with folder.staging() as staging:
            chosen = _fastest(settings, export, compiler, staging, fingerprint)
            number = publish(folder, chosen.folder, chosen.config, server)
        folder.prune(settings.keep_versions)
    log.info("published %s version %d: %s", folder.path, number, summary(chosen.record.accuracy))
    return number


def _is_current(folder: ModelFolder, live: int, fingerprint: str) -> bool:
    try:
        record = folder.record(live)
        return record.fingerprint == fingerprint and sha256_of(folder.path / str(live) / record.engine_file) == record.engine_sha256
    except (ContractError, OSError):
        return False


def _fastest(settings: BuilderSettings, export: Export, compiler: Compiler, staging: Path, fingerprint: str) -> Candidate:
    """The one candidate of a fixed precision, or the fastest of those that ``auto`` may take."""
    if settings.precision != "auto":
        return _candidate(settings, export, compiler, settings.precision, staging / settings.precision, fingerprint)
    passed = []
    for precision in _candidates(settings, compiler):
        try:
            passed.append(_candidate(settings, export, compiler, precision, staging / precision, fingerprint))
        except (AccuracyError, ToolError) as error:
            log.warning("auto leaves %s out: %s", precision, error)
    if not passed:
        raise ToolError("PRECISION=auto: no precision could be built", hint="the warnings above say why; try PRECISION=fp32")
    chosen = max(passed, key=lambda candidate: candidate.record.speed.images_per_second if candidate.record.speed else 0)
    for candidate in passed:
        speed = candidate.record.speed
        mark = "taken" if candidate is chosen else "passed"
        log.info("auto: %-5s %s, %.1f images/s", candidate.record.precision, mark, speed.images_per_second if speed else 0)
    return chosen


def _candidates(settings: BuilderSettings, compiler: Compiler) -> list[Precision]:
    capability = _capability(compiler)
    candidates: list[Precision] = []
    for precision in get_args(Precision):
        if precision == "auto":
            continue
        if reason := supported(precision, settings.accelerator, capability):
            log.info("auto leaves %s out: %s", precision, reason)
        else:
            candidates.append(precision)
    return candidates


def _capability(compiler: Compiler) -> tuple[int, int] | None:
    major, _, minor = compiler.identity()[1].compute_capability.partition(".")
    return (int(major), int(minor)) if major else None


def _candidate(
    settings: BuilderSettings, export: Export, compiler: Compiler, precision: Precision, folder: Path, fingerprint: str
) -> Candidate:
    """Lower, compile, inspect, compare and measure one precision."""
    card = export.card
    require(precision, settings.accelerator, _capability(compiler))
    folder.mkdir()
    lowered = settings.artifacts / "build" / f"{precision}.onnx"
    lowered.parent.mkdir(exist_ok=True)
    notes = lower(export.graph, lowered, precision, settings.accelerator, export.inputs).notes
    for note in notes:
        log.info("%s: %s", precision, note)
    engine = compiler.compile(lowered, folder, Profile(settings.min_batch, settings.opt_batch, settings.max_batch))
    description = compiler.describe(engine)
    demand_precision(precision, description.precisions)
    config = config_from_card(card, description, compiler.serving, settings)
    accuracy = compare(compiler.run(engine, export.inputs), export.scores, precision)
    log.info("%s: %s", precision, summary(accuracy))
    demand(accuracy, f"the {precision} engine")
    record = BuildRecord(
        model=card.name,
        fingerprint=fingerprint,
        card_sha256=sha256_of(settings.artifacts / "card.json"),
        source=card.source,
        precision=precision,
        compiler=engine.compiler,
        hardware=compiler.identity()[1],
        max_batch=config.max_batch_size,
        engine_file=engine.path.name,
        engine_sha256=sha256_of(engine.path),
        engine_bytes=engine.path.stat().st_size,
        accuracy=accuracy,
        speed=compiler.measure(engine, export.inputs, settings.opt_batch),
        notes=notes,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    (folder / RECORD).write_text(record.dumps())
    (folder / "card.json").write_text(card.dumps())
    shutil.copyfile(export.labels, folder / "labels.txt")
    shutil.copyfile(export.golden, folder / "golden.npz")
    return Candidate(folder, record, config)
