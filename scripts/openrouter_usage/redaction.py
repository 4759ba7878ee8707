"""Own secrets kept out of what others say: also where they come back quoted, in base64, in hex or in pieces.

Keys, webhooks, routing keys and a proxy's password are told to `protect` once; `scrubbed` takes them out of any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

KEY, WEBHOOK, ROUTING_KEY, PASSWORD = "[key]", "[webhook]", "[routing key]", "[password]"
# Anything shorter is a word that may stand in a text for other reasons.
SHORTEST = 6
# A secret that is as long as this is looked for in pieces and in code as well.
_LONG = 16
_MOST_ROUNDS = 6
_NOT_ALNUM = bytes(code for code in range(256) if not chr(code).isalnum() or code > 127)
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|&#x([0-9a-fA-F]{2,4});|=([0-9A-F]{2})")
_DECIMAL = re.compile(r"&#([0-9]{2,5});")
_BLANK = re.compile(r"\\[nrtbf]")
_seen: dict[str, str] = {}


def protect(secret: str, shown_as: str = KEY) -> None:
    """Let a secret be taken out of every text from now on, `shown_as` in its place; too short a one is left alone."""
    if len(secret) >= SHORTEST:
        _seen.setdefault(secret, shown_as)


def scrubbed(text: str) -> str:
    """Take every secret that is protected out of a text, in whatever disguise it comes."""
    if not _seen or not text:
        return text
    seen = _Seen(text)
    for secret, shown_as in _seen.items():
        if seen.has(secret):
            text = _without(text, secret, shown_as)
            seen = _Seen(text)
    return text


def _without(text: str, secret: str, shown_as: str) -> str:
    text = text.replace(secret, shown_as)
    return _pattern(secret).sub(shown_as, text) if len(_bare(secret)) >= _LONG and holds(text, secret) else text


def scrubbed_bytes(body: bytes) -> bytes:
    """Take every secret that is protected out of the bytes of an answer; what was JSON stays JSON."""
    text = body.decode("latin-1")
    clean = scrubbed(text)
    return body if clean is text else clean.encode("latin-1")


def holds(text: str, secret: str) -> bool:
    """Check whether a secret is in a text: as it is, in pieces, quoted for a URL or a document, in base64 or hex."""
    return _Seen(text).has(secret)


class _Seen:
    """A text as it is and with its quoting undone, made ready to be searched for several secrets."""

    def __init__(self, text: str) -> None:
        self._layers = list(_layers(text))
        self._bare = [_bare(layer) for layer in self._layers]
        # A code may be wrapped into lines.
        self._unwrapped = ["".join(layer.split()) for layer in self._layers]

    def has(self, secret: str) -> bool:
        bare = _bare(secret)
        if len(bare) < _LONG:
            return any(secret in layer for layer in self._layers)
        if any(bare in letters for letters in self._bare):
            return True
        return any(code in layer for layer in self._unwrapped for code in _codes(secret))


def _layers(text: str) -> Iterator[str]:
    """Return a text, and what it is once more of its quoting is undone."""
    yield text
    for _ in range(_MOST_ROUNDS):
        undone = unquote(text, "latin-1") if "%" in text else text
        if "\\" in undone or "&#" in undone or "=" in undone:
            undone = _ESCAPED.sub(lambda found: chr(int(next(filter(None, found.groups())), 16)), undone)
            undone = _BLANK.sub(" ", _DECIMAL.sub(lambda found: chr(int(found.group(1))), undone))
        if undone == text:
            return
        yield undone
        text = undone


def _bare(text: str) -> bytes:
    """Return the letters and digits of a text alone, for comparing: what stands between them does not matter."""
    return text.encode("ascii", "ignore").translate(None, _NOT_ALNUM).lower()


@lru_cache(maxsize=64)
def _codes(secret: str) -> tuple[str, ...]:
    """Return what of a secret is sure to be in any base64 that holds it, wherever in it, and its hex."""
    import base64  # late: only a text in which a secret is looked for needs it

    raw = secret.encode("utf-8", "replace")
    found = [raw.hex(), raw.hex().upper()]
    for inner in (raw, base64.b64encode(raw)):
        for offset in range(3):
            code = base64.b64encode(b"\0" * offset + inner).decode()
            sure = code[(offset * 8 + 5) // 6 : (offset + len(inner)) * 8 // 6]
            found += [sure, sure.replace("+", "-").replace("/", "_")]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=64)
def _pattern(secret: str) -> re.Pattern[str]:
    """Make the pattern of a secret in any one of its disguises."""
    between = r"(?:\\[nrtbf]|\\u[0-9a-f]{4}|[^A-Za-z0-9]){0,8}?"
    pieces = between.join(_piece(char) for char in secret if char.isalnum() and char.isascii())
    gap = r"(?:\s|\\[rn]){0,4}"
    codes = (gap.join(map(re.escape, code)) + "={0,2}" for code in _codes(secret))
    return re.compile("|".join([_quoted(secret), pieces, *codes]), re.IGNORECASE)


def _piece(char: str) -> str:
    code = f"{ord(char):02x}"
    # %25 is a quoted percent sign, and so on for every further time.
    return rf"(?:{re.escape(char)}|%(?:25)*{code}|\\u00{code}|\\x{code}|&#x{code};|&#{ord(char)};|={code})"


def _quoted(secret: str) -> str:
    """Make the pattern of a secret of which every sign may be quoted, those that are no letters too."""
    return "".join(_piece(char) for char in secret)


class StreamScrubber:
    """Takes secrets out of a text that comes in pieces: what may be the beginning of one is held back."""

    def __init__(self) -> None:
        """Begin with nothing held back."""
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take the next piece and return what is sure to be no part of a secret."""
        text = scrubbed(self._held + piece)
        longest = max((_beginning(text, secret) for secret in _seen), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def end(self) -> str:
        """Return what was held back: the text has ended."""
        held, self._held = self._held, ""
        return scrubbed(held)


def _beginning(text: str, secret: str) -> int:
    """Count the characters at the end of a text that may begin a secret, with what may stand between its letters."""
    bare, last = _bare(secret), text[-7 * len(secret) :]
    if len(bare) < _LONG:
        return next((size for size in range(min(len(secret) - 1, len(text)), 0, -1) if text.endswith(secret[:size])), 0)
    for start, char in enumerate(last):
        if ord(char.lower()[0]) == bare[0] and bare.startswith(_bare(last[start:])):
            return len(last) - start
    return 0
