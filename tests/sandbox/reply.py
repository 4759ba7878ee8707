"""What a model is going to say, and what it is going to cost: the script of one inference call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass
class StreamError:
    """An error chunk in the middle of a stream that began with status 200."""

    code: int | str = 502
    message: str = "Provider disconnected"
    after_tokens: int = 1
    metadata: dict[str, Any] | None = None
    usage: bool = False


@dataclass
class Stream:
    """How a stream comes over the wire."""

    newline: str = "\n"  # or "\r\n", "\r"
    prefix: str = "data: "  # the blank may be left out
    comments: int = 1
    piece_bytes: int | None = None
    piece_delay_s: float = 0.0
    token_delay_s: float = 0.0
    usage_chunk: str = "repeated_finish"  # or "empty_choices", "with_finish", "missing"
    debug_chunk: bool = False
    error: StreamError | None = None
    cut_after: int | None = None  # tokens
    cut: str = "end"  # or "close", "reset"
    idle_after: int | None = None  # tokens, then comments for ever
    idle_interval_s: float = 0.05
    done: bool = True


@dataclass
class ReplyError:
    """An error in an answer with status 200: beside the "choice" it concerns, or as the whole "body"."""

    code: int | str = 502
    message: str = "Provider returned error"
    place: str = "choice"
    metadata: dict[str, Any] | None = None


@dataclass
class Reply:
    """One answer of a model; what is left open follows from the request and the price list."""

    text: str = "Hello from the sandbox."
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    obeys_max_tokens: bool = True
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cost: Decimal | None = None
    byok_upstream: Decimal | None = None  # set: the provider bills this, and `cost` is OpenRouter's fee
    tool_cost: Decimal = Decimal(0)
    provider: str | None = None
    model: str | None = None
    service_tier: str | None = None
    finish_reason: str = "stop"
    tool_call: tuple[str, str] | None = None  # the name of a function, and its arguments as JSON, in place of text
    image: bytes | None = None  # beside the text of a chat answer
    usage: str | Callable[[dict[str, Any]], Any] = "normal"
    cache_hit: bool = False
    error: ReplyError | None = None
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    stream: Stream = field(default_factory=Stream)

    def with_usage(self, payload: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
        """The payload with its usage in the wanted shape.

        "normal", "missing", "null", "no_cost", "null_cost", "cost_string", "cost_true"; or a function of the usage.
        """
        if self.usage == "missing":
            return payload
        if callable(self.usage):
            changed = self.usage(usage)
            return {**payload, "usage": usage if changed is None else changed}
        shapes: dict[str, Any] = {
            "normal": usage,
            "null": None,
            "no_cost": {name: value for name, value in usage.items() if not name.startswith("cost")},
            "null_cost": {**usage, "cost": None},
            "cost_string": {**usage, "cost": format(usage["cost"], "f")},
            "cost_true": {**usage, "cost": True},
        }
        return {**payload, "usage": shapes[self.usage]}
