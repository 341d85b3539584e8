"""The builder's main verb: a card and its graph in, a checked and published version out."""

import logging
from pathlib import Path
from typing import get_args

from services.builder.candidate import Candidate, capability, make_candidate
from services.builder.compilers.base import Compiler
from services.builder.export import Export, read_export
from services.builder.precision import supported
from services.builder.publish import ensure_served, publish
from services.builder.repository import ModelFolder
from services.builder.server import Server
from services.builder.verify import summary
from services.core.card import ModelCard
from services.core.errors import AccuracyError, ContractError, ToolError
from services.core.files import fingerprint_of, sha256_of, source_fingerprint
from services.core.record import Compiler as CompilerRecord
from services.core.record import Hardware
from services.core.settings import BuilderSettings, Precision
from services.images.find import images_in

log = logging.getLogger(__name__)

# What a build does not depend on: where things are, and how long to wait.
_NOT_AN_INPUT = {
    "artifacts_dir", "model_repository_dir", "log_format", "build_timeout_seconds", "lock_wait_seconds", "load_timeout_seconds",
    "triton_grpc_url", "admin_key_file", "keep_versions", "ngc_release", "server_tensorrt",
}  # fmt: skip


def build_fingerprint(settings: BuilderSettings, card: ModelCard, compiler: CompilerRecord, hardware: Hardware) -> str:
    """Fingerprint of everything a build depends on: card (and so the graph), settings, compiler, hardware, and code."""
    here = Path(__file__).resolve().parent
    return fingerprint_of(
        {
            "card": card.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json", exclude=_NOT_AN_INPUT),
            "compiler": compiler.model_dump(),
            # A driver keeps its kernels within a major version.
            "hardware": hardware.model_dump() | {"driver": hardware.driver.partition(".")[0]},
            "pictures": [sha256_of(*images_in(folder)) for folder in (settings.calibration_dir, settings.eval_dir) if folder],
            "code": source_fingerprint(here, here.parent / "core", here.parent / "images", here.parent / "triton" / "models"),
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
        if live is not None and not force and (newest := folder.newest()) != live and _is_current(folder, newest, fingerprint):
            log.info("up to date: version %d; version %d is served since a rollback (rollback %d ends it)", newest, live, newest)
            ensure_served(folder, live, server)
            return live
        with folder.staging() as staging:
            chosen = _fastest(settings, export, compiler, staging, fingerprint)
            number = publish(folder, chosen.folder, chosen.config, server)
        folder.prune(settings.keep_versions)
    log.info("published %s version %d: %s", folder.path, number, summary(chosen.record.accuracy))
    return number


def _is_current(folder: ModelFolder, number: int, fingerprint: str) -> bool:
    try:
        record = folder.record(number)
        return record.fingerprint == fingerprint and sha256_of(folder.path / str(number) / record.engine_file) == record.engine_sha256
    except (ContractError, OSError):
        return False


def _fastest(settings: BuilderSettings, export: Export, compiler: Compiler, staging: Path, fingerprint: str) -> Candidate:
    """The one candidate of a fixed precision, or the fastest of those that ``auto`` may take."""
    if settings.precision != "auto":
        return make_candidate(settings, export, compiler, settings.precision, staging / settings.precision, fingerprint)
    passed = []
    for precision in _candidates(settings, compiler):
        try:
            passed.append(make_candidate(settings, export, compiler, precision, staging / precision, fingerprint))
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
    candidates: list[Precision] = []
    for precision in get_args(Precision):
        if precision == "auto":
            continue
        if reason := supported(precision, settings.accelerator, capability(compiler)):
            log.info("auto leaves %s out: %s", precision, reason)
        else:
            candidates.append(precision)
    return candidates
