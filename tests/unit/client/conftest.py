"""A card, Triton's two protocols, and settings that lead to them."""

from collections.abc import Callable, Iterator

import pytest

from services.core.card import ModelCard
from services.core.settings import ClientSettings
from tests.unit.client.servers import Server, grpc_triton, http_triton


@pytest.fixture
def card(make_card) -> ModelCard:
    return make_card()


@pytest.fixture(params=["http", "grpc"])
def triton(request) -> Iterator[Server]:
    """Triton's two protocols, one after the other."""
    with http_triton() if request.param == "http" else grpc_triton() as server:
        yield server


@pytest.fixture
def settings_for() -> Callable[..., ClientSettings]:
    """Settings that ask a port of this machine."""

    def make(protocol: str, port: int, **changes: object) -> ClientSettings:
        address = f"127.0.0.1:{port}"
        asked = {"protocol": protocol, "triton_url": address, "triton_grpc_url": address, "wait_seconds": 0.5}
        return ClientSettings.model_validate(asked | changes)

    return make
