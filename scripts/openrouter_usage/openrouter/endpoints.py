"""The endpoints of OpenRouter that give figures: one method each, under their own names.

Code that reads an answer is imported after the request was sent, so it loads while OpenRouter thinks. Code that sends
a request is imported when it is needed, so every verb shows its help without the packages.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from openrouter_usage.errors import BadAnswer, NotFound, Unreachable
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.money import Json, dumps, loads
from openrouter_usage.period import Period, iso, today
from openrouter_usage.text import quoted, safe

if TYPE_CHECKING:
    from openrouter_usage.openrouter.answers.account import ActivityRow, Credits, TodaySpend
    from openrouter_usage.openrouter.answers.analytics import AccountFees, Analytics
    from openrouter_usage.openrouter.answers.fields import Rows
    from openrouter_usage.openrouter.answers.generation import Generation
    from openrouter_usage.openrouter.answers.key import KeyInfo
    from openrouter_usage.openrouter.transport import Answer, Request, Transport

_SHORTEST = timedelta(seconds=1)  # at midnight the day is empty, and OpenRouter refuses an empty range
_MOST_ROWS = 10_000


class OpenRouter:
    """OpenRouter as one key sees it; every method raises Denied or Unreachable when there is no figure."""

    def __init__(self, transport: Transport, key: ApiKey | None) -> None:
        """Ask through `transport` with `key`; public endpoints are asked without a key."""
        self._transport = transport
        self._key = key
        self.clock_ahead_s: float | None = None

    def __repr__(self) -> str:
        """Return the key's masked form."""
        return f"OpenRouter({self._key})"

    def key(self) -> KeyInfo:
        """Ask GET /key about the key itself; falls back to the older name /auth/key."""
        answer = self.key_answer()
        from openrouter_usage.openrouter.answers.key import read_key

        return read_key(answer)

    def account(self) -> str:
        """Ask GET /key which account owns the key; "" where OpenRouter does not say."""
        answer = self.key_answer()
        from openrouter_usage.openrouter.answers.key import read_account

        return read_account(answer, self._transport.elsewhere)

    def key_answer(self) -> Json:
        """Return the answer of GET /key as it came."""
        try:
            return self._get("/key")
        except NotFound:
            return self._get("/auth/key")

    def credits(self) -> Credits:
        """Ask GET /credits for what the account has bought and used; documented for management keys."""
        answer = self._get("/credits")
        from openrouter_usage.openrouter.answers.account import read_credits

        return read_credits(answer)

    def activity(self, key_hash: str = "") -> Rows[ActivityRow]:
        """Ask GET /activity for the last 30 completed UTC days, on request of one key; needs a management key."""
        answer = self._get("/activity", *([("api_key_hash", key_hash)] if key_hash else []))
        from openrouter_usage.openrouter.answers.account import read_activity

        return read_activity(answer)

    def generation(self, identity: str) -> Generation:
        """Ask GET /generation for one call; NotFound while OpenRouter does not know it yet."""
        answer = self._get("/generation", ("id", identity))
        from openrouter_usage.openrouter.answers.generation import read_generation

        return read_generation(answer, identity)

    def models(self) -> Json:
        """Ask GET /models for the price list, models of every kind of output included."""
        return self._get("/models", ("output_modalities", "all"))

    def today(self, now: datetime) -> TodaySpend:
        """Ask POST /analytics/query for the account's spend since midnight UTC; needs a management key."""
        found = self.analytics(Period(today(now).start, now, "today"))
        from openrouter_usage.openrouter.answers.account import TodaySpend

        return TodaySpend(found.total, found.truncated, found.left_out)

    def analytics(
        self, period: Period, *dimensions: str, by_day: bool = False, by_hour: bool = False, key_hash: str = ""
    ) -> Analytics:
        """Ask POST /analytics/query what the account spent in a period, 365 days back at most; needs a management key.

        At most two dimensions: `model` (dated slugs), `api_key_id`, `workspace` (names), `provider`, `generation_id`.
        """
        from openrouter_usage.openrouter.answers.analytics import METRICS, read_analytics

        question: dict[str, Json] = {
            "metrics": list(METRICS),
            "dimensions": list(dimensions),
            "time_range": {"start": iso(period.start), "end": iso(max(period.end, period.start + _SHORTEST))},
            "limit": _MOST_ROWS,
        }
        if by_day or by_hour:
            question["granularity"] = "hour" if by_hour else "day"
        if key_hash:
            question["filters"] = [{"field": "api_key_id", "operator": "eq", "value": key_hash}]
        # A query changes nothing, so it is retried like a GET.
        from openrouter_usage.openrouter.transport import Request

        answer = self._ask(Request("POST", "/analytics/query", self._key, body=dumps(question)))
        return read_analytics(answer, dimensions)

    def fees(self, period: Period, *, is_recent: bool) -> AccountFees:
        """Ask POST /analytics/query which fees are in a period's spend; all of them only where it `is_recent`."""
        from openrouter_usage.openrouter.answers.analytics import FEES, RECENT_FEES, read_fees
        from openrouter_usage.openrouter.transport import Request

        asked = (*FEES, *RECENT_FEES) if is_recent else FEES
        question: dict[str, Json] = {
            "metrics": ["credits_usage", *asked],
            "dimensions": [],
            "time_range": {"start": iso(period.start), "end": iso(max(period.end, period.start + _SHORTEST))},
        }
        answer = self._ask(Request("POST", "/analytics/query", self._key, body=dumps(question)))
        return read_fees(answer, asked, () if is_recent else RECENT_FEES)

    def _get(self, path: str, *params: tuple[str, str]) -> Json:
        from openrouter_usage.openrouter.transport import Request

        return self._ask(Request("GET", path, self._key, params))

    def _ask(self, request: Request) -> Json:
        answer = self._transport.get(request)
        self.clock_ahead_s = answer.clock_ahead_s
        if answer.status >= 300:
            from openrouter_usage.openrouter.refusals import refusal

            raise refusal(answer.status, answer.body, request.path, self._key, answer.limit)
        return parsed(answer, request.path)


def parsed(answer: Answer, what: str) -> Json:
    """Read an answer of status 200; raise for an error object inside the answer."""
    try:
        value = loads(answer.body)
    except ValueError as error:
        found = "a web page" if answer.body.lstrip()[:1] == b"<" else "empty" if not answer.body.strip() else str(error)
        raise BadAnswer(
            f"the answer to {what} is not JSON: {safe(found)}",
            hint="a proxy or a login page may stand in between; check OPENROUTER_BASE_URL",
        ) from None
    from openrouter_usage.openrouter.refusals import complaint_in

    complaint = complaint_in(value)
    if complaint.message:
        raise Unreachable(f"{what}: OpenRouter said {quoted(complaint.message)}", hint="try again later")
    return value
