"""What is made of the keys that were found, and of what OpenRouter says each of them is; pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.diagnosis.finding import Finding, note, of_error, ok, problem, warning
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import MissingKey, OpenRouterUsageError
from openrouter_usage.period import spoken

AREA = "keys"
API_KEY, MGMT_KEY = "OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"
KEYS_PAGE = "https://openrouter.ai/settings/keys"
MGMT_KEYS_PAGE = "https://openrouter.ai/settings/management-keys"
_SOON = timedelta(days=7)


class FoundKey(NamedTuple):
    """A key by its variable, its last four characters, and the file or "the environment" that it is from."""

    name: str
    tail: str
    source: str


class Keys(NamedTuple):
    """The keys in force, those that stand behind them, and what keeps them from being used."""

    found: tuple[FoundKey, ...]
    hidden: tuple[FoundKey, ...]
    error: OpenRouterUsageError | None
    legacy: str
    how_to_move: str
    withheld_from: str
    home: str


def findings(keys: Keys, words: Words) -> list[Finding]:
    """Judge where the keys are from."""
    told = [of_error(AREA, keys.error, words)] if keys.error else []
    names = [key.name for key in keys.found]
    told += [ok(AREA, f"{shown(key, words)}, from {_source(key, words)}") for key in keys.found]
    if not names and not keys.error:
        told.append(_none(keys, words))
    elif names == [MGMT_KEY]:
        told.append(note(AREA, f"{API_KEY} is not set: totals are the account's, and no call can be made"))
    elif names == [API_KEY]:
        text = f"{MGMT_KEY} is not set: no balance, no spend by model from OpenRouter"
        told.append(note(AREA, text, f"if you want them, set it to a key from {MGMT_KEYS_PAGE}"))
    why = "while that stands" if keys.error else "for another one is stronger"
    for key in keys.hidden:
        told.append(note(AREA, f"{shown(key, words)} from {_source(key, words)} is not used {why}"))
    if keys.withheld_from:
        text = f"{MGMT_KEY} is not sent to {words.host(keys.withheld_from)}, only to openrouter.ai"
        told.append(warning(AREA, text, "unset OPENROUTER_BASE_URL to use it"))
    if keys.legacy:
        text = f"{words.path(keys.legacy)} is in the skill folder: the next update deletes it"
        told.append(warning(AREA, text, words.text(keys.how_to_move)))
    return told


def _none(keys: Keys, words: Words) -> Finding:
    text = "no OpenRouter key is found, in the environment or in a file"
    remedy = f"put {API_KEY}=your-key into {words.path(keys.home or '~')}/.openrouter/credentials.env; from {KEYS_PAGE}"
    return problem(AREA, text, remedy, kind=MissingKey)


def shown(key: FoundKey, words: Words) -> str:
    """Write which key it is."""
    return f"{key.name}{words.tail(key.tail)}"


def _source(key: FoundKey, words: Words) -> str:
    return words.path(key.source)


def kinds(key: FoundKey, info: KeyInfo, now: datetime, words: Words) -> list[Finding]:
    """Judge what OpenRouter says a key is, and whether it stands in the right place."""
    kind = "a management key" if info.is_management_key else "an ordinary (inference) key"
    told = [ok(AREA, f"{shown(key, words)} is {kind}, labelled {words.label(info.label)}")]
    if key.name == MGMT_KEY and not info.is_management_key:
        told = [problem(AREA, f"{MGMT_KEY} holds an ordinary key", f"management keys come from {MGMT_KEYS_PAGE}")]
    elif key.name == API_KEY and info.is_management_key:
        text = f"{API_KEY} holds a management key: it can make no calls, and may change the account's keys"
        told = [warning(AREA, text, f"set {MGMT_KEY} to it, and {API_KEY} to one from {KEYS_PAGE}")]
    if info.expires_at and info.expires_at <= now + _SOON:
        verb = "expired" if info.expires_at <= now else "expires"
        told.append(warning(AREA, f"{shown(key, words)} {verb} {spoken(info.expires_at)}", f"make one at {KEYS_PAGE}"))
    return told
