"""A workspace of the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .apikey import DEFAULT_WORKSPACE


@dataclass
class Workspace:
    """Keys live in workspaces, and every list of keys is of one of them."""

    id: str = DEFAULT_WORKSPACE
    name: str = "Default"
    slug: str = "default"

    def as_json(self) -> dict[str, Any]:
        """The workspace in OpenRouter's fields."""
        nulls = ("created_by", "default_image_model", "default_provider_sort", "default_text_model", "description",
                 "io_logging_api_key_ids", "updated_at", "disabled_server_tools")  # fmt: skip
        return {
            **dict.fromkeys(nulls),
            "id": self.id,
            "name": self.name,
            "slug": self.slug,
            "created_at": "2026-01-05T09:30:00.000Z",
            "default_guardrail_id": f"{self.id[:-4]}0000",
            "io_logging_sampling_rate": 1,
            "is_data_discount_logging_enabled": False,
            "is_observability_broadcast_enabled": False,
            "is_observability_io_logging_enabled": False,
            "include_byok_in_budgets": False,
        }
