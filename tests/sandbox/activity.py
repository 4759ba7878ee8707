"""One row of spend: what one endpoint cost on one UTC day."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from .apikey import ZERO

COUNTS = ("requests", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
SUMS = ("usage", "byok_usage_inference", *COUNTS)


def endpoint_id_of(model: str, provider: str) -> str:
    """The UUID of an endpoint; always the same for a model at a provider."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://openrouter.ai/{model}#{provider}"))


@dataclass
class ActivityRow:
    """Spend of one model at one provider; `at` places it within its day."""

    date: date
    model: str
    provider_name: str = "OpenAI"
    usage: Decimal = ZERO
    byok_usage_inference: Decimal = ZERO
    requests: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    model_permaslug: str = ""
    endpoint_id: str = ""
    workspace_id: str | None = None
    key_hash: str | None = None
    user_id: str | None = None
    external_user: str | None = None
    generation_id: str | None = None
    at: datetime | None = None
    fees: dict[str, Decimal] = field(default_factory=dict)  # parts of `usage`, by the metric that tells them

    def __post_init__(self) -> None:
        self.model_permaslug = self.model_permaslug or self.model
        self.endpoint_id = self.endpoint_id or endpoint_id_of(self.model, self.provider_name)
        self.at = self.at or datetime(self.date.year, self.date.month, self.date.day, tzinfo=timezone.utc)

    def plus(self, other: ActivityRow) -> ActivityRow:
        """Both rows as one."""
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in SUMS})

    def as_json(self, date_style: str, *, with_workspace: bool = False) -> dict[str, Any]:
        """The row in OpenRouter's fields."""
        row: dict[str, Any] = {
            "date": f"{self.date.isoformat()} 00:00:00" if date_style == "long" else self.date.isoformat(),
            "model": self.model,
            "model_permaslug": self.model_permaslug,
            "endpoint_id": self.endpoint_id,
            "provider_name": self.provider_name,
            **{name: getattr(self, name) for name in SUMS},
        }
        return {**row, "workspace_id": self.workspace_id} if with_workspace else row
