"""What to do about a 402 or a 403, by where the limit was hit; pure."""

from __future__ import annotations

import re

_CREDITS = "https://openrouter.ai/settings/credits"
_MGMT_KEYS_PAGE = "openrouter.ai/settings/management-keys"
_STARTS_ANEW = {
    "daily": "it starts anew at midnight UTC",
    "weekly": "it starts anew on Monday at midnight UTC",
    "monthly": "it starts anew on the 1st at midnight UTC",
    "total": "it never starts anew",
}
_KEY_LIMIT = re.compile(r"key limit (?:exceeded|reached)(?: \((daily|weekly|monthly|total) limit\))?", re.IGNORECASE)
_RAISE = "raise it with `cost_tracker.py cap` or `keys update`"
_BY_SOURCE = {
    "openrouter_credits": f"the account's credits are used up: add some at {_CREDITS}, or use a :free model",
    "openrouter_key_limit": f"the key's own limit is reached: {_RAISE}, or wait for its reset (`stats.py` tells when)",
    "openrouter_in_flight_budget": "OpenRouter holds back money for calls that are running: try again in a moment",
}
_BY_WORDS = (
    (re.compile(r"workspace .*budget", re.IGNORECASE), "the workspace's budget is used up: its admin can raise it"),
    (re.compile(r"guardrail", re.IGNORECASE), "a guardrail forbids this: its admin can change it at openrouter.ai"),
    (re.compile(r"moderat|flagged", re.IGNORECASE), "the model's moderation refused the text: change it, or the model"),
    (re.compile(r"region|country|territor", re.IGNORECASE), "the model is not offered in this region: take another"),
)


def remedy(status: int, *, message: str, limit_source: str, reason: str, key_name: str) -> str:
    """Give one line about what to do; general words where OpenRouter says too little."""
    if "management key" in message.lower():
        if key_name == "OPENROUTER_MGMT_KEY":
            return f"OPENROUTER_MGMT_KEY holds an ordinary key; management keys come from {_MGMT_KEYS_PAGE}"
        return f"set OPENROUTER_MGMT_KEY to a management key from {_MGMT_KEYS_PAGE}"
    if reason == "weight_exceeds_budget":
        return "this one call is too large for what is left: lower --max-tokens, or shorten the prompt"
    if limit_source in _BY_SOURCE:
        return _BY_SOURCE[limit_source]
    key_limit = _KEY_LIMIT.search(message)
    if key_limit:
        when = _STARTS_ANEW.get((key_limit.group(1) or "").lower(), "`stats.py` tells when it starts anew")
        return f"the key's own limit is reached: {_RAISE}; {when}"
    for words, what in _BY_WORDS:
        if words.search(message):
            return what
    if status == 402:
        return f"add credits at {_CREDITS}, raise the key's limit, or lower --max-tokens"
    return "the key, its limit or a guardrail forbids this: see https://openrouter.ai/settings/keys"
