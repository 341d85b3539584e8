"""Pictures from addresses."""

import time

import requests

from services import __version__
from services.core.errors import ImageError
from services.images.decode import MAX_FILE_BYTES

DOWNLOAD_SECONDS = 60.0
_TIMEOUTS = (5.0, 20.0)
_USER_AGENT = f"tensorrt-to-triton/{__version__}"
"""Some hosts of photographs refuse the default one of a library."""


def is_address(name: str) -> bool:
    """Whether a name is that of something to download."""
    return name.lower().startswith(("http://", "https://"))


def download(address: str) -> bytes:
    """Fetch a picture, bounded in size and time.

    Raises:
        ImageError: the host cannot be reached, refuses, is too slow, or sends too much.
    """
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    data = bytearray()
    try:
        with requests.get(address, stream=True, timeout=_TIMEOUTS, headers={"User-Agent": _USER_AGENT}) as response:
            if response.status_code != requests.codes.ok:
                raise ImageError(f"found HTTP {response.status_code} {response.reason}, expected a picture")
            for chunk in response.iter_content(1 << 16):
                data += chunk
                if len(data) > MAX_FILE_BYTES:
                    break  # whoever looks at it says so
                if time.monotonic() > deadline:
                    raise ImageError(f"not complete after {DOWNLOAD_SECONDS:g} s")
    except (requests.RequestException, ValueError) as error:
        raise ImageError(_reason(error)) from None
    return bytes(data)


def _reason(error: Exception) -> str:
    """Why a download failed; the library's own texts show Python objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here"
    if isinstance(error, requests.exceptions.Timeout):
        return "the host does not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the host cannot be reached"
    return f"cannot be fetched: {error}"
