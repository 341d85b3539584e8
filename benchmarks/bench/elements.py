"""HTML and SVG as trees of elements: what is text stays text, so that nothing in a report can become markup."""

import xml.etree.ElementTree as ET
from typing import TypeAlias

Element: TypeAlias = ET.Element
Child: TypeAlias = Element | str


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """An element with its children; ``class_`` and ``stroke_width`` stand for ``class`` and ``stroke-width``."""
    made = ET.Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + child
            else:
                made.text = (made.text or "") + child
        else:
            made.append(child)
    return made


def html(page: Element) -> str:
    """A page as text; the content of ``style`` is not escaped, as HTML has it."""
    return "<!doctype html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"
