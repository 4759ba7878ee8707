"""An API key of the account, with its counters and its limit."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

DEFAULT_WORKSPACE = "0b3f7c1e-5d0a-4c52-9f6e-2a1d8e4b7c90"
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
ZERO = Decimal(0)
WINDOWS = ("daily", "weekly", "monthly")
UTC_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def stamp(at: datetime | None, *, milliseconds: bool = True) -> str | None:
    """A time as OpenRouter writes it."""
    if at is None:
        return None
    text = at.astimezone(timezone.utc).isoformat(timespec="milliseconds" if milliseconds else "seconds")
    return text.replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """A time that is written in UTC with seconds; Python 3.10 reads no other fraction than of six digits."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    microseconds = int(fraction.ljust(6, "0")[:6]) if fraction else 0
    return datetime.fromisoformat(whole).replace(microsecond=microseconds, tzinfo=timezone.utc)


def window_start(window: str | None, day: date) -> date:
    """The first UTC day of the window that a day lies in; weeks start on Monday, and a lifetime at the beginning."""
    if window == "weekly":
        return day - timedelta(days=day.weekday())
    if window == "monthly":
        return day.replace(day=1)
    return day if window == "daily" else date.min


def window_end(window: str | None, day: date) -> datetime | None:
    """The instant at which the window of a day rolls over, or None for a lifetime."""
    start = window_start(window, day)
    if window == "monthly":
        following = (start + timedelta(days=32)).replace(day=1)
    elif window in WINDOWS:
        following = start + timedelta(days=7 if window == "weekly" else 1)
    else:
        return None
    return datetime(following.year, following.month, following.day, tzinfo=timezone.utc)


def merged(fields: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The fields with the test's own values, and without those that are MISSING."""
    return {name: value for name, value in {**fields, **overrides}.items() if value is not MISSING}


@dataclass
class Budget:
    """One budget that can block a key, as `GET /key` lists it."""

    scope: str
    limit_usd: Decimal
    spend_usd: Decimal = ZERO
    reset_interval: str | None = "monthly"
    include_byok: bool = False
    budget_id: str | None = None
    guardrail_id: str | None = None

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The budget in OpenRouter's fields."""
        return {
            "scope": self.scope,
            "limit_usd": self.limit_usd,
            "spend_usd": self.spend_usd,
            "remaining_usd": self.limit_usd - self.spend_usd,
            "reset_interval": self.reset_interval,
            "resets_at": stamp(window_end(self.reset_interval, now.date())),
            "include_byok": self.include_byok,
            "budget_id": self.budget_id,
            "guardrail_id": self.guardrail_id,
        }


@dataclass
class ApiKey:
    """A key; counters are what a test sets them to, and move on with every charge and every new UTC day."""

    secret: str
    name: str = "agent"
    label: str = ""
    hash: str = ""
    limit: Decimal | None = None
    limit_remaining: Decimal | None = None
    limit_reset: str | None = None
    include_byok_in_limit: bool = False
    usage: Decimal = ZERO
    usage_daily: Decimal = ZERO
    usage_weekly: Decimal = ZERO
    usage_monthly: Decimal = ZERO
    byok_usage: Decimal = ZERO
    byok_usage_daily: Decimal = ZERO
    byok_usage_weekly: Decimal = ZERO
    byok_usage_monthly: Decimal = ZERO
    is_free_tier: bool = False
    is_management_key: bool = False
    expires_at: datetime | None = None
    disabled: bool = False
    deleted: bool = False
    made_by_oauth: bool = False
    creator_user_id: str | None = "user_2sandboxCreator"
    workspace_id: str | None = DEFAULT_WORKSPACE
    organization_id: str | None = None
    external_user: str | None = None
    created_at: datetime = datetime(2026, 1, 5, 9, 30, tzinfo=timezone.utc)
    updated_at: datetime | None = None
    last_used_at: datetime | None = None
    allowed_data_regions: list[str] = field(default_factory=lambda: ["global"])
    budgets: list[Budget] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    rolled: date | None = None

    def __post_init__(self) -> None:
        self.hash = self.hash or hashlib.sha256(self.secret.encode()).hexdigest()
        shown = self.secret.removeprefix("sk-or-v1-") if self.secret.startswith("sk-or-v1-") else self.hash
        self.label = self.label or f"sk-or-v1-{shown[:3]}...{self.secret[-4:]}"
        if self.limit is not None and self.limit_remaining is None:
            self.limit_remaining = self.limit - self.spent_in_window()

    def spent_in_window(self) -> Decimal:
        """What counts against the limit in its current window."""
        suffix = f"_{self.limit_reset}" if self.limit_reset in WINDOWS else ""
        usage: Decimal = getattr(self, f"usage{suffix}")
        byok: Decimal = getattr(self, f"byok_usage{suffix}")
        return usage + byok if self.include_byok_in_limit else usage

    def roll(self, today: date) -> None:
        """Counters of a window that has passed start again at zero."""
        since, self.rolled = self.rolled or today, max(today, self.rolled or today)
        for window in WINDOWS:
            if window_start(window, today) <= window_start(window, since):
                continue
            setattr(self, f"usage_{window}", ZERO)
            setattr(self, f"byok_usage_{window}", ZERO)
            if window == self.limit_reset:
                self.limit_remaining = self.limit

    def charge(self, cost: Decimal, byok: Decimal, now: datetime) -> None:
        """Adds a charge to every counter and takes it off what is left of the limit."""
        self.roll(now.date())
        for suffix in ("", *(f"_{window}" for window in WINDOWS)):
            setattr(self, f"usage{suffix}", getattr(self, f"usage{suffix}") + cost)
            setattr(self, f"byok_usage{suffix}", getattr(self, f"byok_usage{suffix}") + byok)
        if self.limit_remaining is not None:
            self.limit_remaining -= cost + (byok if self.include_byok_in_limit else ZERO)
        for budget in self.budgets:
            budget.spend_usd += cost + (byok if budget.include_byok else ZERO)
        self.last_used_at = now

    @property
    def numeric_id(self) -> int:
        """The number that stands for the key in generations and analytics."""
        return int(self.hash[:8], 16)

    def expired(self, now: datetime) -> bool:
        """True from the moment it expires."""
        return self.expires_at is not None and self.expires_at <= now

    def counters(self) -> dict[str, Any]:
        """The fields that `GET /key` and the keys API have in common."""
        names = ["label", "limit", "limit_remaining", "limit_reset", "include_byok_in_limit", "creator_user_id"]
        suffixes = ["", *(f"_{window}" for window in WINDOWS)]
        names += [f"{kind}{suffix}" for kind in ("usage", "byok_usage") for suffix in suffixes]
        found = {name: getattr(self, name) for name in names}
        for kind in ("usage", "byok_usage"):
            # The running day is part of the running week and month: a test that sets the day alone means all three.
            for window in ("weekly", "monthly"):
                found[f"{kind}_{window}"] = max(found[f"{kind}_{window}"], found[f"{kind}_daily"])
        return found | {"expires_at": stamp(self.expires_at)}
