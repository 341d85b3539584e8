"""From what a request holds to the picture file in it: the file as it is, base64 of it, or a data URL."""

import binascii

from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES, begins_like_a_picture, describe, in_words

_EXPECTED = "expected a picture file as it is (curl --data-binary @picture.jpg), base64 of one, or a data URL (data:image/jpeg;base64,...)"
_BLANKS = b" \t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_LONGEST_HEADER = 256


def picture_bytes(data: bytes, name: str = "picture", *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The picture file that a request holds; whether it can be decoded is ``decode``'s question.

    Args:
        data: a picture file, ASCII base64 of one (standard or URL-safe, with blanks and line breaks, with or without padding),
            or a data URL with base64.
        name: what to call it in an error.
        max_bytes: of the picture file; longer text is refused before it is decoded.

    Returns:
        The file: ``data`` itself where it is one.

    Raises:
        ImageError: it is empty, too long, wrong base64, or something else than a picture.
    """
    if not data:
        raise ImageError(f"{name}: found nothing, {_EXPECTED}")
    if begins_like_a_picture(data):
        _check_length(data, name, max_bytes)
        return data
    if len(data) > max_bytes // 2 * 3 + 1024:  # four characters for three bytes, and line breaks
        raise ImageError(f"{name}: found {len(data)} bytes, expected a picture of at most {in_words(max_bytes)}, or base64 of one")
    found = _from_base64(_after_header(data, name), describe(data), name)
    _check_length(found, name, max_bytes)
    if not begins_like_a_picture(found):
        raise ImageError(f"{name}: found base64 of {describe(found)}, {_EXPECTED}")
    return found


def _check_length(picture: bytes, name: str, max_bytes: int) -> None:
    if len(picture) > max_bytes:
        raise ImageError(f"{name}: found a picture of {len(picture)} bytes, expected at most {in_words(max_bytes)}")


def _after_header(data: bytes, name: str) -> bytes:
    """The base64 of a data URL, or all there is; what media type it names does not matter, as its first bytes say what it is."""
    start = data[:_LONGEST_HEADER].lstrip().lower()
    if not start.startswith(b"data:"):
        return data
    header, comma, _ = start.partition(b",")
    if not comma or not header.endswith(b";base64"):
        raise ImageError(f"{name}: found a data URL without ';base64,' in its first {_LONGEST_HEADER} bytes, {_EXPECTED}")
    return data[data.index(b",") + 1 :]


def _from_base64(text: bytes, found: str, name: str) -> bytes:
    text = text.translate(_STANDARD, _BLANKS).rstrip(b"=")
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise ImageError(f"{name}: found {found} (no base64: other characters are in it, or it is cut off), {_EXPECTED}") from None
