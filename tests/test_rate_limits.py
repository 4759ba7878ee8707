"""A 429 that no short wait can end is not sent again, and says in UTC when it ends; any other is sent as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker
from tests.calling import HELLO
from tests.controls import managing
from tests.running import Stats
from tests.sandbox import Fault, Sandbox
from tests.storm.audit import audit

CHAT = "/chat/completions"
PER_DAY = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
PER_MINUTE = "Rate limit exceeded: free-models-per-min."
BOTH = pytest.mark.parametrize("stream", [(), ("--stream",)], ids=["whole", "stream"])


def midnight() -> datetime:
    now = datetime.now(timezone.utc)
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def limits(resets_at: datetime, unit: int = 1000) -> dict[str, str]:
    stamp = str(int(resets_at.timestamp() * unit))
    return {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": stamp}


def in_headers(resets_at: datetime, message: str = PER_DAY) -> Fault:
    return Fault.status(429, message=message, headers=limits(resets_at))


def in_body(resets_at: datetime, message: str = PER_DAY) -> Fault:
    return Fault.status(429, message=message, metadata={"headers": limits(resets_at)})


def in_lower_case(resets_at: datetime) -> Fault:
    return Fault.status(429, headers={name.lower(): value for name, value in limits(resets_at).items()})


def in_seconds(resets_at: datetime) -> Fault:
    return Fault.status(429, headers=limits(resets_at, 1))


def with_a_short_wait(resets_at: datetime) -> Fault:
    return Fault.status(429, message=PER_DAY, headers={**limits(resets_at), "Retry-After": "0"})


def without_a_reset(resets_at: datetime) -> Fault:
    return Fault.status(429, message=PER_DAY)


def by_model(resets_at: datetime) -> Fault:
    return Fault.status(429, message="Rate limit exceeded: limit_rpd/google/gemini-2.5-pro/1f2e")


def unreadable(resets_at: datetime) -> Fault:
    return Fault.status(429, message=PER_DAY, headers={"X-RateLimit-Reset": "soon"}, metadata={"headers": ["x"]})


FAR = [in_headers, in_body, in_lower_case, in_seconds, with_a_short_wait, without_a_reset, by_model, unreadable]


@BOTH
@pytest.mark.parametrize("fault", FAR, ids=lambda fault: fault.__name__)
def test_a_limit_of_the_day_is_asked_once_and_its_end_is_told(
    fault: Callable[[datetime], Fault], stream: Any, home: Path, sandbox: Sandbox
) -> None:
    """Whatever tells of the reset: no wait of seconds would help, and the call cost nothing."""
    resets_at = midnight()
    sandbox.misbehave(CHAT, fault(resets_at))
    tracker = Tracker(home, sandbox.url)
    ran = tracker("call", *HELLO, *stream)
    assert ran.code == 5
    assert sandbox.calls(CHAT) == 1
    told = f"the limit resets {resets_at:%Y-%m-%d} UTC"
    assert told in ran.error_line
    assert "wait a minute" not in ran.err and "may have been billed" not in ran.err
    assert audit(tracker.ledger).held == {}


def test_json_tells_the_reset_too(home: Path, sandbox: Sandbox) -> None:
    """The envelope has the same words, and the code by which a program knows a rate limit."""
    sandbox.misbehave(CHAT, in_body(midnight()))
    error = Tracker(home, sandbox.url)("call", *HELLO, "--json").json["error"]
    assert error["code"] == "rate_limited"
    assert f"resets {midnight():%Y-%m-%d} UTC" in error["message"]


@pytest.mark.parametrize("seconds", [45, 3600, 86_400 * 20])
def test_any_reset_beyond_the_patience_of_a_retry_is_told_at_once(seconds: int, home: Path, sandbox: Sandbox) -> None:
    """A minute's limit that ends in 45 s is one as well; the minute is named, in UTC."""
    resets_at = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    sandbox.misbehave(CHAT, in_headers(resets_at, PER_MINUTE))
    ran = Tracker(home, sandbox.url)("call", *HELLO)
    assert sandbox.calls(CHAT) == 1
    assert f"the limit resets {resets_at:%Y-%m-%d %H:%M} UTC" in ran.err


@pytest.mark.parametrize("path", ["/key", "/credits", "/activity"])
def test_figures_are_not_asked_for_again_either(path: str, stats: Stats, sandbox: Sandbox) -> None:
    """Every request obeys, and what else is known is shown."""
    sandbox.misbehave(path, in_headers(midnight(), "Rate limit exceeded"))
    ran = stats("--json", mgmt=managing(stats.home, sandbox.url).env["OPENROUTER_MGMT_KEY"])
    assert ran.code == 0
    assert sandbox.calls(path) == 1
    (gap,) = [gap for gap in ran.data["missing"] if gap["code"] == "rate_limited"]
    assert f"resets {midnight():%Y-%m-%d} UTC" in gap["message"]


def test_keys_and_checks_tell_the_reset_as_well(home: Path, sandbox: Sandbox) -> None:
    """Also what changes something, and what `doctor` finds."""
    sandbox.misbehave("*", in_headers(midnight()))
    tracker = managing(home, sandbox.url)
    for argv in (("keys", "list"), ("doctor",), ("query", "--id", "gen-1")):
        ran = tracker(*argv)
        assert f"resets {midnight():%Y-%m-%d} UTC" in ran.out + ran.err, argv


TRANSIENT = {
    "no reset": Fault.status(429),
    "at once": Fault.status(429, headers={"Retry-After": "0"}),
    "provider": Fault.status(429, message="Provider returned error", metadata={"raw": "slow down"}),
    "reset that is past": Fault.status(429, headers={"X-RateLimit-Reset": "1741305600000"}),
    "nonsense": Fault.status(429, headers={"X-RateLimit-Reset": "-5"}),
    "too many digits": Fault.status(429, headers={"X-RateLimit-Reset": "9" * 40}),
    "page": Fault.status(429, "html"),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_limit_that_passes_is_sent_again_as_before(name: str, home: Path, sandbox: Sandbox) -> None:
    """Three tries in all, and the advice to wait."""
    sandbox.misbehave(CHAT, TRANSIENT[name])
    ran = Tracker(home, sandbox.url)("call", *HELLO)
    assert (ran.code, sandbox.calls(CHAT)) == (5, 3)
    assert json.dumps("wait a minute")[1:-1] in ran.err or "after the reset" in ran.err


def test_a_reset_that_is_near_is_waited_for(home: Path, sandbox: Sandbox) -> None:
    """The call goes through when the window is over, and not before."""
    sandbox.misbehave(CHAT, in_headers(datetime.now(timezone.utc) + timedelta(seconds=3), PER_MINUTE), times=1)
    assert Tracker(home, sandbox.url)("call", *HELLO).code == 0
    assert sandbox.calls(CHAT) == 2
