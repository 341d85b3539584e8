import warnings
from collections.abc import Iterator

import pytest
from PIL import Image

from services.images.decode import own_pillow


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in our programs; a library leaves Pillow as it is."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with warnings.catch_warnings():
        own_pillow()
        yield
