"""What is made of the way to OpenRouter, of what each endpoint answered, and of the clock; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.diagnosis import keys as judged_keys
from openrouter_usage.diagnosis.finding import Finding, Level, note, of_error, ok, warning
from openrouter_usage.diagnosis.keys import FoundKey
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.period import NOTABLE_SKEW_S, clock_off

AREA = "network"
SLOW_MS = 3_000
# New, or not for everybody: the figures do without it.
OPTIONAL = ("GET /analytics/meta",)


class Surroundings(NamedTuple):
    """The way to OpenRouter: its address, the hosts of proxies, and the certificates that are trusted."""

    base_url: str
    host: str
    is_default: bool
    is_loopback: bool
    proxies: tuple[str, ...] = ()
    ca_bundle: str = ""
    ca_error: OpenRouterUsageError | None = None


class Asked(NamedTuple):
    """One question and how it ended: the status, or the error that came instead; in milliseconds."""

    endpoint: str
    key: FoundKey | None = None
    ms: int | None = None
    status: int | None = None
    error: OpenRouterUsageError | None = None
    ahead_s: float | None = None
    info: KeyInfo | None = None
    unasked: str = ""


def way(found: Surroundings, words: Words) -> list[Finding]:
    """Judge the way to OpenRouter."""
    told = []
    if found.is_default:
        told.append(ok(AREA, f"OpenRouter is asked at {found.base_url}"))
    else:
        where = words.host(found.host) if words.is_shared else found.base_url
        here = ", which is this machine" if found.is_loopback else ""
        remedy = "unset OPENROUTER_BASE_URL unless you meant it"
        told.append(note(AREA, f"OpenRouter is asked at {where}{here}, by OPENROUTER_BASE_URL", remedy))
    for proxy in found.proxies:
        told.append(note(AREA, f"requests go through the proxy {words.host(proxy)}", "set NO_PROXY to go without it"))
    if found.ca_bundle:
        told.append(note(AREA, f"certificates are those in {words.path(found.ca_bundle)}, by the environment"))
    if found.ca_error:
        told.append(of_error(AREA, found.ca_error, words))
    return told


def answers(asked: Sequence[Asked], now: datetime, words: Words) -> list[Finding]:
    """Judge what the endpoints answered, what the keys are by that, and how the clock stands."""
    told = [finding for one in asked if one.key and one.info for finding in _kinds(one.key, one.info, now, words)]
    sent = [one for one in asked if not one.unasked]
    if sent and all(one.status is None and one.error for one in sent):
        told += _nobody(sent, words)
    else:
        told += [_answer(one, words) for one in sent]
    for why in dict.fromkeys(one.unasked for one in asked if one.unasked):
        names = ", ".join(one.endpoint for one in asked if one.unasked == why)
        told.append(note(AREA, f"not asked: {names}; {why}"))
    return told + clock(sent)


def _kinds(key: FoundKey, info: KeyInfo, now: datetime, words: Words) -> list[Finding]:
    return judged_keys.kinds(key, info, now, words)


def _nobody(sent: Sequence[Asked], words: Words) -> list[Finding]:
    """Say it once when no endpoint answered."""
    error = sent[0].error
    if error is None:
        return []
    found = of_error(AREA, error, words)
    return [found._replace(text=f"OpenRouter did not answer at all: {found.text}")]


def _answer(one: Asked, words: Words) -> Finding:
    whose = f" with {judged_keys.shown(one.key, words)}" if one.key else ""
    took = f" in {one.ms:,} ms" if one.ms is not None else ""
    if one.error:
        is_missing = one.endpoint in OPTIONAL and one.error.code == "not_found"
        passes = one.error.code == "rate_limited"
        level = Level.NOTE if is_missing else Level.WARNING if passes else Level.PROBLEM
        # A key that is refused is the key's trouble, and told with the keys.
        area = judged_keys.AREA if one.error.code == "unauthorized" else AREA
        found = of_error(area, one.error, words, level)
        return found._replace(text=f"{one.endpoint}{whose}{took}: {found.text}")
    text = f"{one.endpoint}{whose} answered {one.status}{took}"
    if one.ms is not None and one.ms >= SLOW_MS:
        return warning(AREA, f"{text}, which is slow", "check the connection and any proxy; see --timeout")
    return ok(AREA, text)


def clock(asked: Sequence[Asked]) -> list[Finding]:
    """Judge this computer's clock by the answer that was quickest, whose time is the surest."""
    timed = sorted((one.ms or 0, one.ahead_s) for one in asked if one.ahead_s is not None)
    if not timed:
        return []
    ahead_s = timed[0][1] or 0.0
    if abs(ahead_s) < NOTABLE_SKEW_S:
        return [ok("clock", f"this computer's clock is within {max(2, int(abs(ahead_s)) + 1)} s of OpenRouter's")]
    return [
        warning(
            "clock",
            f"{clock_off(ahead_s)}: days may be counted wrongly",
            "set the clock, and let it be kept right (NTP)",
        )
    ]
