"""What calls of one client and model have needed so far: how long answers get, and how much of a prompt is not cached.

Counts only, in buckets that are a ninth wide, so that a percentile is never said lower than it was; pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from openrouter_usage.money import Json

# Fewer calls than this say nothing, and the worst case is held.
FEWEST = 20
# With more than this the older calls count half, so that what has changed is noticed.
_MOST = 4_096
_PARTS = 8
_SHARES = 64
# How a prompt's beginning was met before: a moment ago, longer ago than caches last, or only in other conversations.
WARM, COLD, HEAD = "warm", "cold", "head"
STATES = (WARM, COLD, HEAD)


class Histogram:
    """Whole numbers, counted by size."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """Begin with counts by bucket."""
        self.counts: Counter[int] = Counter(counts or {})

    @property
    def number(self) -> int:
        """How many were counted."""
        return sum(self.counts.values())

    def add(self, value: int) -> None:
        """Count one number, not below zero."""
        self.counts[_bucket(value)] += 1
        if self.number > _MOST:
            self.counts = Counter({bucket: count // 2 for bucket, count in self.counts.items() if count > 1})

    def percentile(self, share: int = 99) -> int | None:
        """Return a number that so many percent are not above; None where too few were counted to say.

        With fewer than a hundred it is the largest one.
        """
        if self.number < FEWEST:
            return None
        wanted, seen = -(-self.number * share // 100), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return _largest(bucket)
        return None


def _bucket(value: int) -> int:
    """Return the number of the bucket of a size: eight for each doubling, single ones below sixteen."""
    if value < 2 * _PARTS:
        return max(0, value)
    octave = value.bit_length() - 4
    return 2 * _PARTS + (octave - 1) * _PARTS + (value >> octave) - _PARTS


def _largest(bucket: int) -> int:
    """Return the largest number of a bucket."""
    if bucket < 2 * _PARTS:
        return bucket
    octave, part = divmod(bucket - 2 * _PARTS, _PARTS)
    return ((part + _PARTS + 1) << (octave + 1)) - 1


@dataclass
class Learned:
    """What is known of the calls of one client and model."""

    answers: Histogram = field(default_factory=Histogram)
    # In 64ths of the known beginning of a prompt: how much of it was not read from the cache, by `STATES`.
    missed: dict[str, Histogram] = field(default_factory=lambda: {state: Histogram() for state in STATES})

    def answer(self) -> int | None:
        """Return the length that 99 % of the answers did not pass, in tokens; None while too few are known."""
        return self.answers.percentile()

    def missed_share(self, state: str) -> Decimal:
        """Return the share of a known beginning that at most 1 % of the calls paid more of in full; 1 until known."""
        found = self.missed[state].percentile()
        return Decimal(1) if found is None else Decimal(min(found, _SHARES)) / _SHARES

    def note_answer(self, tokens: int) -> None:
        """Count the length of an answer."""
        self.answers.add(tokens)

    def note_prefix(self, state: str, prefix_tokens: int, cached_tokens: int) -> None:
        """Count how much of a known beginning was read from the cache."""
        if prefix_tokens > 0:
            missed = max(0, prefix_tokens - cached_tokens)
            self.missed[state].add(-(-missed * _SHARES // prefix_tokens))

    def as_json(self) -> dict[str, Json]:
        """Return the counts as JSON."""
        named = {"answers": self.answers, **self.missed}
        return {name: {str(bucket): count for bucket, count in each.counts.items()} for name, each in named.items()}


def learned_from(values: Json) -> Learned:
    """Read what `as_json` wrote; what is not understood is not known."""
    found = Learned()
    if isinstance(values, dict):
        found.answers = _histogram(values.get("answers"))
        found.missed = {state: _histogram(values.get(state)) for state in STATES}
    return found


def _histogram(values: Json) -> Histogram:
    counts: dict[int, int] = {}
    for name, count in values.items() if isinstance(values, dict) else ():
        if name.isdigit() and len(name) < 4 and isinstance(count, int) and 0 < count <= _MOST:
            counts[int(name)] = count
    return Histogram(counts)
