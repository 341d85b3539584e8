"""The builder's commands, each returning what ``--json`` prints."""

import logging
from dataclasses import asdict
from typing import Any

from services.builder.build import build
from services.builder.compilers import compiler_for
from services.builder.compilers.base import published_engine
from services.builder.publish import retire, rollback, served_agreement
from services.builder.repository import ModelFolder, Version
from services.builder.server import Server, admin_key
from services.builder.verify import compare, demand
from services.core import hints
from services.core.errors import RepositoryError
from services.core.published import GOLDEN
from services.core.settings import BuilderSettings
from services.numerics.agreement import Limits
from services.numerics.golden import load_golden

log = logging.getLogger(__name__)


def run(command: str, settings: BuilderSettings, *, version: int | None, force: bool) -> Any:
    """Run one command.

    Raises:
        StackError: it failed; nothing that was served has changed.
    """
    folder = ModelFolder(settings.model_repository_dir, settings.name)
    if command == "list":
        return [_row(published) for published in folder.versions()]
    server = _server(settings)
    if command == "verify":
        return _verify(folder, settings, server)
    number: int | None = None
    if command == "build":
        number = build(settings, compiler_for(settings), server, force=force)
    else:
        with folder.locked(settings.lock_wait_seconds):
            if command == "rollback":
                number = rollback(folder, version, server)
                log.info("version %d is served", number)
            else:
                retire(folder, server)
                log.info("%s is out of service; its versions stay", settings.name)
    return {"model": settings.name, "version": number}


def table(rows: list[dict[str, Any]]) -> str:
    """The versions as text, newest last; the live one is marked."""
    columns = ("version", "live", "precision", "top1_agreement", "max_error", "images_per_second", "mebibytes", "created", "weights")
    speeds = [
        {"images_per_second": f"{_cell(row['images_per_second'])} ±{row['spread']:.0%}"} if row["spread"] is not None else {}
        for row in rows
    ]
    cells = [columns, *(tuple(_cell((row | speed)[column]) for column in columns) for row, speed in zip(rows, speeds, strict=True))]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in cells)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "*" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


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
    """The live server, or None where none answers. The key is made in any case: the server's first start needs it."""
    server = Server(settings.triton_grpc_url, admin_key(settings.admin_key_file), settings.load_timeout_seconds)
    return server if server.answers() else None


def _verify(folder: ModelFolder, settings: BuilderSettings, server: Server | None) -> Any:
    live = folder.live()
    if live is None:
        raise RepositoryError(f"nothing is published in {folder.path}", hint=f"run the builder first: {hints.command('builder')}")
    if server is not None:
        agreement = served_agreement(folder, live, server)
    else:
        version, record = folder.path / str(live), folder.record(live)
        golden = load_golden(version / GOLDEN)
        found = compiler_for(settings).run(published_engine(version, record), golden.inputs)
        agreement = compare(found, golden.scores, Limits.of(record.accuracy.model_dump()))
    log.info("version %d %s: %s", live, "over gRPC" if server else "(no server answers; run here)", agreement)
    demand(agreement, f"version {live}", hint=f"serve an older version again: {hints.command('builder', 'rollback')}")
    return asdict(agreement)
