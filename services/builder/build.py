"""The builder's main verb: a card and its graph in, a checked and published version out."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from services.builder.candidate import capability, make_engine
from services.builder.compilers.base import COMPILER_FILES, Compiler
from services.builder.compilers.speed import faster
from services.builder.export import Export, read_export
from services.builder.fingerprints import engine_fingerprint, publication_fingerprint
from services.builder.model_config import config_from_card, image_config
from services.builder.precision import UnfitGraphError, obstacle
from services.builder.publish import ensure_served, publish, switch
from services.builder.repository import ModelFolder
from services.builder.server import Server
from services.core import cpus
from services.core.errors import AccuracyError, ToolError
from services.core.files import sha256_of, writing
from services.core.published import CARD, GOLDEN, IMAGE_CONFIG, LABELS, RECORD
from services.core.record import BuildRecord
from services.core.settings import BuilderSettings, Precision
from services.numerics.agreement import Agreement

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a build would do: the live version, whose engine would be served (none: it is compiled), and whether nothing changes."""

    live: int | None
    engine: Literal["live", "other", "none"]
    up_to_date: bool


def plan(settings: BuilderSettings, compiler: Compiler) -> Plan:
    """What ``build`` would do now, with nothing done.

    Raises:
        StackError: the export or the compiler cannot be used.
    """
    _, _, engine, publication = _asked(settings, compiler)
    folder = ModelFolder(settings.model_repository_dir, settings.name)
    live, proven = folder.live(), _version_with(folder, engine)
    served = folder.record(live).engine_fingerprint == engine if live else False
    found = Plan(live, "none" if not proven else "live" if served else "other", _current(folder, engine, publication) is not None)
    does = "nothing: up to date" if found.up_to_date else "publish a proven engine anew" if proven else "compile"
    log.info("version %s is live; build would do this: %s", live or "none", does)
    return found


def build(settings: BuilderSettings, compiler: Compiler, server: Server | None, *, force: bool) -> int:
    """Build and publish what has changed, down to nothing; return the live version's number.

    Raises:
        StackError: see the module of the step that failed; whatever was served before still is.
    """
    settings, export, engine, publication = _asked(settings, compiler)
    folder = ModelFolder(settings.model_repository_dir, settings.name)
    with folder.locked(settings.lock_wait_seconds):
        live = folder.live()
        if not force:
            current = _current(folder, engine, publication)
            if current is not None and live is None:
                log.info("version %d of %s is up to date, and is put back into service", current, folder.path)
                switch(folder, current, server)
                return current
            if current is not None and live is not None:
                rolled_back = f"version {current}; version {live} is served since a rollback (rollback {current} ends it)"
                log.info("up to date: %s", f"{folder.path} version {live}" if current == live else rolled_back)
                ensure_served(folder, live, server)
                return live
        compiler.demand_server()
        with folder.staging() as staging:
            made = None if force else _proven(folder, engine, staging / "engine")
            made = made or _built(settings, export, compiler, staging, engine)
            with writing(folder.path):
                _complete(*made, export, compiler, publication)
                image = image_config(export.card, made[1].max_batch, compiler.like_devices(), settings)
                (made[0] / IMAGE_CONFIG).write_text(image)
            config = config_from_card(export.card, made[1].max_batch, compiler.serving, compiler.like_devices(), settings)
            number = publish(folder, made[0], config, server)
        folder.prune(settings.keep_versions)
    log.info("published %s version %d: %s", folder.path, number, Agreement(**made[1].accuracy.model_dump()))
    return number


def _asked(settings: BuilderSettings, compiler: Compiler) -> tuple[BuilderSettings, Export, str, str]:
    """The settings with what the policies choose, the export, and the fingerprints of engine and publication."""
    export = read_export(settings.artifacts)
    chosen = {
        "instance_count": settings.instance_count or compiler.instances(),
        "image_instances": settings.image_instances or cpus.image_instances(cpus.find(), settings.published_decoder != "cpu"),
        "decoder": settings.published_decoder,
    }
    settings = settings.model_copy(update=chosen)
    return settings, export, engine_fingerprint(settings, export, compiler), publication_fingerprint(settings, export, compiler)


def _current(folder: ModelFolder, engine: str, publication: str) -> int | None:
    """The live version or the newest, where it is what would be built."""
    for number in (folder.live(), folder.newest()):
        record = folder.intact(number) if number else None
        if record is not None and (record.engine_fingerprint, record.publication_fingerprint) == (engine, publication):
            return number
    return None


def _version_with(folder: ModelFolder, engine: str) -> tuple[int, BuildRecord] | None:
    """The newest version whose engine is what would be built."""
    for number in reversed(folder.numbers()):
        record = folder.intact(number)
        if record is not None and record.engine_fingerprint == engine:
            return number, record
    return None


def _proven(folder: ModelFolder, engine: str, target: Path) -> tuple[Path, BuildRecord] | None:
    """The engine of a published version that is what would be built, as a copy in ``target``; None where there is none."""
    found = _version_with(folder, engine)
    if found is None:
        return None
    number, record = found
    log.info("the engine of version %d is what would be built: it is published anew, nothing is compiled", number)
    with writing(folder.path):
        target.mkdir()
        for name in (record.engine_file, *COMPILER_FILES):
            if (source := folder.path / str(number) / name).exists():
                _linked(source, target / name)
    return target, record


def _linked(source: Path, target: Path) -> None:
    """The same file under another name: a published file is never written again; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _complete(folder: Path, record: BuildRecord, export: Export, compiler: Compiler, publication: str) -> None:
    """Put beside the engine whatever else is published with it."""
    (folder / CARD).write_text(export.card.dumps())
    shutil.copyfile(export.labels, folder / LABELS)
    shutil.copyfile(export.golden_file, folder / GOLDEN)
    for name, path in compiler.serving.code:
        shutil.copyfile(path, folder / name)
    changed = {"publication_fingerprint": publication, "card_sha256": sha256_of(folder / CARD), "source": export.card.source}
    (folder / RECORD).write_text(record.model_copy(update=changed).dumps())


def _built(settings: BuilderSettings, export: Export, compiler: Compiler, staging: Path, fingerprint: str) -> tuple[Path, BuildRecord]:
    """The one engine of a fixed precision, or the one that ``auto`` chooses."""
    if settings.precision != "auto":
        target = staging / settings.precision
        return target, make_engine(settings, export, compiler, settings.precision, target, fingerprint)
    passed: list[BuildRecord] = []
    for precision in _candidates(settings, compiler):
        try:
            passed.append(make_engine(settings, export, compiler, precision, staging / precision, fingerprint))
        except (AccuracyError, ToolError, UnfitGraphError) as error:
            log.warning("auto leaves %s out: %s", precision, error)
    if not passed:
        raise ToolError("PRECISION=auto: no precision could be built", hint="the warnings above say why; try PRECISION=fp32")
    chosen = choose(passed)
    return staging / chosen.precision, chosen


def choose(records: list[BuildRecord]) -> BuildRecord:
    """The fastest of records that stand in the order of precision; the most precise of those that are as fast within the spreads."""
    measured = [(record, record.speed) for record in records if record.speed]
    fastest, most = max(measured, key=lambda pair: pair[1].images_per_second)
    chosen = next(record for record, speed in measured if not faster(most, speed))
    for record, speed in measured:
        result = "taken" if record is chosen else "passed"
        log.info("auto: %-5s %s, %s images/s", record.precision, result, speed_text(speed.images_per_second, speed.spread))
    if chosen is not fastest:
        log.info("auto: %s is faster by no more than the measurements vary, so %s is taken", fastest.precision, chosen.precision)
    return chosen


def speed_text(images_per_second: float, spread: float) -> str:
    """A speed and its spread, for people."""
    return f"{images_per_second:.{0 if images_per_second >= 100 else 1}f} ±{spread:.0%}"


def _candidates(settings: BuilderSettings, compiler: Compiler) -> list[Precision]:
    candidates: list[Precision] = []
    for precision in get_args(Precision):
        if precision == "auto":
            continue
        if reason := obstacle(precision, settings.accelerator, capability(compiler)):
            log.info("auto leaves %s out: %s", precision, reason)
        else:
            candidates.append(precision)
    return candidates
