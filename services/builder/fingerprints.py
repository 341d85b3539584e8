"""What an engine depends on, and what its publication depends on: a change of the second compiles nothing.

Code is no input. What decides how a graph is lowered carries a ``REVISION``; the files that run inside the server are hashed.
"""

from services.builder.compilers.base import Compiler
from services.builder.export import Export
from services.builder.model_config import image_config
from services.builder.precision import PRECISIONS, REVISION
from services.core.files import fingerprint_of, sha256_of
from services.core.settings import BuilderSettings
from services.images.find import images_in


def engine_fingerprint(settings: BuilderSettings, export: Export, compiler: Compiler) -> str:
    """Fingerprint of the graph and its known answers, of how it is lowered, calibrated, compiled and judged, and for which hardware."""
    made_by, hardware = compiler.identity()
    card = export.card
    quantises = settings.precision == "auto" or PRECISIONS[settings.precision].quantised
    folders = [folder for folder in (settings.calibration_dir if quantises else None, settings.eval_dir) if folder]
    return fingerprint_of(
        {
            "graph": card.onnx.sha256,
            "golden": card.golden.sha256,
            "card": card.model_dump(mode="json", include={"inputs", "outputs", "preprocessing", "scores"}),
            "settings": settings.affecting("engine"),
            "lowering": REVISION,
            "compiler": made_by.model_dump(),
            # A driver keeps its kernels within a major version.
            "hardware": hardware.model_dump() | {"driver": hardware.driver.partition(".")[0]},
            # Where a picture lies says of which class it is, and in which order it comes.
            "pictures": [{str(path.relative_to(folder)): sha256_of(path) for path in images_in(folder)} for folder in folders],
            # The names of the classes say which folder of EVAL_DIR is which.
            "labels": card.labels_sha256 if settings.eval_dir else "",
        }
    )


def publication_fingerprint(settings: BuilderSettings, export: Export, compiler: Compiler) -> str:
    """Fingerprint of how an engine is served: card, labels, what ``config.pbtxt`` says, and the code that runs inside the server."""
    return fingerprint_of(
        {
            "card": export.card.model_dump(mode="json", exclude={"created_by", "fingerprint"}),
            "settings": settings.affecting("serving"),
            "devices": compiler.like_devices(),
            "image": image_config(export.card, settings.max_batch, compiler.like_devices(), settings),
            "code": {name: sha256_of(path) for name, path in compiler.serving.code},
        }
    )
