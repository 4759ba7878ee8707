"""Keeps the user's secrets out of texts from outside, also quoted, in base64, in hex or in pieces.

Keys, webhooks, routing keys and a proxy's password are given to `protect` once; `scrubbed` removes them from any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

KEY, WEBHOOK, ROUTING_KEY, PASSWORD = "[key]", "[webhook]", "[routing key]", "[password]"
# Anything shorter may be a plain word.
SHORTEST = 6
# A secret at least as long as this is also looked for in pieces and encoded.
_LONG = 16
_MOST_ROUNDS = 6
_NOT_ALNUM = bytes(code for code in range(256) if not chr(code).isalnum() or code > 127)
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|&#x([0-9a-fA-F]{2,4});|=([0-9A-F]{2})")
_DECIMAL = re.compile(r"&#([0-9]{2,5});")
_BLANK = re.compile(r"\\[nrtbf]")
_seen: dict[str, str] = {}


def protect(secret: str, shown_as: str = KEY) -> None:
    """Register a secret to be replaced by `shown_as` in every text from now on; one that is too short is ignored."""
    if len(secret) >= SHORTEST:
        _seen.setdefault(secret, shown_as)


def scrubbed(text: str) -> str:
    """Return a text without any protected secret, in whatever encoding."""
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
    """Return the bytes of an answer without any protected secret; what was JSON stays JSON."""
    text = body.decode("latin-1")
    clean = scrubbed(text)
    return body if clean is text else clean.encode("latin-1")


def holds(text: str, secret: str) -> bool:
    """Check whether a secret is in a text: as it is, in pieces, quoted for a URL or a document, in base64 or hex."""
    return _Seen(text).has(secret)


class _Seen:
    """A text as it is and unquoted, prepared for the search for several secrets."""

    def __init__(self, text: str) -> None:
        self._layers = list(_layers(text))
        self._bare = [_bare(layer) for layer in self._layers]
        # Encoded text may be wrapped into lines.
        self._unwrapped = ["".join(layer.split()) for layer in self._layers]

    def has(self, secret: str) -> bool:
        bare = _bare(secret)
        if len(bare) < _LONG:
            return any(secret in layer for layer in self._layers)
        if any(bare in letters for letters in self._bare):
            return True
        return any(code in layer for layer in self._unwrapped for code in _codes(secret))


def _layers(text: str) -> Iterator[str]:
    """Yield a text, and the text with each further layer of quoting undone."""
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
    """Return only the letters and digits of a text, for comparing."""
    return text.encode("ascii", "ignore").translate(None, _NOT_ALNUM).lower()


@lru_cache(maxsize=64)
def _codes(secret: str) -> tuple[str, ...]:
    """Return the parts that any base64 of a text with the secret must contain, and the secret's hex."""
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
    """Return a pattern for a secret in any of its encodings."""
    between = r"(?:\\[nrtbf]|\\u[0-9a-f]{4}|[^A-Za-z0-9]){0,8}?"
    pieces = between.join(_piece(char) for char in secret if char.isalnum() and char.isascii())
    gap = r"(?:\s|\\[rn]){0,4}"
    codes = (gap.join(map(re.escape, code)) + "={0,2}" for code in _codes(secret))
    return re.compile("|".join([_quoted(secret), pieces, *codes]), re.IGNORECASE)


def _piece(char: str) -> str:
    code = f"{ord(char):02x}"
    # %25 is a quoted percent sign, %2525 one quoted twice, and so on.
    return rf"(?:{re.escape(char)}|%(?:25)*{code}|\\u00{code}|\\x{code}|&#x{code};|&#{ord(char)};|={code})"


def _quoted(secret: str) -> str:
    """Return a pattern for a secret of which every character may be quoted."""
    return "".join(_piece(char) for char in secret)


class StreamScrubber:
    """Removes secrets from a text that comes in pieces; what may be the beginning of a secret is held back."""

    def __init__(self) -> None:
        """Start with nothing held back."""
        self._held = ""

    def feed(self, piece: str) -> str:
        """Add the next piece and return what cannot be part of a secret."""
        text = scrubbed(self._held + piece)
        longest = max((_beginning(text, secret) for secret in _seen), default=0)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def end(self) -> str:
        """Return what was held back: the text has ended."""
        held, self._held = self._held, ""
        return scrubbed(held)


def _beginning(text: str, secret: str) -> int:
    """Return how many characters at the end of a text may begin a secret, separators included."""
    bare, last = _bare(secret), text[-7 * len(secret) :]
    if len(bare) < _LONG:
        return next((size for size in range(min(len(secret) - 1, len(text)), 0, -1) if text.endswith(secret[:size])), 0)
    for start, char in enumerate(last):
        if ord(char.lower()[0]) == bare[0] and bare.startswith(_bare(last[start:])):
            return len(last) - start
    return 0
