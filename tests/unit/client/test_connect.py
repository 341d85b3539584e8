"""The key for a gateway: where it comes from, and where it is not sent."""

import pytest

from services.client.connect import connect
from services.core.errors import SettingsError
from services.core.settings import ClientSettings


def opened(**settings):
    with connect(ClientSettings.from_env({}, **settings)) as transport:
        return transport.where


@pytest.fixture
def key(tmp_path):
    (tmp_path / "key").write_text("alice:secret\n")
    return tmp_path / "key"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_key_is_sent_over_an_encrypted_connection_only(key, protocol):
    secure = {"triton_url": "https://localhost:443", "triton_grpc_url": "grpcs://localhost:443"}
    assert opened(api_key_file=key, protocol=protocol, **secure).endswith("s://localhost:443")
    with pytest.raises(SettingsError, match="not encrypted"):
        opened(api_key_file=key, protocol=protocol)
    assert opened(protocol=protocol).startswith(f"{protocol}://")


@pytest.mark.parametrize("text", ["", "alice", "alice:", ":secret"])
def test_a_file_without_a_key_is_named(key, text):
    key.write_text(text)
    with pytest.raises(SettingsError, match="holds no key, expected NAME:KEY"):
        opened(api_key_file=key, triton_url="https://localhost:443")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        opened(api_key_file=tmp_path / "absent", triton_url="https://localhost:443")
