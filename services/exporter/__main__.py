"""``python -m services.exporter``: a PyTorch or ONNX classifier becomes a checked FP32 graph and a model card."""

import json
import logging
import os
import sys

from services.core import log as logging_setup
from services.core import stage
from services.core.card import ModelCard
from services.core.settings import ExporterSettings
from services.exporter.fingerprint import export_fingerprint, up_to_date
from services.exporter.sources import parse_source

log = logging.getLogger(__name__)

_DESCRIPTION = """Export an image classifier to ONNX.

Writes <ARTIFACTS_DIR>/<model>/ with model.onnx (FP32, dynamic batch), golden.npz (inputs and what the original model says
of them), labels.txt and card.json. An unchanged export is "up to date" and touches nothing.

examples:
  MODEL=resnet50 python -m services.exporter
  MODEL=onnx:/models/flowers.onnx LABELS=/models/flowers.txt python -m services.exporter
  MODEL=py:shop.models:tiny_net WEIGHTS=/models/tiny.pth python -m services.exporter
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, export unless up to date, and return the exit code."""
    parser = stage.argument_parser("exporter", _DESCRIPTION, ExporterSettings.help())
    parser.add_argument("--force", action="store_true", help="export again, even when nothing has changed")
    parser.add_argument("--json", action="store_true", help="print the model card on stdout")
    arguments = parser.parse_args(argv)

    def work() -> int:
        logging_setup.set_up("exporter", debug=arguments.debug)
        settings = ExporterSettings.from_env(os.environ)
        logging_setup.set_up("exporter", settings.name, style=settings.log_format, debug=arguments.debug)
        source = parse_source(settings.model)
        fingerprint = export_fingerprint(settings, source)
        if not arguments.force and up_to_date(settings.artifacts, fingerprint):
            log.info("up to date: %s", settings.artifacts)
        else:
            # An up-to-date run never waits for onnx and onnxruntime.
            from services.exporter.export import export
            from services.images.decode import own_pillow

            own_pillow()
            card = export(settings, source, fingerprint)
            log.info(
                "exported %s: %s %s -> %s %s", card.name, card.input.name, list(card.input.shape), card.output.name, list(card.output.shape)
            )
        if arguments.json:
            card = ModelCard.load(settings.artifacts / "card.json")
            sys.stdout.write(json.dumps(card.model_dump(mode="json"), indent=2) + "\n")
        return 0

    stage.run(work, debug=arguments.debug)


if __name__ == "__main__":
    main()
