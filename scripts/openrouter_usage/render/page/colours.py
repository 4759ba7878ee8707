"""The colours: told apart by people who see few of them, and by their contrast on light and on dark."""

from __future__ import annotations

from typing import NamedTuple


class Colours(NamedTuple):
    """What is painted how; `models` in the order of the stack."""

    ground: str
    card: str
    ink: str
    muted: str
    line: str
    models: tuple[str, ...]
    other: str
    byok: str
    unknown: str
    held: str
    over: str


LIGHT = Colours(
    ground="#f6f7f9",
    card="#ffffff",
    ink="#1a1d21",
    muted="#565d66",
    line="#dfe3e8",
    models=("#268bfc", "#165f58", "#ce50c7", "#6f35a2", "#9f8d0e", "#813c0b"),
    other="#6f757e",
    byok="#3c4450",
    unknown="#b3261e",
    held="#8a5a00",
    over="#b3261e",
)
DARK = Colours(
    ground="#14171c",
    card="#1c2027",
    ink="#e9ecf0",
    muted="#a9b1bb",
    line="#343b45",
    models=("#4862ed", "#5ed8a9", "#f877ef", "#7b638d", "#ccc23b", "#ad5c15"),
    other="#8b929c",
    byok="#c3cad3",
    unknown="#ff8a80",
    held="#e0a93b",
    over="#ff8a80",
)


def properties(colours: Colours) -> str:
    """Write colours as the custom properties of a style sheet."""
    single = {name: value for name, value in colours._asdict().items() if name != "models"}
    models = {f"model{number}": value for number, value in enumerate(colours.models)}
    return "".join(f"--{name}:{value};" for name, value in {**single, **models}.items())


def _referred() -> Colours:
    names = {name: f"var(--{name})" for name in Colours._fields if name != "models"}
    return Colours(**names, models=tuple(f"var(--model{number})" for number in range(len(LIGHT.models))))


# What the page paints with: the style sheet says which of the two it is.
THEMED = _referred()
