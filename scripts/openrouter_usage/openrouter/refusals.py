"""What a refusal by HTTP status and body means: which error, which remedy; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.errors import BadAnswer, BadRequest, Denied, NotFound, OpenRouterUsageError, Unreachable
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.openrouter.retry import RateLimit
from openrouter_usage.period import spoken
from openrouter_usage.text import quoted

# -- Remedies for a 402 or a 403, by the limit that was hit; pure.

_CREDITS = "https://openrouter.ai/settings/credits"
_KEYS_PAGE = "https://openrouter.ai/settings/keys"
_MGMT_KEYS_PAGE = "openrouter.ai/settings/management-keys"
_RESETS = {
    "daily": "it resets at midnight UTC",
    "weekly": "it resets on Monday at midnight UTC",
    "monthly": "it resets on the 1st at midnight UTC",
    "total": "it never resets",
    "lifetime": "it never resets",
}
_WINDOW = re.compile(r"\b(daily|weekly|monthly|total|lifetime)\b", re.IGNORECASE)
_NO_CALLS = re.compile(r"management keys cannot", re.IGNORECASE)
_RAISE = as_called("raise it with `cost_tracker.py cap` or `cost_tracker.py keys update`")
_BY_SOURCE = {
    "openrouter_credits": "credits",
    "openrouter_key_limit": "key limit",
    "openrouter_in_flight_budget": "in flight",
}
# A message may be very long, so no pattern may look far ahead.
_BY_WORDS = (
    (re.compile(r"key limit (?:exceeded|reached)", re.IGNORECASE), "key limit"),
    (re.compile(r"insufficient credits", re.IGNORECASE), "credits"),
    (re.compile(r"workspace[^.]{0,80} budget", re.IGNORECASE), "workspace budget"),
    (re.compile(r"\b(?:daily|weekly|monthly|lifetime) budget", re.IGNORECASE), "budget"),
    (re.compile(r"guardrail", re.IGNORECASE), "guardrail"),
    (re.compile(r"moderat|flagged", re.IGNORECASE), "moderation"),
    (re.compile(r"region|country|territor", re.IGNORECASE), "region"),
)


def remedy(status: int, *, message: str, limit_source: str, reason: str, key_name: str) -> str:
    """Return one line about what to do; a general one where OpenRouter says too little."""
    if _NO_CALLS.search(message):
        return f"{key_name or 'the key'} is a management key, which cannot make calls: use a key from {_KEYS_PAGE}"
    if wants_management_key(message):
        return use_management_key(key_name)
    if reason == "weight_exceeds_budget":
        return "this one call is too large for what is left: lower --max-tokens, or shorten the prompt"
    by_words = next((cause for words, cause in _BY_WORDS if words.search(message)), "")
    found = _WINDOW.search(message)
    when = _RESETS[found.group(1).lower()] if found else as_called("`stats.py` shows when it resets")
    told = _told(_BY_SOURCE.get(limit_source) or by_words, when)
    if told:
        return told
    unheard_of = f"OpenRouter calls the limit {quoted(limit_source, 60)}; " if limit_source else ""
    if status == 402:
        return f"{unheard_of}add credits at {_CREDITS}, raise the key's limit, or lower --max-tokens"
    return f"{unheard_of}the key, its limit or a guardrail forbids this: see {_KEYS_PAGE}"


def _told(cause: str, when: str) -> str:
    return {
        "credits": f"the account's credits are used up: add some at {_CREDITS}; "
        "a :free model needs none, unless the balance is below zero",
        "key limit": f"the key's own limit is reached: {_RAISE}; {when}",
        "in flight": "OpenRouter holds money for calls that are running: try again in a moment",
        "workspace budget": f"the workspace's budget is used up: its admin can raise it; {when}",
        "budget": f"a guardrail's budget is used up: its admin can raise it; {when}",
        "guardrail": "a guardrail forbids this: its admin can change it at openrouter.ai",
        "moderation": "the model's moderation refused the text: change the text or the model",
        "region": "the model is not offered in this region: choose another model",
    }.get(cause, "")


def wants_management_key(message: str) -> bool:
    """Check whether OpenRouter says that only a management key may do this."""
    return "management key" in message.lower()


def use_management_key(key_name: str) -> str:
    """Return what to do about the missing or misplaced key; `key_name` is the variable of the refused key."""
    if key_name == "OPENROUTER_MGMT_KEY":
        return f"OPENROUTER_MGMT_KEY holds an ordinary key; management keys come from {_MGMT_KEYS_PAGE}"
    return f"set OPENROUTER_MGMT_KEY to a management key from {_MGMT_KEYS_PAGE}"


# -- Errors for refused requests: from an HTTP status and body; pure.

_TOO_DEAR = "no provider is as cheap as the call's price limit: raise --max-cost, or lower --max-tokens"


class Complaint(NamedTuple):
    """What an error body says: the message, and which limit was hit; "" where the body does not say."""

    message: str = ""
    limit_source: str = ""
    reason: str = ""


def read_complaint(body: bytes) -> Complaint:
    """Read OpenRouter's error envelope; return an empty Complaint when the body is something else."""
    try:
        return complaint_in(loads(body))
    except ValueError:
        return Complaint()


def complaint_in(answer: Json) -> Complaint:
    """Return the error in a parsed answer; an empty Complaint when there is none."""
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
    """Return the error for an answer of status 300 or more; `what` names the request, `limit` is the limit of a 429."""
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
        return BadRequest(asked, hint="check the values in the request")
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
    return Unreachable(f"{asked}: OpenRouter, or a proxy in between, has a fault", hint="try again later")


def _limited(asked: str, limit: RateLimit) -> Unreachable:
    resets = f"; the limit resets {spoken(limit.resets_at)}" if limit.resets_at else ""
    hint = "wait a minute and try again"
    if limit.is_daily:
        hint = "wait until then, or use a model without :free, which has no such limit"
    elif limit.resets_at:
        hint = "try again after the reset"
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
        hint="the key may be mistyped, disabled, expired or deleted: see https://openrouter.ai/settings/keys",
        code="unauthorized",
    )
