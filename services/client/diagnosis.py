"""Why does an address not answer as Triton does? A look of our own, because each library words it in its own way."""

import contextlib
import ipaddress
import socket
import ssl
from typing import Literal

from services.client.address import GRPC, HTTP, Address
from services.client.protocol import AbsentError, NotTritonError, UnreachableError
from services.core import hints
from services.core.errors import ServerError

LOOK_SECONDS = 1.0

Spoken = Literal["HTTP", "gRPC", "TLS", ""]


def unreachable(address: Address, reason: str) -> ServerError:
    """The error of a request that got no answer.

    Args:
        address: where it was sent.
        reason: what the library says; used where a look at the address does not say more.
    """
    try:
        spoken = _spoken_at(address.host, address.port)
    except ConnectionRefusedError:
        return AbsentError(f"no Triton server answers at {address}: connection refused", hint=_absent_hint(address))
    except socket.gaierror:
        return AbsentError(f"no Triton server answers at {address}: no such host", hint=_absent_hint(address))
    except OSError:
        spoken = ""
    return _mismatch(address, spoken) or UnreachableError(f"no Triton server answers at {address}: {reason}", hint=_address_hint(address))


def not_triton(address: Address, found: str) -> NotTritonError:
    """The error of an address that answers, but not as Triton does; ``found`` is used where a look does not say more."""
    spoken: Spoken = ""
    with contextlib.suppress(OSError):
        spoken = _spoken_at(address.host, address.port)
    return _mismatch(address, spoken) or NotTritonError(f"{address} is not a Triton server: {found}", hint=_address_hint(address))


def untrusted(address: Address) -> ServerError:
    """The error of a certificate that was not issued by an authority known here."""
    variable = "SSL_CERT_FILE" if address.service is HTTP else "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
    return ServerError(
        f"{address} has a certificate that is not trusted here",
        hint=f"set {variable} to a file with the certificate of its authority",
    )


def _spoken_at(host: str, port: int) -> Spoken:
    """What the server at a port speaks, by its answer to a plain HTTP request; empty where it does not say.

    Raises:
        OSError: nothing can be reached there.
    """
    with socket.create_connection((host, port), LOOK_SECONDS) as connection:
        connection.settimeout(LOOK_SECONDS)
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: triton\r\nConnection: close\r\n\r\n")
            answer = connection.recv(16)
        except TimeoutError:
            return ""
        except OSError:
            answer = b""
    if answer.startswith(b"HTTP/"):
        return "HTTP"
    if answer[3:4] == b"\x04":  # an HTTP/2 server begins with its SETTINGS frame
        return "gRPC"
    if answer.startswith(b"\x15\x03") or (not answer and _shakes_hands(host, port)):
        return "TLS"
    return ""


def _shakes_hands(host: str, port: int) -> bool:
    """Whether TLS is spoken; some servers close the connection on plain text without a word."""
    with socket.create_connection((host, port), LOOK_SECONDS) as connection:
        try:
            with ssl.create_default_context().wrap_socket(connection, server_hostname=host):
                return True
        except ssl.SSLCertVerificationError:
            return True
        except OSError:
            return False


def _mismatch(address: Address, spoken: Spoken) -> NotTritonError | None:
    """The error of the right server at the wrong port, or of TLS where there is none, and the reverse."""
    service = address.service
    given = f"{service.setting} ({service.option})"
    if spoken == "TLS" and not address.tls:
        return NotTritonError(f"{address} expects an encrypted connection", hint=f"write {service.secure}:// in {given}")
    if spoken == service.name and address.tls:
        found = f"{address} speaks plain {service.name}, without encryption"
        return NotTritonError(found, hint=f"write {service.plain}:// in {given}")
    if spoken in (HTTP.name, GRPC.name) and spoken != service.name:
        other = GRPC if service is HTTP else HTTP
        right = f"--protocol {other.plain} {other.option} {address.target.partition('/')[0]}"
        hint = f"{given} needs the port for {service.name}, {service.port} unless it was changed; to ask over {other.name}: {right}"
        return NotTritonError(f"{address} speaks {spoken}, not {service.name}", hint=hint)
    return None


def _absent_hint(address: Address) -> str:
    if _is_loopback(address.host) and hints.isolated():
        service = address.service
        return (
            f"inside a container, {address.host} is the container itself: "
            f"name the server's service, {service.setting}=triton:{service.port} ({service.option})"
        )
    return f"start the server with `{hints.start()}`, or {_address_hint(address)}"


def _address_hint(address: Address) -> str:
    service = address.service
    return f"correct {service.setting} ({service.option}); the port for {service.name} is {service.port} unless it was changed"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
