"""One precision of a model: lowered, compiled, inspected, compared and measured."""

import datetime
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from services.builder.compilers.base import Compiler, Engine, Inspection, Profile
from services.builder.compilers.layer_info import doubt
from services.builder.export import Export
from services.builder.model_config import demand_tensors
from services.builder.pictures import LabelledFolder, calibration_inputs, demand_evaluation, evaluate
from services.builder.precision import PRECISIONS, Lowered, lower, require
from services.builder.verify import demand, gate
from services.core.errors import ToolError
from services.core.files import sha256_of, writing
from services.core.record import Accuracy, BuildRecord, Evaluation
from services.core.settings import BuilderSettings, Precision
from services.onnx_graphs.session import graph_runner

log = logging.getLogger(__name__)


def make_engine(
    settings: BuilderSettings, export: Export, compiler: Compiler, precision: Precision, folder: Path, fingerprint: str
) -> BuildRecord:
    """Build one precision into ``folder``, which must not exist, and return its record; it is not published yet.

    Raises:
        SettingsError: the precision cannot be had here.
        ToolError: the compiler failed, or its engine is of another precision.
        AccuracyError: the engine disagrees with the original.
        RepositoryError: the disk is full.
    """
    require(precision, settings.accelerator, capability(compiler))
    labelled = LabelledFolder.read(settings.eval_dir, export.label_names()) if settings.eval_dir else None
    folder.mkdir()
    graph, lowered = _lowered(settings, export, precision)
    engine = _compiled(settings, compiler, graph, folder)
    inspection = compiler.inspect(engine, np.resize(export.golden.inputs, (settings.opt_batch, *export.golden.inputs.shape[1:])))
    demand_tensors(export.card, inspection)
    notes = (*lowered.notes, *inspection.notes, *_doubts(precision, inspection, lowered))
    agreement = gate(compiler.run(engine, export.golden.inputs), export.golden.scores, precision)
    log.info("%s: %s", precision, agreement)
    demand(agreement, f"the {precision} engine")
    return BuildRecord(
        model=export.card.name,
        engine_fingerprint=fingerprint,
        publication_fingerprint="",
        card_sha256="",
        source=export.card.source,
        precision=precision,
        compiler=engine.compiler,
        hardware=compiler.identity()[1],
        max_batch=min(settings.max_batch, inspection.max_batch),
        engine_file=engine.path.name,
        engine_sha256=sha256_of(engine.path),
        engine_bytes=engine.path.stat().st_size,
        accuracy=Accuracy.model_validate(asdict(agreement)),
        evaluation=_evaluation(labelled, export, compiler, engine, precision, settings.max_pixels) if labelled else None,
        speed=inspection.speed,
        notes=notes,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def capability(compiler: Compiler) -> tuple[int, int] | None:
    """Compute capability of the GPU that the compiler builds for, if it is one."""
    major, _, minor = compiler.identity()[1].compute_capability.partition(".")
    return (int(major), int(minor)) if major else None


def _compiled(settings: BuilderSettings, compiler: Compiler, graph: Path, folder: Path) -> Engine:
    try:
        return compiler.compile(graph, folder, Profile(settings.opt_batch, settings.max_batch))
    except ToolError:
        # Compilers name a full disk in words of their own, or not at all: a file of the graph's size finds out.
        with writing(folder):
            shutil.copyfile(graph, folder / graph.name)
        raise


def _lowered(settings: BuilderSettings, export: Export, precision: Precision) -> tuple[Path, Lowered]:
    """The graph at a precision, kept beside the export so that the logged commands can be run again."""
    graph = settings.artifacts / "build" / f"{precision}.onnx"
    inputs, warning = export.golden.inputs, ""
    if PRECISIONS[precision].quantised:
        inputs, warning = calibration_inputs(settings.calibration_dir, export.card.preprocessing, inputs, settings.max_pixels)
    if warning:
        log.warning("%s: %s", precision, warning)
    with writing(graph.parent):
        graph.parent.mkdir(exist_ok=True)
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


def _evaluation(
    labelled: LabelledFolder, export: Export, compiler: Compiler, engine: Engine, precision: Precision, max_pixels: int
) -> Evaluation:
    original, compiled = graph_runner(export.graph), lambda inputs: compiler.run(engine, inputs)
    result = evaluate(labelled, export.card.preprocessing, original, compiled, max_pixels)
    shown = (precision, result.images, result.top1_before, result.top1, result.top5_before, result.top5)
    log.info("%s: on %d pictures top-1 %.2f -> %.2f, top-5 %.2f -> %.2f", *shown)
    demand_evaluation(result, precision)
    return result
