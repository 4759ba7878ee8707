"""What calls used: tokens and money, which add up."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.money import EXACT, ZERO


class Usage(NamedTuple):
    """Counts and sums of some calls: tokens, and exact USD in credits and in BYOK.

    `unknown` calls have no known cost and are in `requests` but not in `cost`; `estimated` ones are in both.
    Reasoning tokens are part of the completion tokens, cached and cache-written ones of the prompt tokens.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    byok_cost: Decimal = ZERO
    cache_write_tokens: int = 0
    unknown: int = 0
    estimated: int = 0

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # amounts add up; tuples would be joined
        """Add two usages, money exactly."""
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
            EXACT.add(self.cost, other.cost),
            EXACT.add(self.byok_cost, other.byok_cost),
            self.cache_write_tokens + other.cache_write_tokens,
            self.unknown + other.unknown,
            self.estimated + other.estimated,
        )

    def __sub__(self, other: Usage) -> Usage:
        """Take a usage that is part of this one out of it."""
        return self + Usage(
            -other.requests,
            -other.prompt_tokens,
            -other.completion_tokens,
            -other.reasoning_tokens,
            -other.cached_tokens,
            EXACT.minus(other.cost),
            EXACT.minus(other.byok_cost),
            -other.cache_write_tokens,
            -other.unknown,
            -other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens, which contain all others."""
        return self.prompt_tokens + self.completion_tokens


NOTHING = Usage()
