"""The builder's commands, each returning what ``--json`` prints."""

import logging
from dataclasses import asdict
from typing import Any

from services.builder.arguments import Arguments
from services.builder.backup import backup
from services.builder.build import build, plan, speed_text
from services.builder.compilers import compiler_for
from services.builder.compilers.base import published_engine
from services.builder.publish import retire, rollback, served_agreement
from services.builder.repository import ModelFolder, Version
from services.builder.restore import restore
from services.builder.server import Server
from services.builder.verify import compare, demand
from services.core import hints
from services.core.errors import RepositoryError, SettingsError
from services.core.log import printable
from services.core.published import GOLDEN
from services.core.settings import BuilderSettings
from services.numerics.agreement import Limits
from services.numerics.golden import golden_of

log = logging.getLogger(__name__)


def run(arguments: Arguments, settings: BuilderSettings) -> Any:
    """Run one command.

    Raises:
        StackError: it failed; nothing that was served has changed.
    """
    if arguments.command == "backup":
        return backup(settings, arguments.file, with_weights=arguments.with_weights)
    if arguments.command == "restore":
        server = None if arguments.dry_run else _server(settings)
        return restore(settings, arguments.file, arguments.models, server, dry_run=arguments.dry_run)
    folder = ModelFolder(settings.model_repository_dir, settings.name)
    if arguments.command == "list":
        return [_row(published) for published in folder.versions()]
    if arguments.command != "build" and not folder.numbers():
        raise RepositoryError(f"nothing is published in {folder.path}", hint=f"run the builder first: {hints.command('builder', 'build')}")
    if arguments.dry_run:
        return {"model": settings.name, **asdict(plan(settings, compiler_for(settings)))}
    server = _server(settings)
    if arguments.command == "verify":
        return _verify(folder, settings, server)
    number: int | None = None
    if arguments.command == "build":
        number = build(settings, compiler_for(settings), server, force=arguments.force)
    else:
        with folder.locked(settings.lock_wait_seconds):
            if arguments.command == "rollback":
                number = rollback(folder, arguments.version, server)
                log.info("version %d is served", number)
            else:
                was = retire(folder, server)
                back = hints.command("builder", "rollback", str(was))
                log.info("%s is out of service; its versions stay, and this brings it back: %s", settings.name, back)
    return {"model": settings.name, "version": number}


def table(rows: list[dict[str, Any]]) -> str:
    """The versions as text, newest last; the live one is marked."""
    columns = ("version", "live", "precision", "top1_agreement", "max_error", "images_per_second", "mebibytes", "created", "weights")
    shown = [
        row | {"images_per_second": speed_text(row["images_per_second"], row["spread"]) if row["images_per_second"] else None}
        for row in rows
    ]
    cells = [columns, *(tuple(_cell(row[column]) for column in columns) for row in shown)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in cells)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "*" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else printable(str(value))


def _row(published: Version) -> dict[str, Any]:
    record = published.record
    return {
        "version": published.number,
        "live": published.live,
        "precision": record.precision,
        "top1_agreement": record.accuracy.top1_agreement,
        "max_error": record.accuracy.max_error,
        "images_per_second": record.speed.images_per_second if record.speed else None,
        "spread": record.speed.spread if record.speed else None,
        "mebibytes": record.engine_bytes / 2**20,
        "created": record.created,
        "weights": f"{record.source.weights} {record.source.weights_sha256[:12]}",
        "compiler": f"{record.compiler.name} {record.compiler.version}",
        "device": record.hardware.device,
    }


def _server(settings: BuilderSettings) -> Server | None:
    """The live server, or None where none answers."""
    server = Server(settings.triton_grpc_url, settings.load_timeout_seconds)
    return server if server.answers() else None


def _verify(folder: ModelFolder, settings: BuilderSettings, server: Server | None) -> Any:
    live = folder.live()
    if live is None:
        raise RepositoryError(f"{settings.name} is not in service", hint=f"serve a version: {hints.command('builder', 'rollback')}")
    if server is not None:
        agreement = served_agreement(folder, live, server)
    else:
        version, record = folder.path / str(live), folder.proven(live)
        if record.compiler.name != settings.accelerator:
            raise SettingsError(
                f"ACCELERATOR={settings.accelerator}: version {live} of {settings.name} was built with {record.compiler.name}",
                hint=f"set ACCELERATOR={record.compiler.name}, or start the server, which is asked then",
            )
        golden = golden_of(version / GOLDEN, folder.card(live), record.HINT)
        found = compiler_for(settings).run(published_engine(version, record), golden.inputs)
        agreement = compare(found, golden.scores, Limits.of(record.accuracy.model_dump()))
    log.info("version %d %s: %s", live, "over gRPC" if server else "(no server answers; run here)", agreement)
    demand(agreement, f"version {live}", hint=f"serve an older version again: {hints.command('builder', 'rollback')}")
    return asdict(agreement)
