"""A connection of the protocol in the settings."""

import contextlib
from collections.abc import Iterator

from services.client.address import GRPC, HTTP, Address
from services.client.protocol import Credentials, Transport
from services.core.errors import SettingsError
from services.core.settings import ClientSettings


@contextlib.contextmanager
def connect(settings: ClientSettings, timeout: float | None = None) -> Iterator[Transport]:
    """Connect; nothing is sent yet.

    Args:
        settings: addresses and protocol.
        timeout: seconds that one request may take; the setting where None.

    Raises:
        SettingsError: the address or the key cannot be used.
    """
    key = _credentials(settings)
    seconds = settings.request_timeout_seconds if timeout is None else timeout
    transport: Transport
    # Either library takes a third of a second to import, and only one is used.
    if settings.protocol == "http":
        from services.client.http_transport import HttpTransport

        transport = HttpTransport(_demand_tls(Address.parse(settings.triton_url, HTTP), key), seconds, key)
    else:
        from services.client.grpc_transport import GrpcTransport

        transport = GrpcTransport(_demand_tls(Address.parse(settings.triton_grpc_url, GRPC), key), seconds, key)
    with contextlib.closing(transport):
        yield transport


def _credentials(settings: ClientSettings) -> Credentials | None:
    """What ``api_key_file`` holds."""
    file = settings.api_key_file
    if file is None:
        return None
    hint = "give API_KEY_FILE (--api-key-file) a file with the line that scripts/keys add printed"
    try:
        name, colon, key = file.read_text().strip().partition(":")
    except OSError as error:
        raise SettingsError(f"cannot read the key in {file}: {error.strerror}", hint=hint) from None
    if not (name and colon and key):
        raise SettingsError(f"{file} holds no key, expected NAME:KEY", hint=hint)
    return Credentials(name, key)


def _demand_tls(address: Address, key: Credentials | None) -> Address:
    if key and not address.tls:
        raise SettingsError(
            f"a key is to be sent to {address}, which is not encrypted",
            hint=f"write {address.service.secure}:// in {address.service.setting} ({address.service.option}), or give no API_KEY_FILE",
        )
    return address
