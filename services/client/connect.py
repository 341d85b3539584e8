"""A connection of the protocol in the settings."""

import contextlib
from collections.abc import Iterator

from services.client.address import GRPC, HTTP, Address
from services.client.protocol import Transport
from services.core.settings import ClientSettings


@contextlib.contextmanager
def connect(settings: ClientSettings, timeout: float | None = None) -> Iterator[Transport]:
    """Connect; nothing is sent yet.

    Args:
        settings: addresses and protocol.
        timeout: seconds that one request may take; the setting where None.

    Raises:
        SettingsError: the address cannot be used.
    """
    seconds = settings.request_timeout_seconds if timeout is None else timeout
    transport: Transport
    # Either library takes a third of a second to import, and only one is used.
    if settings.protocol == "http":
        from services.client.http_transport import HttpTransport

        transport = HttpTransport(Address.parse(settings.triton_url, HTTP), seconds)
    else:
        from services.client.grpc_transport import GrpcTransport

        transport = GrpcTransport(Address.parse(settings.triton_grpc_url, GRPC), seconds)
    with contextlib.closing(transport):
        yield transport
