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
    """A page as text.

    It is XML with an end tag to every element, which browsers read as HTML; so a style sheet must do without <, > and &.
    """
    # The serialiser's own way for HTML leaves < in attributes as it is.
    return "<!doctype html>\n" + ET.tostring(page, encoding="unicode", short_empty_elements=False) + "\n"
