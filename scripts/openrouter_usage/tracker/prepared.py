"""Makes everything ready for one tracked call, before anything is written or sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from openrouter_usage.budget import Caps
from openrouter_usage.credentials import ApiKey
from openrouter_usage.entry import safe_tag
from openrouter_usage.errors import SettingsError
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.money import usd
from openrouter_usage.preferences import load_caps
from openrouter_usage.settings import load_settings
from openrouter_usage.tracker.booking import Booking
from openrouter_usage.tracker.calls import Caller, Plan, request_body
from openrouter_usage.tracker.session import current_session


class PreparedCall(NamedTuple):
    """A call that only has to be made."""

    caller: Caller
    plan: Plan
    booking: Booking


def prepare(
    ledger: Ledger,
    messages: object,
    model: str,
    params: Mapping[str, object],
    *,
    api_key: str | None,
    caps: Caps | None,
    max_cost: object,
    session: str | None,
    tags: Mapping[str, str] | None,
    timeout_s: float,
    clock: Callable[[], datetime],
    tracked: bool = True,
) -> PreparedCall:
    """Find the key and the budget, bound the request, and open the booking's page."""
    body = request_body(messages, model, params)
    checked_tags = {safe_tag(name): safe_tag(value) for name, value in (tags or {}).items()}
    most = None if max_cost is None else usd(max_cost)
    in_force = load_caps() if caps is None else caps
    if not tracked and in_force.any:
        raise SettingsError("under a budget every call is tracked", hint="leave --no-track out, or clear the budget")
    settings = load_settings()
    key = ApiKey.checked(api_key, "api_key", "the caller") if api_key else settings.require_key()
    caller = Caller(settings, key, caps=in_force, timeout_s=timeout_s, clock=clock)
    plan = caller.plan(body, most)
    booking = Booking(
        ledger if tracked else None,
        model=model,
        caps=in_force,
        clock=clock,
        session=current_session() if session is None else session,
        tags=checked_tags,
    )
    return PreparedCall(caller, plan, booking)
