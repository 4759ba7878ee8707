"""What is kept of one address is never used for another, nor what anybody else may have written."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.booking import Tracker, call
from tests.calling import BUDGET, HELLO
from tests.controls import managing
from tests.running import Stats
from tests.sandbox import MANAGEMENT_KEY, Account, Model, Reply, Sandbox, Unreachable
from tests.storm.audit import audit

MODEL = "openai/gpt-5.2"
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")


def dear_and_cheap() -> tuple[Sandbox, Sandbox]:
    """Two addresses with other prices for the same model."""
    cheap = Account.simple()
    cheap.models = [Model(MODEL, "0.000000000001", "0.00000000001", "0.00000000000001")]
    return Sandbox(Account.simple()), Sandbox(cheap)


# -- prices ----------------------------------------------------------------------------------------------------------


def test_a_call_is_never_bounded_by_the_prices_of_another_address(home: Path) -> None:
    """Prices of a cheap address would hold next to nothing for a call that is billed in full."""
    dear, cheap = dear_and_cheap()
    with dear, cheap:
        there, here = Tracker(home, cheap.url), Tracker(home, dear.url)
        assert there("models", "gpt").code == 0
        dear.account.reply = Reply("Yes.", prompt_tokens=20, completion_tokens=10, cost=Decimal("0.000138"))
        ran = here("call", *HELLO, "--json", env=BUDGET)
        assert ran.code == 0, ran.err
        assert ran.data["limits"]["held_usd"] > Decimal("0.01")
        assert dear.calls("/models") == 1
        # Nor are the dear ones kept for the cheap address.
        assert Decimal(0) < there("call", *HELLO, "--json", env=BUDGET).data["limits"]["held_usd"] < Decimal("0.0001")


@pytest.mark.parametrize("verb", ["models", "what-if"])
def test_listed_prices_are_those_of_the_address_that_is_asked(verb: str, home: Path) -> None:
    """Every reader of the price list asks whose it is."""
    dear, cheap = dear_and_cheap()
    argv = ("models", "gpt-5.2") if verb == "models" else ("what-if", "--model", MODEL)
    with dear, cheap:
        here, there = Tracker(home, dear.url), Tracker(home, cheap.url)
        here.write(call())
        assert here(*argv).code == 0
        kept = here(*argv).out
        assert there(*argv).out != kept
        assert here(*argv).out.splitlines()[0] == kept.splitlines()[0]


@pytest.mark.parametrize("source", [None, "https://openrouter.ai/api/v1", 7, "", ["x"]], ids=repr)
def test_a_price_list_that_does_not_say_where_it_is_from_is_asked_for_again(
    source: Any, home: Path, sandbox: Sandbox
) -> None:
    """Lists of older versions have no address in them."""
    tracker = Tracker(home, sandbox.url)
    assert tracker("models").code == 0
    path = tracker.folder / "cache" / "models.json"
    kept = json.loads(path.read_text())
    if source is None:
        del kept["source"]
    else:
        kept["source"] = source
    path.write_text(json.dumps(kept))
    assert tracker("models").code == 0
    assert sandbox.calls("/models") == 2


def test_no_price_list_of_another_address_stands_in_for_one_that_cannot_be_had(home: Path, sandbox: Sandbox) -> None:
    """Offline, the prices of elsewhere are as unknown as any."""
    Tracker(home, sandbox.url)("models")
    with Unreachable() as nobody:
        tracker = Tracker(home, nobody.url)
        assert tracker("models").code == 5
        ran = tracker("call", *HELLO, env=BUDGET)
    assert ran.code == 5
    assert not tracker.ledger.exists() or audit(tracker.ledger).held == {}


# -- answers ---------------------------------------------------------------------------------------------------------


def test_kept_answers_are_those_of_the_address_that_is_asked(home: Path, sandbox: Sandbox) -> None:
    """A snapshot under the right name with another address in it is not shown."""
    stats = Stats(home, sandbox.url)
    sandbox.account.keys[0].usage_daily = Decimal("1.25")
    sandbox.account.keys[0].usage_weekly = sandbox.account.keys[0].usage_monthly = Decimal("1.25")
    sandbox.account.keys[0].usage = Decimal("1.25")
    assert "$1.25" in stats().out
    (kept,) = (home / ".openrouter" / "cache").glob("summary-*.json")
    before = sandbox.calls("/key")
    assert "$1.25" in stats("--max-age", "600").out and sandbox.calls("/key") == before
    for changed in ({"source": "https://openrouter.ai/api/v1"}, {"source": None}):
        kept.write_text(json.dumps({**json.loads(kept.read_text()), **changed}))
        assert stats("--max-age", "600").code == 0
        before += 1
        assert sandbox.calls("/key") == before


def test_the_archive_keeps_addresses_apart(home: Path) -> None:
    """Days of a stand-in that calls its account by the same id are another account's."""
    with Sandbox(Account.simple()) as one, Sandbox(Account.simple()) as other:
        for each in (one, other):
            each.account.add_activity(MODEL, days_ago=1, usage=Decimal(1))
            for key in each.account.keys:
                key.creator_user_id, key.organization_id = "user_1", "org_1"
        first = managing(home, one.url)("sync", "--json")
        assert first.code == 0, first.err
        assert managing(home, one.url)("sync", "--json").data["account"] == first.data["account"]
        ran = managing(home, other.url)("sync")
        assert ran.code == 2 and "another account" in ran.err


# -- files that others can write -------------------------------------------------------------------------------------


def make_foreign(path: Path) -> None:
    os.chown(path, 12345, 12345)


def make_writable(path: Path) -> None:
    path.chmod(0o666)


def make_group_writable(path: Path) -> None:
    path.chmod(0o620)


WAYS = [
    pytest.param(make_foreign, "belongs to another user", marks=needs_root, id="foreign"),
    pytest.param(make_writable, "others can change it", id="writable"),
    pytest.param(make_group_writable, "others can change it", id="group"),
]
AS_THEY_ARE = pytest.mark.parametrize(("spoil", "why"), WAYS)


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


@AS_THEY_ARE
def test_settings_of_somebody_else_are_not_used(
    spoil: Callable[[Path], None], why: str, tracker: Tracker, sandbox: Sandbox
) -> None:
    """A budget in them may have been raised, or a webhook put in: nothing is sent."""
    tracker("budget", "set", "--daily", "1000000")
    spoil(tracker.folder / "settings.json")
    before = (tracker.folder / "settings.json").read_bytes()
    for argv in (("call", *HELLO), ("budget",), ("budget", "set", "--daily", "5"), ("alert", "--daily-limit", "1")):
        ran = tracker(*argv)
        assert ran.code == 2 and why in ran.error_line, argv
    assert sandbox.calls("/chat/completions") == 0
    assert (tracker.folder / "settings.json").read_bytes() == before


@AS_THEY_ARE
def test_an_index_of_somebody_else_is_made_anew_from_the_ledger(
    spoil: Callable[[Path], None], why: str, tracker: Tracker
) -> None:
    """What is spent is summed again, and the index is one's own afterwards."""
    tracker.write(call(cost="0.5"))
    assert tracker("stats", "--json").data["total"]["cost_usd"] == Decimal("0.5")
    index = tracker.folder / "usage.jsonl.index"
    spoil(index)
    ran = tracker("stats", "--json")
    assert ran.data["total"]["cost_usd"] == Decimal("0.5")
    tracker("budget", "set", "--daily", "100")
    ran = tracker("call", *HELLO)
    assert ran.code == 0
    status = index.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.geteuid(), 0o600)


@AS_THEY_ARE
def test_marks_of_somebody_else_keep_no_alert_back(
    spoil: Callable[[Path], None], why: str, tracker: Tracker, sandbox: Sandbox
) -> None:
    """Whoever may write what has been told could keep every alert from being told."""
    sandbox.account.add_activity(MODEL, days_ago=0, usage=Decimal(9))
    assert tracker("alert", "--daily-limit", "10").code == 3
    spoil(tracker.folder / "alerts.json")
    ran = tracker("alert")
    assert ran.code == 2 and why in ran.error_line


@AS_THEY_ARE
def test_a_cache_of_somebody_else_is_asked_for_again(
    spoil: Callable[[Path], None], why: str, tracker: Tracker, sandbox: Sandbox, home: Path
) -> None:
    """Prices and answers are OpenRouter's, or they are not used."""
    stats = Stats(home, sandbox.url)
    tracker("models")
    stats(mgmt=MANAGEMENT_KEY)
    for path in (tracker.folder / "cache").iterdir():
        spoil(path)
    tracker("models")
    stats("--max-age", "600", mgmt=MANAGEMENT_KEY)
    assert (sandbox.calls("/models"), sandbox.calls("/credits")) == (2, 2)
    assert {path.stat().st_mode & 0o777 for path in (tracker.folder / "cache").iterdir()} == {0o600}


@AS_THEY_ARE
def test_an_archive_of_somebody_else_is_not_used(
    spoil: Callable[[Path], None], why: str, tracker: Tracker, sandbox: Sandbox
) -> None:
    """Days that somebody else may have written are nobody's spend."""
    sandbox.account.add_activity(MODEL, days_ago=1, usage=Decimal(1))
    assert tracker("sync").code == 0
    spoil(tracker.folder / "activity.jsonl")
    for argv in (("sync",), ("stats", "--source", "account")):
        ran = tracker(*argv)
        assert ran.code == 6 and why in ran.error_line


@AS_THEY_ARE
def test_nothing_is_changed_that_cannot_be_noted_in_a_file_of_one_s_own(
    spoil: Callable[[Path], None], why: str, tracker: Tracker, sandbox: Sandbox
) -> None:
    """Notes that others can change prove nothing."""
    assert tracker("keys", "create", "--name", "one", "--limit", "1", "--yes").code == 0
    spoil(tracker.folder / "audit.jsonl")
    ran = tracker("keys", "create", "--name", "two", "--limit", "1", "--yes")
    assert ran.code == 6 and why in ran.error_line
    assert [key.name for key in sandbox.account.keys if key.name == "two"] == []


def test_a_ledger_that_a_group_may_append_to_is_used(tracker: Tracker) -> None:
    """Any program may write the ledger: it has no marks that only this program makes."""
    tracker.write(call())
    tracker.ledger.chmod(0o664)
    assert tracker("stats", "--json").data["total"]["requests"] == 1
