"""Addresses as people write them."""

import pytest

from services.client.address import GRPC, HTTP, Address
from services.core.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("triton:8000", Address(HTTP, "triton:8000")),
        ("http://127.0.0.1:8000/", Address(HTTP, "127.0.0.1:8000")),
        ("https://vision.example:443/triton/", Address(HTTP, "vision.example:443/triton", tls=True)),
        ("http://user:secret@vision.example:80", Address(HTTP, "vision.example:80")),
        ("[::1]:8000", Address(HTTP, "[::1]:8000")),
    ],
)
def test_http_addresses(text, expected):
    assert Address.parse(text, HTTP) == expected


def test_grpc_addresses():
    assert Address.parse("triton:8001", GRPC) == Address(GRPC, "triton:8001")
    assert Address.parse("grpcs://vision.example:443/", GRPC) == Address(GRPC, "vision.example:443", tls=True)


def test_parts():
    address = Address.parse("https://[::1]:443/triton", HTTP)
    assert (str(address), address.host, address.port) == ("https://[::1]:443/triton", "::1", 443)


@pytest.mark.parametrize(
    "text", ["triton", "triton:", ":8000", "triton:http", "triton:99999", "ftp://triton:1", "/", "", "a..b:1", f"{'x' * 64}:1"]
)
def test_what_is_not_an_address_is_named(text):
    with pytest.raises(SettingsError, match="TRITON_URL") as caught:
        Address.parse(text, HTTP)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "service", "right"),
    [
        ("grpc://triton:8001", HTTP, "--grpc-url), and ask with --protocol grpc"),
        ("http://triton:8000", GRPC, "--url), and ask with --protocol http"),
    ],
)
def test_an_address_of_the_other_protocol_says_where_it_belongs(text, service, right):
    with pytest.raises(SettingsError, match="an address for") as caught:
        Address.parse(text, service)
    assert right in caught.value.hint
