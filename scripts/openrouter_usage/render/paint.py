"""Colours of a terminal, each with a meaning: over a limit, near it, not known; without colours the words alone."""

from __future__ import annotations

from typing import NamedTuple


class Paint(NamedTuple):
    """Wraps texts in the escapes of a terminal, or leaves them as they are."""

    has_colour: bool = False

    def over(self, text: str) -> str:
        """Mark what has passed its limit: red."""
        return self._in(31, text)

    def near(self, text: str) -> str:
        """Mark what will soon reach its limit: yellow."""
        return self._in(33, text)

    def unknown(self, text: str) -> str:
        """Mark what nobody knows: magenta."""
        return self._in(35, text)

    def _in(self, code: int, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colour and text else text


PLAIN = Paint()


class Drawing(NamedTuple):
    """How a text is drawn: the groups as lines or as a table, of at most so many columns, and in which colours."""

    has_table: bool = False
    most: int | None = None
    paint: Paint = PLAIN


AS_LINES = Drawing()
