"""A model and what it costs, also under conditions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

PARAMETERS = ["max_tokens", "temperature", "top_p", "stop", "seed", "tools", "tool_choice", "response_format"]


@dataclass
class Model:
    """One model; prices are strings in USD per token, and `more` holds the less common ones."""

    id: str
    name: str
    prompt: str
    completion: str
    context_length: int | None = 128_000
    max_completion_tokens: int | None = 16_384
    providers: tuple[str, ...] = ("OpenAI",)
    more: dict[str, Any] = field(default_factory=dict)
    output: tuple[str, ...] = ("text",)
    input: tuple[str, ...] = ("text",)
    tokenizer: str = "Other"
    created: int = 1_765_000_000
    permaslug: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    offers: dict[str, dict[str, Any]] = field(default_factory=dict)  # what single providers price differently

    @property
    def canonical_slug(self) -> str:
        """The dated slug; a variant has that of its base model."""
        return self.permaslug or f"{self.id.split(':')[0]}-20251101"

    def at(self, provider: str) -> Model:
        """The model at the prices of one provider."""
        offer = dict(self.offers.get(provider, {}))
        prompt, completion = offer.pop("prompt", self.prompt), offer.pop("completion", self.completion)
        return replace(self, prompt=prompt, completion=completion, more={**self.more, **offer})

    def pricing(self) -> dict[str, Any]:
        """The `pricing` object of the price list."""
        return {"prompt": self.prompt, "completion": self.completion, **self.more}

    def price(self, name: str, prompt_tokens: int = 0, now: datetime | None = None) -> Decimal:
        """What is charged for one unit, conditional prices included; a missing cache price is the prompt price."""
        quoted = self.pricing()
        for override in quoted.get("overrides", ()):
            if _applies(override, prompt_tokens, now):
                quoted = {**quoted, **override}
        fallback = quoted["prompt"] if name.startswith("input_cache") else "0"
        price = max(Decimal(0), Decimal(str(quoted.get(name, fallback))))
        return price * (1 - Decimal(str(quoted.get("discount", 0))))

    def as_json(self) -> dict[str, Any]:
        """The model in OpenRouter's fields."""
        top = {"context_length": self.context_length, "max_completion_tokens": self.max_completion_tokens}
        base = {
            "id": self.id,
            "canonical_slug": self.canonical_slug,
            "hugging_face_id": None,
            "name": self.name,
            "created": self.created,
            "description": f"{self.name}, as the sandbox plays it.",
            "context_length": self.context_length,
            "architecture": {
                "modality": f"{'+'.join(self.input)}->{'+'.join(self.output)}",
                "input_modalities": list(self.input),
                "output_modalities": list(self.output),
                "tokenizer": self.tokenizer,
                "instruct_type": None,
            },
            "pricing": self.pricing(),
            "top_provider": {**top, "is_moderated": "OpenAI" in self.providers},
            "per_request_limits": None,
            "supported_parameters": PARAMETERS,
            "default_parameters": {"temperature": None, "top_p": None, "frequency_penalty": None},
            "supported_voices": None,
            "knowledge_cutoff": None,
            "expiration_date": None,
            "links": {"details": f"/api/v1/models/{self.canonical_slug}/endpoints"},
        }
        return {**base, **self.fields}


def _applies(override: dict[str, Any], prompt_tokens: int, now: datetime | None) -> bool:
    """True when all conditions of a conditional price hold; a window of UTC time may wrap midnight."""
    if prompt_tokens <= override.get("min_prompt_tokens", -1):
        return False
    start, end = override.get("utc_start"), override.get("utc_end")
    if start is not None and end is not None:
        if now is None:
            return False
        minute = now.hour * 100 + now.minute
        if not (start <= minute < end if start <= end else minute >= start or minute < end):
            return False
    days = override.get("utc_days")
    return days is None or (now is not None and f"{now:%A}".lower() in days)
