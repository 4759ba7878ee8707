"""What calls used: tokens and money, which add up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from openrouter_usage.money import EXACT, ZERO


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts and sums of some calls; costs are exact USD, and a call of unknown cost is counted apart."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    byok_cost: Decimal = ZERO

    def __add__(self, other: Usage) -> Usage:
        """Add two usages, money exactly."""
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
            EXACT.add(self.cost, other.cost),
            EXACT.add(self.byok_cost, other.byok_cost),
        )

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens; reasoning and cached tokens are part of these."""
        return self.prompt_tokens + self.completion_tokens


NOTHING = Usage()
