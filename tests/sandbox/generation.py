"""The record of one inference call, as `GET /generation` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from .activity import ActivityRow, endpoint_id_of
from .apikey import ZERO, merged, stamp

NULLS = (
    "app_id", "cache_discount", "moderation_latency", "native_tokens_completion_images", "num_fetches",
    "num_input_audio_prompt", "num_media_completion", "num_media_prompt", "num_search_results", "preset_id",
    "response_cache_source_id", "router", "web_search_engine",
)  # fmt: skip


def normalised(native_tokens: int) -> int:
    """The count of another tokenizer, which is not what is billed."""
    return native_tokens * 61 // 100


@dataclass
class Generation:
    """One call; it can be looked up once it is `finished`."""

    id: str
    created_at: datetime
    model: str
    model_permaslug: str
    provider: str
    key_hash: str
    owner: str | None
    workspace_id: str | None
    api_type: str = "completions"
    streamed: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    upstream: Decimal | None = None
    finish_reason: str | None = None
    cancelled: bool = False
    finished: bool = False
    finished_at: datetime | None = None
    service_tier: str | None = None
    session_id: str | None = None
    external_user: str | None = None
    http_referer: str | None = None
    user_agent: str | None = None
    lookups: int = 0
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def is_byok(self) -> bool:
        """True when the provider bills the customer directly."""
        return self.upstream is not None

    def as_json(self) -> dict[str, Any]:
        """The record in OpenRouter's fields."""
        fields = {
            **dict.fromkeys(NULLS),
            "id": self.id,
            "upstream_id": f"chatcmpl-{self.id[-12:]}",
            "request_id": f"req-{self.id[4:]}",
            "created_at": stamp(self.created_at),
            "model": self.model,
            "api_type": self.api_type,
            "origin": self.http_referer or "",
            "data_region": "global",
            "usage": self.cost,
            "total_cost": self.cost,
            "is_byok": self.is_byok,
            "upstream_inference_cost": self.upstream if self.is_byok else ZERO,
            "tokens_prompt": normalised(self.prompt_tokens),
            "tokens_completion": normalised(self.completion_tokens),
            "native_tokens_prompt": self.prompt_tokens,
            "native_tokens_completion": self.completion_tokens,
            "native_tokens_reasoning": self.reasoning_tokens,
            "native_tokens_cached": self.cached_tokens,
            "provider_name": self.provider,
            "provider_responses": [self._provider_response()],
            "finish_reason": self.finish_reason,
            "native_finish_reason": self.finish_reason,
            "cancelled": self.cancelled,
            "streamed": self.streamed,
            "latency": 312,
            "generation_time": 1240,
            **self._from_request(),
        }
        return merged(fields, self.overrides)

    def _from_request(self) -> dict[str, Any]:
        names = ("service_tier", "session_id", "external_user", "http_referer", "user_agent", "workspace_id")
        return {name: getattr(self, name) for name in names}

    def _provider_response(self) -> dict[str, Any]:
        endpoint = endpoint_id_of(self.model, self.provider)
        return {"provider_name": self.provider, "status": 200, "latency": 312, "is_byok": self.is_byok,
                "endpoint_id": endpoint, "model_permaslug": self.model_permaslug}  # fmt: skip

    def as_row(self) -> ActivityRow:
        """The call as a row of spend."""
        return ActivityRow(
            self.created_at.date(),
            self.model,
            self.provider,
            usage=self.cost,
            byok_usage_inference=self.upstream or ZERO,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cached_tokens=self.cached_tokens,
            model_permaslug=self.model_permaslug,
            workspace_id=self.workspace_id,
            key_hash=self.key_hash,
            user_id=self.owner,
            external_user=self.external_user,
            generation_id=self.id,
            at=self.created_at,
        )
