import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest


@pytest.fixture
def parsed() -> Callable[[str], ET.Element]:
    """Reads a page, which is well-formed XML behind its first line."""
    return lambda page: ET.fromstring(page.partition("\n")[2])  # noqa: S314 - made here
