"""Decides whether, and when, a request is sent again; pure, so that its table can be tested."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

from openrouter_usage.period import UTC

MOST_ATTEMPTS = 3
LONGEST_WAIT_S = 30.0
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_FIRST_WAIT_S = 0.25


def wait_before_retry(attempt: int, status: int | None, retry_after_s: float | None, jitter: float) -> float | None:
    """Give the seconds to wait after a failed GET (`status` None: no answer); None means give up.

    `attempt` counts from 1; `jitter` is a random number from 0 to 1 that spreads callers apart.
    """
    if attempt >= MOST_ATTEMPTS or (status is not None and status not in RETRIED_STATUSES):
        return None
    if retry_after_s is not None:
        return retry_after_s if retry_after_s <= LONGEST_WAIT_S else None
    return _FIRST_WAIT_S * 2.0 ** (attempt - 1) * (1 + jitter)


def wait_before_resend(attempt: int, status: int | None, retry_after_s: float | None, jitter: float) -> float | None:
    """Give the seconds to wait before a call that was surely not billed is sent again; None means give up.

    `status` None stands for a connection that was never made; a 402 is retried only because OpenRouter asked for it.
    """
    return wait_before_retry(attempt, 429 if status == 402 else status, retry_after_s, jitter)


def may_be_billed(status: int, is_from_openrouter: bool) -> bool:
    """Tell whether a call that ended with a status may have cost something.

    A 503 in OpenRouter's own words says that no provider took the call; from anything in between it says nothing.
    """
    return status < 300 or status == 408 or (status >= 500 and not (status == 503 and is_from_openrouter))


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Read `Retry-After`, seconds or an HTTP date; None when absent or unreadable."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    moment = parse_http_date(text)
    return max(0.0, (moment - now).total_seconds()) if moment else None


def parse_http_date(text: str | None) -> datetime | None:
    """Read an HTTP date into UTC; None when absent or unreadable."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
