"""Where a server is: ``host:port``, as Triton's own clients write it, or with a scheme."""

from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from services.core.errors import SettingsError


class Service(NamedTuple):
    """One of the two doors of a server; ``setting`` and ``option`` say how its address is given."""

    name: str
    plain: str
    secure: str
    setting: str
    option: str
    port: int


HTTP = Service("HTTP", "http", "https", "TRITON_URL", "--url", 8000)
GRPC = Service("gRPC", "grpc", "grpcs", "TRITON_GRPC_URL", "--grpc-url", 8001)


@dataclass(frozen=True)
class Address:
    """``target`` is ``host:port`` and, for HTTP behind a proxy, a base path; ``tls`` means an encrypted connection."""

    service: Service
    target: str
    tls: bool = False

    @classmethod
    def parse(cls, text: str, service: Service) -> "Address":
        """Read what a setting or an option says.

        >>> str(Address.parse("https://vision.example:443/triton", HTTP))
        'https://vision.example:443/triton'

        Raises:
            SettingsError: it is not ``host:port``, or has the scheme of something else.
        """
        given = f"{service.setting} ({service.option}) is {text!r}"
        other = GRPC if service is HTTP else HTTP
        if text.startswith((f"{other.plain}://", f"{other.secure}://")):
            raise SettingsError(
                f"{given}, an address for {other.name}, expected one for {service.name}",
                hint=f"give it as {other.setting} ({other.option}), and ask with --protocol {other.plain}",
            )
        wrong = SettingsError(
            f"{given}, expected host:port or {service.secure}://host:port", hint=f"write it like 127.0.0.1:{service.port}"
        )
        try:
            parts = urlsplit(text if "://" in text else f"{service.plain}://{text}")
            (parts.hostname or "").encode("idna")  # a part of a name may be empty, or too long
            usable = parts.scheme in (service.plain, service.secure) and parts.hostname and parts.port
        except ValueError:
            raise wrong from None
        if not usable:
            raise wrong
        path = parts.path.rstrip("/") if service is HTTP else ""  # gRPC has no base path
        return cls(service, parts.netloc.rpartition("@")[2] + path, parts.scheme == service.secure)

    @property
    def host(self) -> str:
        """The host alone, an IPv6 address without its brackets."""
        return urlsplit(str(self)).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return urlsplit(str(self)).port or self.service.port

    def __str__(self) -> str:
        """The address with its scheme."""
        return f"{self.service.secure if self.tls else self.service.plain}://{self.target}"
