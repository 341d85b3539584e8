"""Files that somebody made to break whoever opens them as pictures; the same ones each time."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.conftest import ROOT

MUTANTS_OF_EACH = 18
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SIDE = 9459  # of the largest square that MAX_PIXELS lets through


class Attack(NamedTuple):
    """A file, and what it is in a word."""

    name: str
    content: bytes


def attacks() -> Iterator[Attack]:
    """All of them: mutants of honest pictures, then those made by hand."""
    yield from mutants(MUTANTS_OF_EACH)
    for name, make in HAND_MADE.items():
        yield Attack(name, make())


def mutants(each: int, seed: int = 0) -> Iterator[Attack]:
    """As radamsa makes them: honest pictures of each kind with bits flipped, cut off, doubled, spliced, and lengths gone wrong."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    honest = dict(_honest())
    for kind, file in honest.items():
        for number in range(each):
            mutate = _MUTATIONS[number % len(_MUTATIONS)]
            content = bytearray(file)
            for _ in range(chance.choice((1, 1, 2, 4))):
                mutate(content, chance, chance.choice(list(honest.values())))
            yield Attack(f"{kind} {mutate.__name__.strip('_')} {number}", bytes(content))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _honest() -> Iterator[tuple[str, bytes]]:
    with Image.open(ROOT / "samples" / "rocket.jpg") as one, Image.open(ROOT / "samples" / "coffee.jpg") as other:
        image, second = one.resize((150, 100)), other.resize((150, 100))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [second]}
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "JPEG", saved(image, "JPEG", exif=exif)
    yield "progressive JPEG", saved(image, "JPEG", progressive=True)
    yield "CMYK JPEG", saved(image.convert("CMYK"), "JPEG")
    yield "PNG", saved(image, "PNG", exif=exif)
    yield "palette PNG", saved(image.quantize(64), "PNG", transparency=3)
    yield "16-bit PNG", saved(deep, "PNG")
    yield "animated PNG", saved(image, "PNG", **frames)
    yield "WebP", saved(image, "WEBP")
    yield "lossless WebP", saved(image.convert("RGBA"), "WEBP", lossless=True)
    yield "animated WebP", saved(image, "WEBP", **frames)
    yield "GIF", saved(image, "GIF")
    yield "animated GIF", saved(image, "GIF", **frames)
    yield "TIFF", saved(image, "TIFF")
    yield "LZW TIFF", saved(image, "TIFF", compression="tiff_lzw")
    yield "deflate TIFF", saved(deep, "TIFF", compression="tiff_deflate")
    yield "JPEG TIFF", saved(image, "TIFF", compression="jpeg")
    yield "BMP", saved(image, "BMP")
    yield "palette BMP", saved(image.quantize(256), "BMP")


def _place(content: bytearray, chance: random.Random) -> int:
    """Half of the time in the header, where most is decided."""
    return chance.randrange(min(len(content), 200) if chance.random() < 0.5 else len(content)) if content else 0


def _flip(content: bytearray, chance: random.Random, _other: bytes) -> None:
    if content:
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _truncate(content: bytearray, chance: random.Random, _other: bytes) -> None:
    del content[_place(content, chance) :]


def _double(content: bytearray, chance: random.Random, _other: bytes) -> None:
    start = _place(content, chance)
    part = content[start : start + chance.randrange(1, 500)]
    content[start:start] = part * chance.choice((1, 1, 100))


def _delete(content: bytearray, chance: random.Random, _other: bytes) -> None:
    start = _place(content, chance)
    del content[start : start + chance.randrange(1, 100)]


def _splice(content: bytearray, chance: random.Random, other: bytes) -> None:
    start = chance.randrange(len(other))
    content[_place(content, chance) :] = other[start:]


def _length(content: bytearray, chance: random.Random, _other: bytes) -> None:
    size = chance.choice((1, 2, 4))
    value = chance.choice(_EXTREMES) & (1 << 8 * size) - 1
    start = _place(content, chance)
    content[start : start + size] = value.to_bytes(size, "little" if chance.random() < 0.5 else "big")


_MUTATIONS = (_flip, _truncate, _double, _delete, _splice, _length)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _zeros(size: int) -> bytes:
    packer, block = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(packer.compress(block[: min(len(block), size - done)]) for done in range(0, size, len(block))) + packer.flush()


def png(width: int, height: int, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A black PNG, its rows filtered by the slowest way (Paeth); colour is 0 grey, 2 RGB, 3 a palette, 4 grey and 6 RGB with alpha."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer, row = zlib.compressobj(1), b"\4" + bytes((width * samples * depth + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    palette = _chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _png_that_claims(side: int, depth: int, colour: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)) + _chunk(b"IDAT", b"")


def tiff(width: int, height: int, *, samples: int = 3, depth: int = 8, **options: int) -> bytes:
    """A black TIFF in one strip, or in one tile of this side, deflated."""
    size = options.get("tile", 0) ** 2 or width * height
    return _tiff_that_claims(width, height, _zeros(size * samples * depth // 8), samples=samples, depth=depth, **options)


def _tiff_that_claims(
    width: int,
    height: int = 0,
    packed: bytes = b"",
    *,
    samples: int = 3,
    depth: int = 8,
    kind: int = 1,
    tile: int = 0,
    strips: int = 1,
) -> bytes:
    """``kind`` is 1 for whole numbers, 3 for floating-point ones."""
    height = height or width
    numbers = {256: width, 257: height, 258: depth, 259: 8, 262: {1: 1, 3: 2, 4: 5}[samples], 277: samples, 339: kind}
    numbers |= {322: tile, 323: tile} if tile else {278: height}
    places = (324, 325) if tile else (273, 279)
    start = 8 + 2 + 12 * (len(numbers) + 2) + 4
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items()}
    entries |= {tag: struct.pack("<HHII", tag, 4, strips, value) for tag, value in zip(places, (start, len(packed)), strict=True)}
    directory = b"".join(entry for _, entry in sorted(entries.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + packed


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour, of which each pixel takes no bit."""
    bits = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (1, 1), (0, 3), (0, 3)] + [(1, 4)] * 5
    number = place = 0
    for value, size in bits:
        number |= value << place
        place += size
    data = number.to_bytes((place + 7) // 8 + 1, "little")
    data += bytes(len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(side: int, count: int, **options: object) -> bytes:
    """A JPEG that has its first scan so many times."""
    data = saved(Image.new("RGB", (side, side), "teal"), "JPEG", progressive=True, **options)
    start = data.index(b"\xff\xda")
    end = min(place for place in (data.find(b"\xff\xc4", start), data.find(b"\xff\xda", start + 2)) if place > 0)
    return data[:start] + data[start:end] * count + data[end:]


def _small(kind: str = "JPEG", **options: object) -> bytes:
    return saved(Image.new("RGB", (40, 30), "teal"), kind, **options)


def _behind(data: bytes, place: int, more: bytes) -> bytes:
    return data[:place] + more + data[place:]


def _exif(entries: int, bytes_of_each: int, *, numbers: int = 1) -> bytes:
    """An EXIF block whose entries all share their bytes; or with so many numbers for its orientation."""
    found = [struct.pack("<HHII", 0x112, 3, numbers, 8)] if numbers > 1 else []
    found += [struct.pack("<HHII", tag + 1, 7, bytes_of_each, 8) for tag in range(entries)]
    return b"II*\0" + struct.pack("<IH", 8, len(found)) + b"".join(found) + bytes(max(bytes_of_each, 2 * numbers))


def _app1(exif: bytes) -> bytes:
    parts = (b"Exif\0\0" + exif[start : start + 65000] for start in range(0, len(exif), 65000))
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)


def _bmp(width: int, height: int, packed: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(packed), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + packed


def _jpeg_that_claims(side: int) -> bytes:
    data = _small()
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + side.to_bytes(2) * 2 + data[start + 4 :]


def _noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


HAND_MADE: dict[str, Callable[[], bytes]] = {
    # Pixels: what the modes and formats let through, and what they must not, by the header alone.
    "WebP of 30 bytes": lambda: webp(_SIDE, _SIDE),
    "largest WebP": lambda: webp(5600, 5600),
    "palette PNG": lambda: png(_SIDE, _SIDE, 8, 3),
    "16-bit PNG": lambda: _png_that_claims(_SIDE, 16, 0),
    "largest 16-bit PNG": lambda: png(8190, 8190, 16, 0),
    "RGBA PNG": lambda: _png_that_claims(_SIDE, 8, 6),
    "largest PNG of 4 x 16 bits": lambda: png(7320, 7320, 16, 6),
    "PNG that claims more": lambda: _png_that_claims(2**31 - 1, 8, 2),
    "largest TIFF in one strip": lambda: tiff(8190, 8190),
    "TIFF of 32 bits": lambda: _tiff_that_claims(_SIDE, samples=1, depth=32),
    "largest TIFF of 32 bits": lambda: tiff(5790, 5790, samples=1, depth=32),
    "floating-point TIFF": lambda: _tiff_that_claims(_SIDE, samples=1, depth=32, kind=3),
    "TIFF in CMYK": lambda: _tiff_that_claims(_SIDE, samples=4),
    "largest TIFF in CMYK of 16 bits": lambda: tiff(5790, 5790, samples=4, depth=16),
    "small TIFF in a large tile": lambda: tiff(100, 100, tile=8000),
    "small TIFF in a tile too large": lambda: _tiff_that_claims(100, tile=12000),
    "JPEG that claims more": lambda: _jpeg_that_claims(_SIDE),
    "JPEG that claims most": lambda: _jpeg_that_claims(65000),
    # Time.
    "JPEG of 2000 scans": lambda: scans(400, 2000),
    "JPEG of 90 scans": lambda: scans(3000, 85, subsampling=0),
    "JPEG of 90 scans, too many for its size": lambda: scans(4500, 85),
    "large PPM of an odd maximum": lambda: b"P6 4000 4000 254\n" + bytes(1000),
    "largest PPM of an odd maximum": lambda: b"P6 720 720 254\n" + bytes(3 * 720 * 720),
    "plain PPM": lambda: b"P3 2000 2000 255\n" + b"0 " * 12_000_000,
    "largest plain PPM": lambda: b"P3 1150 1150 255\n" + b"0 " * 3 * 1150 * 1150,
    "large BMP in runs": lambda: _bmp(4000, 4000, (b"\1\1" * 4000 + b"\0\0") * 4000),
    "largest BMP in runs": lambda: _bmp(1750, 1750, (b"\1\1" * 1750 + b"\0\0") * 1750),
    "BMP of runs of nothing": lambda: _bmp(100, 100, b"\0\0" * 10_000_000),
    "JPEG 2000 of noise": lambda: saved(_noise(1000), "JPEG2000"),
    # Metadata, which Pillow reads in Python.
    "PNG of 2 million chunks": lambda: png(40, 30, extra=_chunk(b"abCd", b"") * 2_000_000),
    "PNG of 200000 chunks": lambda: png(40, 30, extra=_chunk(b"abCd", b"") * 200_000),
    "PNG with a text that unpacks": lambda: png(40, 30, extra=_chunk(b"zTXt", b"a\0\0" + _zeros(1 << 28))),
    "PNG with many texts that unpack": lambda: png(40, 30, extra=_chunk(b"zTXt", b"a\0\0" + _zeros(1 << 20)) * 200),
    "PNG with a profile that unpacks": lambda: png(40, 30, extra=_chunk(b"iCCP", b"a\0\0" + _zeros(1 << 28))),
    "PNG with EXIF of many numbers": lambda: png(40, 30, extra=_chunk(b"eXIf", _exif(0, 0, numbers=8_000_000))),
    "PNG with EXIF that shares its bytes": lambda: png(40, 30, extra=_chunk(b"eXIf", _exif(20_000, 300_000))),
    "JPEG with EXIF that shares its bytes": lambda: _behind(_small(), 2, _app1(_exif(20_000, 300_000))),
    "JPEG with EXIF of many numbers": lambda: _behind(_small(), 2, _app1(_exif(0, 0, numbers=8_000_000))),
    "JPEG with much EXIF": lambda: _behind(_small(), 2, _app1(bytes(60_000_000))),
    "JPEG of a million segments": lambda: _behind(_small(), 2, b"\xff\xfe\0\2" * 1_000_000),
    "JPEG of filler": lambda: _behind(_small(), 2, b"\xff" * 20_000_000),
    "GIF with a long comment": lambda: _behind(_small("GIF"), 13 + 3 * 2, b"\x21\xfe" + (b"\xff" + b"x" * 255) * 60_000 + b"\0"),
    "GIF of a million extensions": lambda: _behind(_small("GIF"), 13 + 3 * 2, b"\x21\x01\0" * 1_000_000),
    "PPM with a long comment": lambda: b"P6 #" + b"x" * 20_000_000 + b"\n4 4 255\n" + bytes(48),
    "TIFF of millions of strips": lambda: tiff(100, 100, strips=8_000_000) + bytes(32_000_000),
    "TIFF of most strips": lambda: tiff(100, 100, strips=1 << 18) + bytes(1 << 20),
    # Polyglots, and what only begins like a picture.
    "JPEG and a ZIP": lambda: _small() + b"PK\3\4" + bytes(100),
    "GIF and JavaScript": lambda: b"GIF89a/*" + bytes(10) + b"*/=1;alert(1)",
    "HTML in a PNG": lambda: png(40, 30, extra=_chunk(b"tEXt", b"a\0<script>\x1b[31m\r\n")),
    "PNG in a JPEG": lambda: _behind(_small(), 2, b"\xff\xe5\x40\0" + png(40, 30).ljust(0x3FFE, b"\0")),
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n(\x1b[31m) print",
    "terminal escapes": lambda: b"\x1b]0;owned\x07\x1b[2J" * 10,
    "WebP of no size": lambda: b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(22),
    "AVIF of nothing": lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + b"\xff" * 100,
    "JPEG 2000 of nothing": lambda: b"\xff\x4f\xff\x51" + b"\xff" * 200,
    "nothing": lambda: b"",
    "zeros": lambda: bytes(1000),
}
