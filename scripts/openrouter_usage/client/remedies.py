"""What to do about a 402 or a 403, by where the limit was hit; pure."""

from __future__ import annotations

import re

from openrouter_usage.text import quoted

_CREDITS = "https://openrouter.ai/settings/credits"
_KEYS_PAGE = "https://openrouter.ai/settings/keys"
_MGMT_KEYS_PAGE = "openrouter.ai/settings/management-keys"
_STARTS_ANEW = {
    "daily": "it starts anew at midnight UTC",
    "weekly": "it starts anew on Monday at midnight UTC",
    "monthly": "it starts anew on the 1st at midnight UTC",
    "total": "it never starts anew",
    "lifetime": "it never starts anew",
}
_WINDOW = re.compile(r"\b(daily|weekly|monthly|total|lifetime)\b", re.IGNORECASE)
_NO_CALLS = re.compile(r"management keys cannot", re.IGNORECASE)
_RAISE = "raise it with `cost_tracker.py cap` or `cost_tracker.py keys update`"
_BY_SOURCE = {
    "openrouter_credits": "credits",
    "openrouter_key_limit": "key limit",
    "openrouter_in_flight_budget": "in flight",
}
# A message may be as long as it likes, so no pattern may look far ahead.
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
    """Give one line about what to do; general words where OpenRouter says too little."""
    if _NO_CALLS.search(message):
        return f"{key_name or 'the key'} is a management key, which makes no calls: take one from {_KEYS_PAGE}"
    if wants_management_key(message):
        return use_management_key(key_name)
    if reason == "weight_exceeds_budget":
        return "this one call is too large for what is left: lower --max-tokens, or shorten the prompt"
    by_words = next((cause for words, cause in _BY_WORDS if words.search(message)), "")
    found = _WINDOW.search(message)
    when = _STARTS_ANEW[found.group(1).lower()] if found else "`stats.py` tells when it starts anew"
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
        "in flight": "OpenRouter holds back money for calls that are running: try again in a moment",
        "workspace budget": f"the workspace's budget is used up: its admin can raise it; {when}",
        "budget": f"a guardrail's budget is used up: its admin can raise it; {when}",
        "guardrail": "a guardrail forbids this: its admin can change it at openrouter.ai",
        "moderation": "the model's moderation refused the text: change it, or the model",
        "region": "the model is not offered in this region: take another",
    }.get(cause, "")


def wants_management_key(message: str) -> bool:
    """Tell whether OpenRouter says that only a management key may do this."""
    return "management key" in message.lower()


def use_management_key(key_name: str) -> str:
    """Say which key is missing, or in the wrong place; `key_name` is the variable of the key that was refused."""
    if key_name == "OPENROUTER_MGMT_KEY":
        return f"OPENROUTER_MGMT_KEY holds an ordinary key; management keys come from {_MGMT_KEYS_PAGE}"
    return f"set OPENROUTER_MGMT_KEY to a management key from {_MGMT_KEYS_PAGE}"
