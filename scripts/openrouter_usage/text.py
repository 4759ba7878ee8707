"""Text from outside made safe to print: one line, nothing invisible, a bounded length."""

from __future__ import annotations

import re

NAME_LIMIT = 100
MESSAGE_LIMIT = 300
_WORDS = r"[\w.,/:@~+=-]+(?: [\w.,/:@~+=-]+){0,2}"
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
_PLAIN_NAME = re.compile(rf"{_WORDS}|\({_WORDS}\)")


def safe(text: object, limit: int = NAME_LIMIT) -> str:
    """Return any text as one printable line; what was cut off is counted.

    Everything Unicode calls unprintable (controls, ESC, C1, bidi and zero-width marks, line
    separators, lone surrogates) becomes a visible escape, so no terminal and no reader obeys it.
    """
    raw = text if isinstance(text, str) else repr(text)
    cut, rest = raw[:limit], len(raw) - limit
    shown = cut if cut.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in cut)
    return f"{shown}… (+{rest:,} characters)" if rest > 0 else shown


def safe_lines(text: str) -> str:
    """Return a text that is safe for a terminal: as `safe`, but lines and tabs stay."""
    if all(char.isprintable() or char in "\n\t" for char in text):
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escape(char) for char in text)


def quoted(text: object, limit: int = MESSAGE_LIMIT) -> str:
    """Return a server's words as a quotation, so that nobody takes them for this program's own."""
    return '"' + safe(text, limit).replace('"', "'") + '"'


def named(text: str) -> str:
    """Return a name: up to three plain words as they are, anything longer or stranger as a quotation."""
    return safe(text) if _PLAIN_NAME.fullmatch(text) else quoted(text, NAME_LIMIT)


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for wide letters and emoji, none for combining marks.

    A terminal with an older Unicode may differ for the newest emoji.
    """
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width  # late: only text beyond ASCII needs it

    total = last = 0
    is_joined = False
    for char in text:
        if char == "\ufe0f":  # selects the emoji form of the character before it
            width = 1 if last == 1 else 0
        elif category(char) in ("Mn", "Me", "Cf") or "\U0001f3fb" <= char <= "\U0001f3ff":
            width = 0
        else:
            width = 0 if is_joined else 2 if east_asian_width(char) in ("W", "F") else 1
            last = width
        is_joined = char == "\u200d"
        total += width
    return total


def is_account(text: str) -> bool:
    """Check whether a text can name an archived account, which is shown and typed: short, plain, and not a key."""
    return bool(_ACCOUNT.fullmatch(text)) and "sk-or-" not in text


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 call, 2,100 calls."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def ago(seconds: float) -> str:
    """Return an age in words: 40 s, 12 min, 3 h, 5 days."""
    whole = max(0, int(seconds))
    for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if whole >= size:
            count = whole // size
            return plural(count, unit) if unit == "day" else f"{count} {unit}"
    return f"{whole} s"
