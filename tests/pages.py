"""Reads the pages that `report` draws: a tree of elements, the figures of its tables, and what a browser would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "hr", "img", "input", "base", "embed", "source", "wbr"}


@dataclass
class Element:
    """An element with its attributes and what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "") -> Iterator[Element]:
        """Every element below this one, of one tag or of any."""
        for child in self.children:
            if isinstance(child, Element):
                if tag in ("", child.tag):
                    yield child
                yield from child.all(tag)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {self.get_starttag_text()}"
        found = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"{tag} ends where {self.open[-1].tag} should"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(text: str) -> Element:
    """The tree of a page; a test fails where an element does not end, or ends twice."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root], f"{reader.open[-1].tag} does not end"
    return reader.root


Rows = list[dict[str, Any]]


def read_table(page: Element, begin: str) -> Rows:
    """The rows of the table whose caption begins so, the sum last: exact amounts, whole numbers, or the text."""
    (table,) = [t for t in page.all("table") if next(t.all("caption")).text.startswith(begin)]
    head, *rows = [[cell for cell in row.all() if cell.tag in ("th", "td")] for row in table.all("tr")]
    names = [cell.text for cell in head]
    assert len(set(names)) == len(names)
    return [dict(zip(names, map(_value, row), strict=True)) for row in rows]


def _value(cell: Element) -> Any:
    if "data-usd" in cell.attributes:
        return Decimal(cell.attributes["data-usd"])
    return int(cell.text.replace(",", "")) if cell.text.replace(",", "").isdigit() else cell.text


def by_heading(page: Element, heading: str) -> Element:
    """The section with this heading."""
    (found,) = [part for part in page.all("section") if [head.text for head in part.all("h2")] == [heading]]
    return found


def shares(section: Element) -> dict[str, Decimal]:
    """The names in a section's list, each with its exact amount."""
    items = [item for item in section.all("li") if "data-usd" in item.attributes]
    return {next(item.all("span")).text: Decimal(item.attributes["data-usd"]) for item in items}


# -- colours, as people see them -------------------------------------------------------------------------------------

# How people without one kind of cone see linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1).
SIGHTS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> list[float]:
    """A colour as amounts of light."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2, from 1 to 21."""
    light = sorted(sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear(c), strict=True)) for c in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def seen(colour: str, sight: str) -> list[float]:
    """Where a colour lies in OKLab, for somebody of this sight."""
    r, g, b = (min(1, max(0, sum(m * p for m, p in zip(row, linear(colour), strict=True)))) for row in SIGHTS[sight])
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return [
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    ]
