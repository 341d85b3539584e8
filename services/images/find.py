"""Which pictures a folder or a pattern holds, in an order that is the same on every machine."""

import glob
from pathlib import Path

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2"})


def images_in(place: Path) -> list[Path]:
    """The pictures in a folder and the folders below it, by extension, sorted by path; hidden ones are left out.

    A ``place`` that is no folder is taken as a glob pattern (``**`` goes into sub-folders); no match gives an empty list.
    """
    # Path.glob takes no absolute pattern
    found = place.rglob("*") if place.is_dir() else map(Path, glob.glob(str(place), recursive=True))  # noqa: PTH207
    return sorted((path for path in found if _is_picture(path, place)), key=lambda path: path.parts)


def _is_picture(path: Path, place: Path) -> bool:
    inside = path.relative_to(place).parts if place.is_dir() else (path.name,)
    return path.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in inside) and path.is_file()
