"""Pictures from addresses."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

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
    data = bytearray()
    with _Deadline(DOWNLOAD_SECONDS) as deadline:
        try:
            _fetch(address, deadline, data)
        except (requests.RequestException, ValueError) as error:
            if not deadline.passed:
                raise ImageError(_reason(error)) from None
        if deadline.passed:  # which may look like the end of the picture
            raise ImageError(f"not complete after {DOWNLOAD_SECONDS:g} s")
    return bytes(data)


class _Deadline:
    """Ends all connections made under it once its time is over, whatever they are waiting for.

    A timeout of requests is for one read. A host that sends a byte now and then, or one ``100 Continue`` after another, keeps it
    reading for ever, and in places where it does not let anybody else look at the clock.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def holds_for(self, connection: socket.socket) -> None:
        """Have it ended in time; TLS takes the connection out of its socket, but not out of a duplicate."""
        with self._lock:
            self._connections.append(connection.dup())
        if self.passed:
            self._end()

    def _pass(self) -> None:
        self.passed = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)


class _InTime(HTTPAdapter):
    """Connections under a deadline, also those to a proxy."""

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        super().__init__()

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        kind: type[HTTPConnection] = pool.ConnectionCls
        deadline = self._deadline

        class Connection(kind):  # type: ignore[misc, valid-type]
            def _new_conn(self) -> socket.socket:
                made: socket.socket = super()._new_conn()
                deadline.holds_for(made)
                return made

        pool.ConnectionCls = Connection
        return pool


def _fetch(address: str, deadline: _Deadline, data: bytearray) -> None:
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, _InTime(deadline))
        with session.get(address, stream=True, timeout=_TIMEOUTS, headers={"User-Agent": _USER_AGENT}) as response:
            if response.status_code != requests.codes.ok:
                reason = "".join(filter(str.isprintable, response.reason))  # for a terminal
                raise ImageError(f"found HTTP {response.status_code} {reason}, expected a picture")
            for chunk in response.iter_content(1 << 16):
                data += chunk
                if len(data) > MAX_FILE_BYTES or deadline.passed:
                    return  # whoever looks at it says so


def _reason(error: Exception) -> str:
    """Why a download failed; the library's own texts show Python objects."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here"
    if isinstance(error, requests.exceptions.Timeout):
        return "the host does not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the host cannot be reached"
    return f"cannot be fetched: {error}"
