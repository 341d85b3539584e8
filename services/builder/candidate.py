"""One precision of a model: lowered, compiled, inspected, compared and measured."""

import datetime
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from services.builder.compilers.base import Compiler, Engine, Inspection, Profile
from services.builder.compilers.layer_info import doubt
from services.builder.export import Export
from services.builder.model_config import ModelConfig, config_from_card
from services.builder.pictures import LabelledFolder, calibration_inputs, demand_evaluation, evaluate
from services.builder.precision import PRECISIONS, Lowered, lower, require
from services.builder.repository import RECORD
from services.builder.verify import compare, demand, summary
from services.core.files import sha256_of
from services.core.record import BuildRecord, Evaluation
from services.core.settings import BuilderSettings, Precision
from services.onnx_graphs.session import graph_runner

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A compiled engine that passed the gate, in a folder that is ready to be published."""

    folder: Path
    record: BuildRecord
    config: ModelConfig


def make_candidate(
    settings: BuilderSettings, export: Export, compiler: Compiler, precision: Precision, folder: Path, fingerprint: str
) -> Candidate:
    """Build one precision into ``folder``, which must not exist.

    Raises:
        SettingsError: the precision cannot be had here.
        ToolError: the compiler failed, or its engine is of another precision.
        AccuracyError: the engine disagrees with the original.
    """
    require(precision, settings.accelerator, capability(compiler))
    compiler.demand_server()
    labelled = LabelledFolder.read(settings.eval_dir, export.label_names()) if settings.eval_dir else None
    folder.mkdir()
    (folder / "card.json").write_text(export.card.dumps())
    shutil.copyfile(export.labels, folder / "labels.txt")
    shutil.copyfile(export.golden, folder / "golden.npz")
    graph, lowered = _lowered(settings, export, precision)
    engine = compiler.compile(graph, folder, Profile(settings.opt_batch, settings.max_batch))
    inspection = compiler.inspect(engine, np.resize(export.inputs, (settings.opt_batch, *export.inputs.shape[1:])))
    notes = (*lowered.notes, *inspection.notes, *_doubts(precision, inspection, lowered))
    config = config_from_card(export.card, inspection, compiler.serving, settings)
    accuracy = compare(compiler.run(engine, export.inputs), export.scores, precision)
    log.info("%s: %s", precision, summary(accuracy))
    demand(accuracy, f"the {precision} engine")
    record = BuildRecord(
        model=export.card.name,
        fingerprint=fingerprint,
        card_sha256=sha256_of(folder / "card.json"),
        source=export.card.source,
        precision=precision,
        compiler=engine.compiler,
        hardware=compiler.identity()[1],
        max_batch=config.max_batch_size,
        engine_file=engine.path.name,
        engine_sha256=sha256_of(engine.path),
        engine_bytes=engine.path.stat().st_size,
        accuracy=accuracy,
        evaluation=_evaluation(labelled, export, compiler, engine, precision) if labelled else None,
        speed=inspection.speed,
        notes=notes,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    (folder / RECORD).write_text(record.dumps())
    return Candidate(folder, record, config)


def capability(compiler: Compiler) -> tuple[int, int] | None:
    """Compute capability of the GPU that the compiler builds for, if it is one."""
    major, _, minor = compiler.identity()[1].compute_capability.partition(".")
    return (int(major), int(minor)) if major else None


def _lowered(settings: BuilderSettings, export: Export, precision: Precision) -> tuple[Path, Lowered]:
    """The graph at a precision, kept beside the export so that the logged commands can be run again."""
    graph = settings.artifacts / "build" / f"{precision}.onnx"
    graph.parent.mkdir(exist_ok=True)
    inputs, warning = export.inputs, ""
    if PRECISIONS[precision].quantised:
        inputs, warning = calibration_inputs(settings.calibration_dir, export.card.preprocessing, export.inputs)
    if warning:
        log.warning("%s: %s", precision, warning)
    lowered = lower(export.graph, graph, precision, settings.accelerator, inputs)
    for note in lowered.notes:
        log.info("%s: %s", precision, note)
    return graph, replace(lowered, notes=(*lowered.notes, *([warning] if warning else [])))


def _doubts(precision: Precision, inspection: Inspection, lowered: Lowered) -> tuple[str, ...]:
    """What of the engine's listing does not fit its precision, also as a warning; nothing where the compiler has no listing."""
    if inspection.precisions is None:
        return ()
    found = doubt(precision, inspection.precisions, lowered.share, quantised=PRECISIONS[precision].quantised)
    if found:
        log.warning("%s: %s", precision, found)
    return (found,) if found else ()


def _evaluation(labelled: LabelledFolder, export: Export, compiler: Compiler, engine: Engine, precision: Precision) -> Evaluation:
    result = evaluate(labelled, export.card.preprocessing, graph_runner(export.graph), lambda inputs: compiler.run(engine, inputs))
    shown = (precision, result.images, result.top1_before, result.top1, result.top5_before, result.top5)
    log.info("%s: on %d pictures top-1 %.2f -> %.2f, top-5 %.2f -> %.2f", *shown)
    demand_evaluation(result, precision)
    return result
