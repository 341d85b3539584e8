"""The golden set: real pictures, as the graph takes them and as the original model does."""

import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from services.core.card import Preprocessing
from services.core.errors import ImageError, SourceError
from services.exporter.loaded import Array
from services.exporter.sources import unreadable
from services.images.decode import decode
from services.images.find import images_in
from services.images.preprocess import input_from_image

log = logging.getLogger(__name__)


def golden_views(folder: Path, count: int, max_pixels: int) -> tuple[list[Image.Image], str]:
    """Pictures for the golden set: photographs, then their mirror images and closer crops until there are ``count``.

    Args:
        folder: GOLDEN_DIR.
        count: how many pictures to make.
        max_pixels: of one photograph.

    Returns:
        The pictures, and in words what they were made from. Without a photograph they are seeded noise.

    Raises:
        SourceError: there is no such folder, or it cannot be read.
        ImageError: a photograph cannot be read, or is larger.
    """
    if not folder.is_dir():
        raise SourceError(f"GOLDEN_DIR={folder}: there is no such folder", hint="name a folder of photographs, or an empty one for noise")
    try:
        next(folder.iterdir(), None)  # what looks for pictures passes over a folder that it cannot read
    except OSError as error:
        raise unreadable(error) from None
    try:
        photographs = [decode(path, max_pixels=max_pixels) for path in images_in(folder)[:count]]
    except ImageError as error:
        raise ImageError(f"GOLDEN_DIR={folder}: {error}", hint="take that picture out of the folder, or replace it") from None
    if not photographs:
        log.warning("%s holds no photograph: the golden set is noise, which tells less of a real model", folder)
        noise = np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)
        return [Image.fromarray(pixels) for pixels in noise], "seeded noise (GOLDEN_DIR holds no photograph)"
    views = [_view(photographs[index % len(photographs)], index // len(photographs)) for index in range(count)]
    return views, f"{len(photographs)} photographs in {count} views"


def _view(photograph: Image.Image, look: int) -> Image.Image:
    """Every other look is mirrored; each pair of looks comes closer than the one before."""
    margin = 0.08 * (look // 2) % 0.4
    width, height = photograph.size
    closer = photograph.crop((round(width * margin), round(height * margin), round(width * (1 - margin)), round(height * (1 - margin))))
    return ImageOps.mirror(closer) if look % 2 else closer


def inputs_from_views(views: list[Image.Image], preprocessing: Preprocessing) -> Array:
    """One input per picture: UINT8 ``[N,H,W,3]`` or FP32 ``[N,3,H,W]``, as ``preprocessing`` says."""
    return np.stack([input_from_image(view, preprocessing) for view in views])
