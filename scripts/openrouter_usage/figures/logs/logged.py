"""One call as another program logged it, and how its values are read without trusting any of them; pure."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from openrouter_usage.entry import GENERATION_PREFIX, LARGEST_COST, LARGEST_TOKENS, LONGEST_NAME
from openrouter_usage.money import FINEST_EXPONENT, Json, loads

OPENROUTER = "openrouter"
NOT_JSON = "not JSON"
ANOTHER_PROVIDER = "of another provider"
NEWER = "of a shape that is not known, perhaps of a newer version"
_GENERATION = re.compile(rf"{GENERATION_PREFIX}[A-Za-z0-9._-]{{4,190}}", re.ASCII)
_FOLDERS = re.compile(r"[\\/]+")
_LONGEST_TAG = 200
# Of the years 2000 to 2199, as in the ledger.
_FIRST_S, _END_S = 946_684_800, 7_258_118_400


class Logged(NamedTuple):
    """One call: when (seconds since 1970, UTC), model, tokens, and what its program thinks it cost, in USD.

    `id` is the generation's, "" without one; `key` is the same wherever its program has copied the call to.
    Cached and cache-written tokens are part of the prompt. A cost of None is unknown.
    """

    key: str
    at_s: int
    model: str
    id: str = ""
    session: str = ""
    project: str = ""
    agent: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None


class Skipped(Exception):
    """A record that may tell of a call and is not counted; the text says why."""


class LineReader:
    """Reads the lines of one log in their order; `context` is what further lines need to know, as JSON can hold it."""

    # Only lines with one of these are looked at closer: most are prompts, answers and results of tools.
    markers: tuple[bytes, ...] = ()

    def __init__(self, path: str, context: dict[str, Any]) -> None:
        """Begin at the first line, or go on with a context."""
        self.context = context

    def pick(self, lines: list[bytes], skipped: Counter[str]) -> list[bytes]:
        """Return the lines that are worth reading; what cannot be a JSON object is counted in `skipped`."""
        whole = self.whole(lines, skipped)
        return [line for line in whole if any(marker in line for marker in self.markers)]

    def whole(self, lines: list[bytes], skipped: Counter[str]) -> list[bytes]:
        """Return the lines that may be JSON objects; others that are not blank are counted in `skipped`."""
        whole = [line for line in lines if line.startswith(b"{") and line.endswith((b"}", b"}\r"))]
        if len(whole) < len(lines):
            broken = sum(1 for line in lines if line.strip()) - len(whole)
            # Blanks around an object are allowed, if seldom written.
            rare = [line.strip() for line in lines if line[:1].isspace() or line[-1:].isspace()] if broken else []
            found = [line for line in rare if line.startswith(b"{") and line.endswith(b"}") and line not in whole]
            if broken > len(found):
                skipped[NOT_JSON] += broken - len(found)
            whole += found
        return whole

    def read(self, line: bytes) -> Logged | None:
        """Return the call that a line tells of, None for any other line; Skipped for one that is not understood."""
        raise NotImplementedError


def generation_id(value: object) -> str:
    """Return a generation's id, "" for anything else."""
    return value if isinstance(value, str) and _GENERATION.fullmatch(value) else ""


def record(text: str | bytes) -> dict[str, Json]:
    """Return the JSON object in a text, with exact numbers; Skipped for anything else."""
    try:
        value = loads(text)
    except ValueError:
        raise Skipped(NOT_JSON) from None
    if not isinstance(value, dict):
        raise Skipped(NOT_JSON)
    return value


def part(value: Json, name: str) -> dict[str, Json]:
    """Return an object within an object, empty when there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def text(value: object, limit: int = LONGEST_NAME) -> str:
    """Return a text that a ledger can store, "" for anything else."""
    return value[:limit].encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def tag(value: object) -> str:
    """Return a text that can be the value of a tag."""
    return text(value, _LONGEST_TAG)


def project_of(folder: object) -> str:
    """Return the last part of a folder's path, of Windows or any other system."""
    return tag(_FOLDERS.split(folder.rstrip("\\/"))[-1]) if isinstance(folder, str) else ""


def count(value: object) -> int:
    """Return a number of tokens; 0 for what cannot be one."""
    if isinstance(value, Decimal):
        is_whole = value.is_finite() and value.adjusted() < 13 and value == int(value)
        value = int(value) if is_whole else None
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= LARGEST_TOKENS else 0


def total(*counts: int) -> int:
    """Return a sum of tokens that a ledger can store."""
    return min(sum(counts), LARGEST_TOKENS)


def amount(value: object) -> Decimal | None:
    """Return what a program thinks a call cost; None, which is unknown, for what no call can cost.

    Such programs multiply floats: what is finer than a ledger can store is cut off.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    try:
        found = Decimal(str(value)) if isinstance(value, (float, str)) else Decimal(value)
        if not found.is_finite() or not 0 <= found <= LARGEST_COST:
            return None
        exponent = int(found.as_tuple().exponent)
        return found if exponent >= FINEST_EXPONENT else found.quantize(Decimal(1).scaleb(FINEST_EXPONENT))
    except (InvalidOperation, ValueError, OverflowError):
        return None


def moment_s(value: object, *, unit: int = 1) -> int:
    """Return a moment as seconds since 1970, from ISO 8601 or a number of which `unit` are a second.

    Skipped for anything else, and for years in which no call can have been made.
    """
    found: int | None = None
    if isinstance(value, str) and len(value) >= 19:
        found = _of_text(value)
    elif isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and 0 < value < 10**20:
        found = int(value // unit)
    if found is None or not _FIRST_S <= found < _END_S:
        raise Skipped("without a time")
    return found


def _of_text(value: str) -> int | None:
    # Sums are per day: fractions of a second do not matter, and Python 3.10 reads only some forms of them.
    head, tail = value[:19], value[19:].lstrip(".0123456789")
    zone = "+00:00" if tail in ("", "Z", "z") else tail
    try:
        return int(datetime.fromisoformat(head + zone).timestamp())
    except (ValueError, OverflowError):
        return None


def moment(at_s: int) -> datetime:
    """Return the moment in UTC."""
    return datetime.fromtimestamp(at_s, timezone.utc)
