"""The state of one OpenRouter account; every change of it happens under one lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from .activity import ActivityRow
from .apikey import DEFAULT_WORKSPACE, ZERO, ApiKey, Budget
from .catalogue import Model
from .generation import Generation
from .price_list import default_models
from .reply import Reply
from .truth import Truth
from .workspace import Workspace

INFERENCE_KEY = "test-inference-key-canary-7f3a"
MANAGEMENT_KEY = "test-management-key-canary-9b2c"


def utc_now() -> datetime:
    """The real time."""
    return datetime.now(timezone.utc)


@dataclass
class Account:
    """An account as a test sets it up."""

    now: Callable[[], datetime] = utc_now
    keys: list[ApiKey] = field(default_factory=list)
    total_credits: Decimal = Decimal(100)
    total_usage: Decimal = ZERO
    activity: list[ActivityRow] = field(default_factory=list)
    today_rows: list[ActivityRow] = field(default_factory=list)
    models: list[Model] = field(default_factory=default_models)
    workspaces: list[Workspace] = field(default_factory=lambda: [Workspace()])
    budgets: list[Budget] = field(default_factory=list)
    effective_budget: Budget | str | None = "computed"
    free_requests_used: int = 0
    free_requests_limit: int | None = None
    # -- the bill that the sandbox keeps --
    bill: Decimal = ZERO
    byok_bill: Decimal = ZERO
    bill_high_water: Decimal = ZERO  # the most that was ever charged plus under way
    in_flight: dict[str, Decimal] = field(default_factory=dict)
    in_flight_high_water: int = 0
    generations: dict[str, Generation] = field(default_factory=dict)
    # -- what models say --
    reply: Reply | Callable[[Any], Reply] = field(default_factory=Reply)
    scripted: deque[Reply | Callable[[Any], Reply]] = field(default_factory=deque)
    auto_model: str = "openai/gpt-5-mini"
    # -- how OpenRouter behaves where observers disagree --
    credits_for_inference_key: str = "forbidden"  # or "zeros", "real"
    activity_date_style: str = "long"  # or "short"
    activity_includes_today: bool = False
    key_paths: tuple[str, ...] = ("/key", "/auth/key")
    newest_key_fields: bool = True  # False: `GET /key` as it was before the fields of autumn 2026
    key_limit_status: int = 403  # or 402
    checks_affordability: bool = True
    in_flight_budget: Decimal | None = None
    charge_on_disconnect: str = "full"  # or "partial", "none"
    generation_lag_requests: int | str = 0  # so many look-ups find nothing; or "never"
    generation_lag_s: float = 0.0
    keys_per_page: int = 100
    analytics_time_column: str = "date"  # or "created_at", with a time of day
    analytics_counts: str = "strings"  # or "numbers"
    analytics_cached_at: datetime | None = None
    lock: Any = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.truth = Truth(self)

    @classmethod
    def simple(cls, **options: Any) -> Account:
        """An account with one inference key and one management key, and nothing spent."""
        account = cls(**options)
        account.add_key(INFERENCE_KEY, name="agent")
        account.add_key(MANAGEMENT_KEY, name="watcher", is_management_key=True)
        return account

    def today(self) -> date:
        """The running UTC day."""
        return self.now().astimezone(timezone.utc).date()

    def add_key(self, secret: str = INFERENCE_KEY, **fields: Any) -> ApiKey:
        """Adds a key and returns it."""
        key = ApiKey(secret, **fields)
        with self.lock:
            self.keys.append(key)
        return key

    def key(self, hash_or_secret: str) -> ApiKey | None:
        """The key with this hash or secret, unless it has been deleted."""
        with self.lock:
            found = [key for key in self.keys if hash_or_secret in (key.hash, key.secret) and not key.deleted]
        return found[0] if found else None

    def model(self, slug: str) -> Model | None:
        """The model with this id, alias, dated slug or dynamic variant."""
        static = slug.removesuffix(":nitro").removesuffix(":floor").removesuffix(":exacto").removesuffix(":online")
        for name in (slug, static):
            for model in self.models:
                if name in (model.id, model.canonical_slug):
                    return model
        return None

    def served(self, slug: str) -> Model | None:
        """The model that answers when this one is asked for: routers and aliases stand for another."""
        model = self.model(slug)
        if model is None:
            return None
        if "alias_target" in model.fields:
            return self.model(model.fields["alias_target"]["slug"])
        return self.model(self.auto_model) if model.prompt.startswith("-") else model

    def script(self, *replies: Reply | Callable[[Any], Reply]) -> None:
        """The next calls get these replies, one each; after them `reply` holds again."""
        with self.lock:
            self.scripted.extend(replies)

    def next_reply(self, request: Any) -> Reply:
        """The reply to a request; a function is asked for it."""
        reply = self.scripted.popleft() if self.scripted else self.reply
        return reply if isinstance(reply, Reply) else reply(request)

    def count_free_request(self, model: str) -> None:
        """A request to a free model uses up the quota of the day."""
        if model.endswith(":free"):
            self.free_requests_used += 1

    def add_activity(self, model: str, *, days_ago: int = 1, date: date | None = None, **fields: Any) -> ActivityRow:
        """Adds a row for a past day; with `days_ago=0` it belongs to the running day."""
        known = self.model(model)
        if known is not None:
            fields.setdefault("model_permaslug", known.canonical_slug)
            fields.setdefault("provider_name", known.providers[0])
        row = ActivityRow(date or self.today() - timedelta(days=days_ago), model, **fields)
        with self.lock:
            (self.today_rows if row.date == self.today() else self.activity).append(row)
        return row

    def rows(self) -> Iterator[ActivityRow]:
        """Every row of spend."""
        with self.lock:
            finished = [call.as_row() for call in self.generations.values() if call.finished]
            rows = [*self.activity, *self.today_rows, *finished]
        return iter(rows)

    def free_quota(self) -> dict[str, int]:
        """The account's quota of free-model requests of the running day."""
        usual = 1000 if self.total_credits >= 10 else 50
        limit = usual if self.free_requests_limit is None else self.free_requests_limit
        return {"used": self.free_requests_used, "limit": limit, "remaining": max(0, limit - self.free_requests_used)}

    def workspace_of(self, row: ActivityRow) -> str:
        """The workspace of a row; spend without one belongs to the default workspace."""
        return row.workspace_id or DEFAULT_WORKSPACE
