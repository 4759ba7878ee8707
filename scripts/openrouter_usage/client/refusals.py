"""Turns an HTTP status and body that say no into the error that tells the user what to do; pure."""

from __future__ import annotations

from typing import NamedTuple

from openrouter_usage.answers.fields import Fields
from openrouter_usage.client.remedies import remedy, use_management_key, wants_management_key
from openrouter_usage.client.retry import RateLimit
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import BadAnswer, BadRequest, Denied, NotFound, OpenRouterUsageError, Unreachable
from openrouter_usage.exactjson import Json, loads
from openrouter_usage.period import spoken
from openrouter_usage.text import quoted

_TOO_DEAR = "no provider is as cheap as the call's limit on its prices: raise --max-cost, or lower --max-tokens"


class Complaint(NamedTuple):
    """What an error body says: the message, and where a limit was hit; "" where it says nothing."""

    message: str = ""
    limit_source: str = ""
    reason: str = ""


def read_complaint(body: bytes) -> Complaint:
    """Read OpenRouter's error envelope; an empty Complaint when the body is something else."""
    try:
        return complaint_in(loads(body))
    except ValueError:
        return Complaint()


def complaint_in(answer: Json) -> Complaint:
    """Find the error in a parsed answer; an empty Complaint when there is none."""
    try:
        error = Fields(answer, "an error").within("error")
    except BadAnswer:
        return Complaint()
    try:
        metadata = error.within("metadata")
    except BadAnswer:
        return Complaint(error.text("message"))
    return Complaint(error.text("message"), metadata.text("limit_source"), metadata.text("reason"))


def refusal(
    status: int, body: bytes, what: str, key: ApiKey | None, limit: RateLimit | None = None
) -> OpenRouterUsageError:
    """Return the error for an answer of status 300 or more; `what` names the request, `limit` is that of a 429."""
    complaint = read_complaint(body)
    said = f"; OpenRouter said {quoted(complaint.message)}" if complaint.message else ""
    asked = f"{what} answered {status}{said}"
    if status == 401:
        return _unauthorized(complaint.message, said, key)
    if status in (402, 403):
        code = "payment" if status == 402 else "forbidden"
        what_to_do = remedy(status, **complaint._asdict(), key_name=key.name if key else "")
        return Denied(asked, hint=what_to_do, code=code)
    if status in (400, 409, 413, 422):
        return BadRequest(asked, hint="check the values that were given")
    if status in (404, 405, 410):
        missing = NotFound(asked, hint=_TOO_DEAR if "max_price" in complaint.message.lower() else "")
        missing.is_told = bool(complaint.message)
        return missing
    if status == 429:
        return _limited(asked, limit or RateLimit())
    if status < 400:
        return Unreachable(
            f"{what} answered {status}, a redirect, which is not followed: a key is sent to one host only",
            hint="check OPENROUTER_BASE_URL and any proxy",
        )
    return Unreachable(f"{asked}: OpenRouter, or something in between, has a fault", hint="try again later")


def _limited(asked: str, limit: RateLimit) -> Unreachable:
    resets = f"; the limit resets {spoken(limit.resets_at)}" if limit.resets_at else ""
    hint = "wait a minute and try again"
    if limit.is_daily:
        hint = "wait until then, or take a model without :free, for which no such limit is set"
    elif limit.resets_at:
        hint = "try again when it has reset"
    return Unreachable(f"{asked}: too many requests{resets}", hint=hint, code="rate_limited")


def _unauthorized(message: str, said: str, key: ApiKey | None) -> Denied:
    if wants_management_key(message):
        return Denied(
            f"OpenRouter does not let {key or 'a request without a key'} do this (401){said}",
            hint=use_management_key(key.name if key else ""),
            code="unauthorized",
        )
    return Denied(
        f"OpenRouter does not accept {key or 'a request without a key'} (401){said}",
        hint="it may be mistyped, disabled, expired or deleted: see https://openrouter.ai/settings/keys",
        code="unauthorized",
    )
