"""``python -m tests.attack.measure alone FOLDER`` (or ``batches``): has its files decoded, and prints what came of it as JSON lines.

Each time in a process of its own, a fork of this one, which is idle. What its own peak is above that of a fork that does nothing,
decoding took.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from services.client.pictures import file_of
from services.core.card import Preprocessing
from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES, MAX_PIXELS, begins_like_a_picture, no_picture, own_pillow
from services.images.preprocess import input_from_file
from services.triton.decoder import Decoder, Picture
from tests.attack.files import saved

THREADS = 4
_BATCH = 8
_ENDLESS = 30  # seconds of processor time
_RECIPE = Preprocessing(
    resize=256, crop=224, interpolation="bilinear", layout="NHWC", normalised_in_graph=True, mean=(0, 0, 0), std=(1, 1, 1)
)


class Taken(NamedTuple):
    """What some files came to: an error for each, empty for a picture; KiB above idle and seconds of processor time of all together."""

    names: list[str]
    errors: list[str]
    kib: int
    seconds: float
    status: int


def client(path: Path) -> list[str]:
    """As the client does where the server takes no files."""
    try:
        data = file_of(path)
        if not begins_like_a_picture(data):
            raise no_picture(data, "picture")
        input_from_file(data, _RECIPE)
    except ImageError as error:
        return [str(error)]
    return [""]


def image_model(several: Sequence[Path]) -> list[str]:
    """As the image model does with a dynamic batch."""
    decoder = Decoder(THREADS, MAX_PIXELS, MAX_FILE_BYTES)
    found = decoder.decode([Picture("picture", path.read_bytes()) for path in several], _RECIPE)
    return [str(one) if isinstance(one, ImageError) else "" for one in found]


def measured(names: list[str], work: Callable[[], list[str]], idle: int = 0) -> Taken:
    """Do it in a fork."""
    here, there = os.pipe()
    process = os.fork()
    if not process:
        resource.setrlimit(resource.RLIMIT_CPU, (_ENDLESS, _ENDLESS))
        os.write(there, json.dumps(work()).encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(process, 0)
    return Taken(names, json.loads(said or "[]"), used.ru_maxrss - idle, used.ru_utime + used.ru_stime, status)


def all_measured(way: str, files: Sequence[Path]) -> Iterator[Taken]:
    """Each file alone, as the client has it, or together with others, as the image model has it."""
    own_pillow()
    input_from_file(saved(Image.new("RGB", (600, 600)), "JPEG"), _RECIPE)  # what is imported or allocated once, is
    idle = measured([], list).kib
    size = _BATCH if way == "batches" else 1
    for start in range(0, len(files), size):
        several = files[start : start + size]
        work = partial(image_model, several) if way == "batches" else partial(client, several[0])
        yield measured([path.name for path in several], work, idle)


if __name__ == "__main__":
    for taken in all_measured(sys.argv[1], sorted(Path(sys.argv[2]).iterdir())):
        sys.stdout.write(json.dumps(taken._asdict()) + "\n")
