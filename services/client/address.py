"""Where a server is: ``host:port``, as Triton's own clients have it, or with a scheme."""

from typing import NamedTuple
from urllib.parse import urlsplit

from services.core.errors import SettingsError


class Address(NamedTuple):
    """``target`` is ``host:port`` and, for HTTP behind a proxy, a base path; ``secure`` means TLS."""

    target: str
    secure: bool


def http_address(text: str) -> Address:
    """Read the HTTP address.

    >>> http_address("https://vision.example:443/triton")
    Address(target='vision.example:443/triton', secure=True)

    Raises:
        SettingsError: it is not of the form ``[http[s]://]host:port[/path]``.
    """
    return _address(text, "TRITON_URL (--url)", plain="http", secure="https", example="127.0.0.1:8000")


def grpc_address(text: str) -> Address:
    """Read the gRPC address.

    Raises:
        SettingsError: it is not of the form ``[grpc[s]://]host:port``.
    """
    address = _address(text, "TRITON_GRPC_URL (--grpc-url)", plain="grpc", secure="grpcs", example="127.0.0.1:8001")
    return address._replace(target=address.target.partition("/")[0])


def _address(text: str, setting: str, *, plain: str, secure: str, example: str) -> Address:
    wrong = SettingsError(f"{setting} is {text!r}, expected host:port or {secure}://host:port", hint=f"for example {example}")
    try:
        parts = urlsplit(text if "://" in text else f"{plain}://{text}")
        usable = parts.scheme in (plain, secure) and parts.hostname and parts.port
    except ValueError:
        raise wrong from None
    if not usable:
        raise wrong
    return Address(parts.netloc.rpartition("@")[2] + parts.path.rstrip("/"), parts.scheme == secure)
