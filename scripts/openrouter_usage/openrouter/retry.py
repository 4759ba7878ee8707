"""Whether a request is sent again, and when: by its status, its headers and how often it was sent; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from openrouter_usage.errors import BadAnswer
from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.period import UTC, today

MOST_ATTEMPTS = 3
LONGEST_WAIT_S = 30.0
# How often it is asked again what a call has cost, whose answer does not say so.
LOOK_UPS_AFTER_A_CALL = 2
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_FIRST_WAIT_S = 0.25
_RESET = "x-ratelimit-reset"
# OpenRouter names a daily limit in its message, such as free-models-per-day-high-balance: waiting does not help.
_PER_DAY = re.compile(r"\bper[- ]day\b|\blimit_rpd\b", re.IGNORECASE)
# A reset below the first number is in seconds from now, one above the second in milliseconds since 1970.
_LATEST_FROM_NOW, _LATEST_IN_SECONDS = 10**8, 10**11


class RateLimit(NamedTuple):
    """What a 429 says about its limit: when it resets, None where unknown, and whether it is a daily limit."""

    resets_at: datetime | None = None
    is_daily: bool = False

    def wait_s(self, served_at: datetime) -> float | None:
        """Return the seconds until the reset by the server's own clock; None where the reset is unknown or past."""
        seconds = 0.0 if self.resets_at is None else (self.resets_at - served_at).total_seconds()
        return seconds if seconds > 0 else None


def read_rate_limit(headers: Mapping[str, str], body: bytes, served_at: datetime) -> RateLimit:
    """Read the limit behind a 429 from its headers, and from the headers that OpenRouter repeats in the body."""
    error = _error(body)
    resets_at = _reset(headers, served_at) or _reset(_repeated(error), served_at)
    is_daily = bool(_PER_DAY.search(error.text("message")))
    # OpenRouter's days are UTC days, even where the answer does not say when this one ends.
    return RateLimit(resets_at or (today(served_at).end if is_daily else None), is_daily)


def _error(body: bytes) -> Fields:
    try:
        return Fields(loads(body), "an error").within("error")
    except (ValueError, BadAnswer):
        return Fields({}, "an error")


def _repeated(error: Fields) -> dict[str, Json]:
    try:
        headers = error.within("metadata").within("headers")
    except BadAnswer:
        return {}
    return {name: headers.get(name) for name in headers}


def _reset(headers: Mapping[str, Json], served_at: datetime) -> datetime | None:
    """Read `X-RateLimit-Reset`: milliseconds since 1970; also accepts seconds since then or from now."""
    for name, value in headers.items():
        text = str(value).strip()
        if name.lower() == _RESET and text.isascii() and text.isdigit() and len(text) < 16:
            number = int(text)
            if number < _LATEST_FROM_NOW:
                return served_at + timedelta(seconds=number)
            seconds = number if number < _LATEST_IN_SECONDS else number / 1000
            try:
                return datetime.fromtimestamp(seconds, UTC)
            except (OverflowError, ValueError, OSError):
                return None
    return None


def wait_before_retry(attempt: int, status: int | None, retry_after_s: float | None, jitter: float) -> float | None:
    """Return the seconds to wait after a failed GET (`status` None: no answer); None means give up.

    `attempt` counts from 1; `jitter` is a random number from 0 to 1 that spreads callers apart.
    """
    if attempt >= MOST_ATTEMPTS or (status is not None and status not in RETRIED_STATUSES):
        return None
    if retry_after_s is not None:
        return retry_after_s if retry_after_s <= LONGEST_WAIT_S else None
    return _FIRST_WAIT_S * 2.0 ** (attempt - 1) * (1 + jitter)


def wait_before_resend(attempt: int, status: int | None, retry_after_s: float | None, jitter: float) -> float | None:
    """Return the seconds to wait before a call that was surely not billed is sent again; None means give up.

    `status` None stands for a connection that was never made; a 402 is retried only because OpenRouter asked for it.
    """
    return wait_before_retry(attempt, 429 if status == 402 else status, retry_after_s, jitter)


def may_be_billed(status: int, is_from_openrouter: bool) -> bool:
    """Check whether a call that ended with a status may have cost something.

    A 503 in OpenRouter's own words says that no provider accepted the call; one from a proxy says nothing.
    """
    return status < 300 or status == 408 or (status >= 500 and not (status == 503 and is_from_openrouter))


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds of `Retry-After`, a number or an HTTP date; None when absent or unreadable."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    moment = parse_http_date(text)
    return max(0.0, (moment - now).total_seconds()) if moment else None


def parse_http_date(text: str | None) -> datetime | None:
    """Return an HTTP date in UTC; None when absent or unreadable."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
