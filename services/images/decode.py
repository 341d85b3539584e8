"""From the bytes of a picture to upright RGB, as a person would see it in a viewer."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from services.core.errors import ImageError

# Remarks about odd metadata help nobody who wants to know what is in the picture; sizes are checked below.
warnings.filterwarnings("ignore", module=r"PIL\.")
Image.MAX_IMAGE_PIXELS = None  # the limit is the setting MAX_PIXELS, and it is a limit: Pillow only warns until twice as many

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Raster formats only: Pillow would start other programs for some of the rest (EPS)."""
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 89_478_485
"""The default of the setting of that name, and Pillow's own limit (256 MiB of RGB)."""
MAX_ASPECT = 200
"""Longest side over shortest: a resize of the short side multiplies the long one too, so a 1-pixel strip would become a bomb."""
_EXPECTED = "expected a JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, AVIF or JPEG 2000 picture"


def decode(source: Path | bytes, name: str = "", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture: first frame, turned upright by its EXIF orientation, 8-bit RGB.

    Transparent pictures are laid on white: they are mostly cut-out objects made for a page, and what lies under
    transparent pixels is arbitrary. 16-bit pictures are scaled to 8 bits (65535 becomes 255), not clipped. CMYK is
    converted by Pillow's formula, without colour profiles.

    Args:
        source: a file, or the content of one.
        name: what to call it in an error; the path where empty.
        max_pixels: larger pictures are refused before they are unpacked.

    Returns:
        An image of mode RGB.

    Raises:
        ImageError: it cannot be read, is longer than ``MAX_FILE_BYTES``, is no picture, is damaged, or is too large.
    """
    name = name or (str(source) if isinstance(source, Path) else "picture")
    data = _read(source, name) if isinstance(source, Path) else source
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: found more than {MAX_FILE_BYTES >> 20} MiB, {_EXPECTED}")
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            _check_size(image, name, max_pixels)
            image.load()
            return _rgb(_upright(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name}: found {describe(data)}, {_EXPECTED}") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        raise ImageError(f"{name}: found a damaged or unusual picture ({error}), {_EXPECTED}") from error


def describe(data: bytes) -> str:
    """Say in a few words what the content of a file that is no picture looks like."""
    start = data[:512].lstrip().lower()
    if not data:
        return "an empty file"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith(b"%pdf"):
        return "a PDF document"
    if start.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML document"
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")):
        return "a picture that is damaged or cut off near its beginning"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1"):
        return "a HEIC photograph (convert it to JPEG)"
    if b"\0" not in start and all(byte < 128 for byte in start):
        return "a text file"
    return f"unknown content that begins with bytes {data[:8].hex(' ')}"


def _read(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            raise ImageError(f"{name}: found a folder, {_EXPECTED}")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}, {_EXPECTED}") from None


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        found = f"found {image.width} x {image.height} pixels"
        raise ImageError(f"{name}: {found}, expected at most {max_pixels} in all (MAX_PIXELS; a decompression bomb?)")
    if max(image.size) > MAX_ASPECT * min(image.size):
        found = f"found a strip of {image.width} x {image.height} pixels"
        raise ImageError(f"{name}: {found}, expected a long side of at most {MAX_ASPECT} times the short one")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block does not make the picture itself unreadable
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion clips at 255, which turns a photograph white."""
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its pixels are 32-bit numbers, from {pixels.min()} to {pixels.max()}; only 16 bits have a known scale")
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
