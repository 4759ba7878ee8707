"""Makes everything ready for one tracked call, before anything is written or sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.budget import LONGEST_CALL, Caps
from openrouter_usage.credentials import ApiKey
from openrouter_usage.entry import LARGEST_COST, LONGEST_NAME, MOST_TAGS, safe_tag
from openrouter_usage.errors import InvalidValue
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
    """Find the key and the budget, bound the request, and open the booking's page.

    A call that is not `tracked` is not booked; under a budget it is all the same, so that none can slip past it.
    """
    body = request_body(messages, model, params)
    checked_tags = {safe_tag(name): safe_tag(value) for name, value in (tags or {}).items()}
    most = None if max_cost is None else usd(max_cost)
    _refuse_odd(most, session, checked_tags, timeout_s)
    in_force = load_caps() if caps is None else caps
    settings = load_settings()
    key = ApiKey.checked(api_key, "api_key", "the caller") if api_key else settings.require_key()
    caller = Caller(settings, key, caps=in_force, timeout_s=timeout_s, clock=clock)
    plan = caller.plan(body, most)
    booking = Booking(
        ledger if tracked or in_force.any else None,
        model=model,
        caps=in_force,
        clock=clock,
        session=current_session() if session is None else session,
        tags=checked_tags,
    )
    return PreparedCall(caller, plan, booking)


def _refuse_odd(most: Decimal | None, session: str | None, tags: Mapping[str, str], timeout_s: float) -> None:
    """Raise InvalidValue for what no line of the ledger can hold, and for a call that outlasts its hold."""
    if most is not None and not 0 <= most <= LARGEST_COST:
        raise InvalidValue(f"max_cost is an amount from 0 to {LARGEST_COST:,} USD")
    if session is not None and (not isinstance(session, str) or len(session) > LONGEST_NAME):
        raise InvalidValue(f"session is a text of at most {LONGEST_NAME:,} characters")
    if len(tags) > MOST_TAGS:
        raise InvalidValue(f"tags are at most {MOST_TAGS} names with a text each")
    if not 0 < timeout_s <= LONGEST_CALL.total_seconds():
        raise InvalidValue(f"timeout_s is above 0 and at most {LONGEST_CALL.total_seconds():,.0f} seconds")
