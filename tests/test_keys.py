"""cost_tracker.py keys: each key is listed once, with true figures, and none is changed by mistake or by trick."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.cli.cost_tracker import VERBS, verb_parser
from openrouter_usage.jobs import keys as listing
from openrouter_usage.money import dumps
from openrouter_usage.openrouter import management
from tests.booking import Booked, Tracker, TrackerAt
from tests.cases import crossed
from tests.controls import HOSTILE, audited, changes, key_named, managing, official, officially_listed
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, MISSING, Account, Fault, Sandbox, Workspace
from tests.test_hostile_text import TERMINAL, harmless

SECOND = Workspace("5c1d9a77-0b1e-4f6a-8c23-7d90e1f2a3b4", "Lab", "lab")
CHANGING = ("update", "disable", "enable", "delete")
FIELDS = {"update": ("--limit", "5")}


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    return managing(home, sandbox.url)


def many(account: Account, count: int, workspace: Workspace | None = None, first: int = 0) -> None:
    """Add keys with amounts that no rounding would leave as they are."""
    for number in range(first, first + count):
        spent = Decimal(number).scaleb(-9) + Decimal(number) / 8
        account.add_key(
            f"another-key-{number:04d}",
            name=f"key {number:04d}",
            limit=Decimal(50) if number % 3 else None,
            limit_reset=("daily", "weekly", "monthly", None)[number % 4],
            usage=spent + 1,
            usage_monthly=spent,
            usage_weekly=spent / 2,
            usage_daily=spent / 4,
            byok_usage=spent / 5,
            disabled=number % 5 == 0,
            **({"workspace_id": workspace.id} if workspace else {}),
        )


# -- listing ---------------------------------------------------------------------------------------------------------


def test_all_keys_of_all_pages_and_workspaces_are_listed_once_with_their_true_figures(
    tracker: Tracker, account: Account, sandbox: Sandbox
) -> None:
    account.workspaces.append(SECOND)
    many(account, 210)
    many(account, 40, SECOND, first=210)
    ran = tracker("keys", "list", "--json")
    listed = ran.data["keys"]
    theirs = officially_listed(sandbox)
    assert len(listed) == len(theirs) == 251
    assert {key["hash"] for key in listed} == set(theirs)
    assert ran.data["partial"] is False and ran.json["notes"] == []
    for key in listed:
        truth = account.key(key["hash"])
        assert truth
        exact = (truth.usage, truth.usage_daily, truth.usage_weekly, truth.usage_monthly, truth.byok_usage, truth.limit)
        shown = ("usage_usd", "usage_daily_usd", "usage_weekly_usd", "usage_monthly_usd", "byok_usage_usd", "limit_usd")
        assert tuple(key[name] for name in shown) == exact
        spent = truth.spent_in_window() if truth.limit is not None else truth.usage
        assert key["spent_in_window_usd"] == spent
        assert (key["name"], key["label"], key["disabled"]) == (truth.name, truth.label, truth.disabled)
        assert theirs[key["hash"]].name == key["name"]
    assert changes(sandbox) == []


def test_more_workspaces_than_fit_on_a_page_are_all_looked_through(at: TrackerAt, account: Account) -> None:
    account.workspaces += [Workspace(f"5c1d9a77-0b1e-4f6a-8c23-{number:012d}", f"w{number}") for number in range(110)]
    many(account, 1, account.workspaces[-1])
    assert [key["name"] for key in at(None, "keys", "--json").data["keys"]] == ["agent", "key 0000"]


@pytest.mark.parametrize("size", [1, 40, 99])
def test_pages_that_hold_fewer_keys_than_they_used_to_lose_none(size: int, at: TrackerAt, account: Account) -> None:
    account.keys_per_page = size
    many(account, size + 3)
    assert len(at(None, "keys", "--json").data["keys"]) == size + 4


def test_a_page_that_is_always_the_same_does_not_go_on_for_ever(at: TrackerAt, sandbox: Sandbox) -> None:
    record = {"hash": "ab" * 32, "name": "agent", "label": "sk-or-v1-abc...def", "disabled": False}
    sandbox.misbehave("GET /keys", Fault.raw(dumps({"data": [record] * 100}).encode()))
    assert len(at(None, "keys", "--json").data["keys"]) == 1


def test_a_page_that_fails_leaves_a_list_that_says_so(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    many(account, 150)
    sandbox.misbehave("GET /keys", Fault.none(), Fault.status(403, message="Not today"))
    ran = tracker("keys", "--json")
    assert (ran.code, ran.data["partial"], len(ran.data["keys"])) == (0, True, 100)
    assert "Not today" in ran.json["notes"][0]
    sandbox.misbehave("GET /keys", Fault.none(), Fault.status(403, message="Not today"))
    assert "not read: keys of workspace" in tracker("keys").out


def test_a_workspace_that_cannot_be_read_does_not_hide_the_others(
    at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    account.workspaces.insert(0, SECOND)
    sandbox.misbehave("GET /keys", Fault.status(403), times=1)
    ran = at(None, "keys", "--json")
    assert (ran.code, ran.data["partial"], [key["name"] for key in ran.data["keys"]]) == (0, True, ["agent"])


@pytest.mark.parametrize(("status", "is_partial"), [(404, False), (403, True)])
def test_an_account_whose_workspaces_are_not_told_shows_the_default_one(
    status: int, is_partial: bool, at: TrackerAt, sandbox: Sandbox
) -> None:
    sandbox.misbehave("/workspaces", Fault.status(status))
    ran = at(None, "keys", "--json")
    assert (ran.code, ran.data["partial"], len(ran.data["keys"])) == (0, is_partial, 1)


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.status(401), 4), (Fault.html(), 5), (Fault.raw(b'{"data":{}}'), 5), (Fault.status(404), 5)],
)
def test_keys_that_cannot_be_read_at_all_are_an_error(fault: Fault, code: int, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("GET /keys", fault)
    ran = at(None, "keys", "--json")
    assert (ran.code, ran.json["data"]) == (code, None)
    assert ran.error_line


NOW = datetime.now(timezone.utc)
MARKED: list[tuple[dict[str, Any], list[str]]] = [
    ({"limit": Decimal(5), "created_at": NOW}, []),
    ({"created_at": NOW}, ["no limit"]),
    ({"limit": Decimal(5), "created_at": NOW, "disabled": True}, ["disabled"]),
    ({"limit": Decimal(5), "created_at": NOW, "expires_at": NOW - timedelta(days=1)}, ["expired"]),
    ({"limit": Decimal(5), "created_at": NOW, "expires_at": NOW + timedelta(days=8)}, []),
    (
        {"limit": Decimal(5), "created_at": NOW, "expires_at": NOW + timedelta(days=2)},
        [f"expires {NOW + timedelta(days=2):%Y-%m-%d}"],
    ),
    ({"limit": Decimal(5), "created_at": datetime(2026, 1, 5, tzinfo=timezone.utc)}, ["unused since 2026-01-05"]),
    ({"limit": Decimal(5), "last_used_at": NOW - timedelta(days=29)}, []),
    ({"limit": Decimal(5), "last_used_at": datetime(2026, 2, 1, tzinfo=timezone.utc)}, ["unused since 2026-02-01"]),
    ({"limit": Decimal(5), "usage": Decimal(1)}, []),
    ({"disabled": True}, ["disabled", "no limit"]),
]


@pytest.mark.parametrize(("fields", "marks"), MARKED)
def test_uncapped_dormant_expiring_and_disabled_keys_are_marked(
    fields: dict[str, Any], marks: list[str], at: TrackerAt, account: Account
) -> None:
    account.add_key("another-key-0001", name="ci", **fields)
    (_, key) = at(None, "keys", "--json").data["keys"]
    assert key["remarks"] == marks
    (line,) = [line for line in at(None, "keys").out.splitlines() if "ci (" in line]
    assert line.partition(" ⚠ ")[2] == ", ".join(marks)


SPENT: list[tuple[dict[str, Any], str]] = [
    ({}, "$40.00 spent ever, no limit"),
    ({"limit": Decimal(50)}, "$40.00 of $50.00 spent ever"),
    ({"limit": Decimal(50), "limit_reset": "monthly"}, "$30.00 of $50.00 spent this month"),
    ({"limit": Decimal(50), "limit_reset": "weekly"}, "$20.00 of $50.00 spent this week"),
    ({"limit": Decimal(50), "limit_reset": "daily"}, "$10.00 of $50.00 spent today"),
    ({"limit": Decimal(0), "limit_reset": "daily"}, "$10.00 of $0.00 spent today"),
    ({"limit": Decimal(50), "overrides": {"limit_reset": "yearly"}}, "$40.00 of $50.00 spent (yearly)"),
    ({"limit": Decimal(50), "overrides": {"limit_remaining": None}}, "unknown of $50.00 spent ever"),
    ({"overrides": {"usage": None}, "last_used_at": NOW}, "unknown spent ever, no limit"),
    ({"byok_usage": Decimal(3)}, "$40.00 spent ever, no limit + $3.00 BYOK ever"),
]


@pytest.mark.parametrize(("fields", "shown"), SPENT)
def test_what_is_spent_is_what_counts_against_the_limit_in_its_window(
    fields: dict[str, Any], shown: str, at: TrackerAt, account: Account
) -> None:
    spent = {
        "usage": Decimal(40),
        "usage_monthly": Decimal(30),
        "usage_weekly": Decimal(20),
        "usage_daily": Decimal(10),
    }
    account.add_key("another-key-0001", name="ci", **{**spent, **fields})
    label = key_named(account, "ci").label
    assert f"• ci ({label}): {shown}; last use" in at(None, "keys").out


@pytest.mark.parametrize("name", [*HOSTILE, *TERMINAL])
def test_a_hostile_name_is_shown_as_text_on_its_own_line(name: str, at: TrackerAt, account: Account) -> None:
    text = {**HOSTILE, **TERMINAL}[name]
    account.add_key("another-key-0001", name=text, label=text)
    ran = at(None, "keys")
    harmless(ran.out)
    assert len(ran.out.splitlines()) == 3
    assert max(map(len, ran.out.splitlines())) < 1_500
    shown = [key["name"] for key in at(None, "keys", "--json").data["keys"]]
    assert sorted(shown) == sorted(["agent", text])


def test_fields_that_are_missing_are_unknown_and_not_zero(at: TrackerAt, account: Account) -> None:
    gone = dict.fromkeys(
        ("usage", "usage_daily", "limit_remaining", "created_at", "last_used_at", "expires_at"), MISSING
    )
    account.add_key("another-key-0001", name="ci", overrides=gone)
    key = next(key for key in at(None, "keys", "--json").data["keys"] if key["name"] == "ci")
    assert {key[name] for name in ("usage_usd", "usage_daily_usd", "created_at", "last_used_at", "expires_at")} == {
        None
    }


# -- which key may do this -------------------------------------------------------------------------------------------


def test_without_a_management_key_it_is_said_where_to_get_one(tracker: Tracker, sandbox: Sandbox) -> None:
    ran = tracker("keys", env={"OPENROUTER_MGMT_KEY": None})
    assert ran.code == 2
    assert "OPENROUTER_MGMT_KEY" in ran.error_line and "settings/management-keys" in ran.error_line
    assert sandbox.connections == 0


@pytest.mark.parametrize(
    "argv", [("list",), ("disable", "agent", "--yes"), ("create", "--name", "x", "--limit", "1", "--yes")]
)
def test_an_ordinary_key_in_its_place_is_called_that(argv: tuple[str, ...], at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "keys", *argv, env={"OPENROUTER_MGMT_KEY": INFERENCE_KEY})
    assert ran.code == 4
    assert "OPENROUTER_MGMT_KEY holds an ordinary key" in ran.error_line
    assert changes(sandbox) == []


def test_a_management_key_that_is_kept_back_from_a_stranger_is_not_called_missing(at: TrackerAt) -> None:
    ran = at(None, "keys", env={"OPENROUTER_BASE_URL": "https://example.com/v1"})
    assert ran.code == 2
    assert "not sent to example.com" in ran.err and "is not sent to the host of OPENROUTER_BASE_URL" in ran.err


# -- nothing is changed by mistake -----------------------------------------------------------------------------------


UNCONFIRMED = """
create --name ci --limit 5
create --name ci --unlimited
update agent --limit 5
update agent --unlimited
update agent --name new
disable agent
enable agent
delete agent
"""


@pytest.mark.parametrize("command", UNCONFIRMED.strip().splitlines())
def test_without_confirmation_nothing_is_even_asked(command: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "keys", *command.split(), "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "unconfirmed")
    assert "--yes" in ran.error_line
    assert sandbox.connections == 0
    assert audited(at.tracker) == []
    assert ("keys disable" in ran.error_line) is command.startswith("delete")


@pytest.mark.parametrize(("action", "name"), crossed(CHANGING, HOSTILE))
def test_a_hostile_name_matches_nothing_and_changes_nothing(
    name: str, action: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    many(account, 3)
    ran = at(None, "keys", "--yes", *FIELDS.get(action, ()), action, HOSTILE[name])
    assert (ran.code, ran.out, changes(sandbox)) == (2, "", [])
    assert "no key has exactly the name" in ran.error_line
    harmless(ran.error_line)
    assert len(ran.error_line) < 500


WRONG = ["agen", "AGENT", "Agent", " agent", "agent ", "agent\n", "agent,key 0001", "", "key", "key 000", "'agent'"]


@pytest.mark.parametrize(("action", "wanted"), crossed(CHANGING, [*WRONG, "hash[:12]", "HASH", "label", "hash "]))
def test_only_the_exact_name_or_the_whole_hash_will_do(
    wanted: str, action: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    many(account, 3)
    key = key_named(account, "agent")
    forms = {"hash[:12]": key.hash[:12], "HASH": key.hash.upper(), "label": key.label, "hash ": key.hash + " "}
    ran = at(None, "keys", "--yes", *FIELDS.get(action, ()), action, forms.get(wanted, wanted), "--json")
    code = "no_such_key" if wanted else "usage"
    assert (ran.code, ran.json["error"]["code"], changes(sandbox)) == (2, code, [])


@pytest.mark.parametrize("action", CHANGING)
def test_a_name_that_two_keys_have_is_refused_until_the_hash_tells_which(
    action: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    first, second = account.add_key("another-key-0001", name="dup"), account.add_key("another-key-0002", name="dup")
    ran = at(None, "keys", action, "dup", "--yes", *FIELDS.get(action, ()), "--json")
    assert (ran.code, ran.json["error"]["code"], changes(sandbox)) == (2, "ambiguous", [])
    assert first.hash in ran.err and second.hash in ran.err
    assert at(None, "keys", action, second.hash, "--yes", *FIELDS.get(action, ())).code == 0
    assert [change.partition(" ")[2] for change in changes(sandbox)] == [f"/keys/{second.hash}"]


def test_a_name_is_not_taken_for_the_only_one_while_keys_cannot_be_read(
    tracker: Tracker, account: Account, sandbox: Sandbox
) -> None:
    many(account, 150)
    key = key_named(account, "key 0001")
    for wanted, code in ((key.name, 2), (key.hash, 0)):
        sandbox.misbehave("GET /keys", Fault.none(), Fault.status(403))
        assert tracker("keys", "disable", wanted, "--yes").code == code
    assert changes(sandbox) == [f"PATCH /keys/{key.hash}"]


@pytest.mark.parametrize("action", CHANGING)
def test_a_name_that_is_another_keys_hash_is_ambiguous(
    action: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    target = key_named(account, "agent")
    trap = account.add_key("another-key-0001", name=target.hash)
    assert at(None, "keys", action, target.hash, "--yes", *FIELDS.get(action, ())).code == 2
    assert changes(sandbox) == []
    assert at(None, "keys", action, trap.hash, "--yes", *FIELDS.get(action, ())).code == 0
    assert not target.disabled and not target.deleted and target.limit is None


@pytest.mark.parametrize("action", CHANGING)
def test_a_management_key_is_no_target(action: str, at: TrackerAt, account: Account, sandbox: Sandbox) -> None:
    own = account.key(MANAGEMENT_KEY)
    assert own
    for wanted in (own.name, own.hash):
        assert at(None, "keys", action, wanted, "--yes", *FIELDS.get(action, ())).code == 2
    assert changes(sandbox) == []


@pytest.mark.parametrize(
    "hash_of_it", ["../../credits", "..", "a/b", "", "%2e%2e", "a?b=c", "a#b", "x" * 200, "ab\r\nX: y"]
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_hash_that_would_lead_elsewhere_is_not_followed(
    hash_of_it: str, dry: tuple[str, ...], at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    account.add_key("another-key-0001", name="ci", overrides={"hash": hash_of_it})
    ran = at(None, "keys", "delete", "ci", "--yes", *dry)
    assert (ran.code, ran.out, changes(sandbox)) == (5, "", [])
    assert {request.path for request in sandbox.received()} == {"/workspaces", "/keys"}


STRANGE = """
list agent
list --name x
list --limit 5
disable agent --limit 0
disable agent --limit-reset daily
enable agent --limit 5
enable agent --unlimited
delete agent --name x
delete agent --secret-file x
delete agent other
update agent
update agent --limit 5 --expires 2099-01-01
update agent --limit 5 --secret-file x
update agent --unlimited --limit 5
update
disable
delete
enable
remove agent
create
create --name ci
create --limit 5
create ci --limit 5
create ci --name ci --limit 5
create --nmae ci --limit 5
create --name ci --limit-reset daily
create --name ci --limit 5 --unlimited
create --name ci --unlimited --limit-reset daily
create --name ci --limit 5 --limit-reset yearly
create --name ci --limit 5 --expires 2020-01-01
create --name ci --limit 5 --expires 2027
create --name ci --limit 5 --expires 2027-02-30
create --name ci --limit 5 --expires 2027-01-01T12:00
"""


@pytest.mark.parametrize("command", STRANGE.strip().splitlines())
def test_what_an_action_does_not_take_is_refused_and_not_left_out(
    command: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    ran = at(None, "keys", *command.split(), "--yes", "--json")
    assert (ran.code, ran.json["error"]["code"], sandbox.connections) == (2, "usage", 0)


NO_AMOUNTS = ["-1", "-0.01", "nan", "inf", "-inf", "1e12", "1e999", "1,5", "$5", "٣", "0x10", "", "5 5", "9" * 90]
NO_NAMES = ["\x1b[2J", "a\nb", "x" * 101, " ", "", "\u202ea", "ab" * 32, "sk-or-" + "v1-" + "0a" * 32, "\ud800"]


@pytest.mark.parametrize("amount", NO_AMOUNTS)
@pytest.mark.parametrize("argv", [("create", "--name", "ci"), ("update", "agent")], ids=lambda argv: argv[0])
def test_a_limit_that_is_no_amount_is_refused(
    argv: tuple[str, ...], amount: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    ran = at(None, "keys", *argv, f"--limit={amount}", "--yes")
    assert (ran.code, sandbox.connections) == (2, 0)
    harmless(ran.error_line)


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("argv", [("create", "--limit", "5"), ("update", "agent")], ids=lambda argv: argv[0])
def test_a_name_that_could_not_be_typed_or_told_apart_is_not_given(
    argv: tuple[str, ...], name: str, at: TrackerAt, sandbox: Sandbox
) -> None:
    ran = at(None, "keys", *argv, "--yes", "--name", name)
    assert (ran.code, sandbox.connections) == (2, 0)
    harmless(ran.error_line)
    assert "0a0a0a" not in ran.err


def test_a_key_itself_given_as_a_name_is_not_repeated(at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, "keys", "disable", "sk-or-" + "v1-" + "0a" * 32, "--yes", "--json")
    assert (ran.code, sandbox.connections) == (2, 0)
    assert "0a0a" not in ran.err + ran.out


@pytest.mark.parametrize("taken", ["agent", "hash"])
@pytest.mark.parametrize("argv", [("create", "--limit", "5"), ("update", "ci")], ids=lambda argv: argv[0])
def test_a_name_or_hash_that_is_taken_is_not_given_again(
    argv: tuple[str, ...], taken: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    account.add_key("another-key-0001", name="ci")
    account.add_key("another-key-0002", name="odd", overrides={"hash": "odd-hash"})
    ran = at(None, "keys", *argv, "--yes", "--name", {"agent": "agent", "hash": "odd-hash"}[taken], "--json")
    assert (ran.code, ran.json["error"]["code"], changes(sandbox)) == (2, "exists", [])
    assert "keys disable" in ran.err


def test_a_key_that_is_not_understood_hides_no_other_and_is_named(
    at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    account.add_key("another-key-0001", name="odd", overrides={"limit": "much"})
    many(account, 2)
    ran = at(None, "keys", "--json")
    assert ([key["name"] for key in ran.data["keys"]], ran.data["partial"]) == (["agent", "key 0000", "key 0001"], True)
    assert "field limit" in ran.json["notes"][0]
    # Its name may be this one, too.
    assert at(None, "keys", "disable", "key 0000", "--yes").code == 2
    assert at(None, "keys", "disable", key_named(account, "key 0000").hash, "--yes").code == 0


# -- dry runs --------------------------------------------------------------------------------------------------------


DRY: list[tuple[str, str, Any]] = [
    (
        "create --name ci --limit 1.50 --limit-reset daily",
        "POST",
        {"name": "ci", "limit": Decimal("1.5"), "limit_reset": "daily"},
    ),
    (
        "create --name ci --unlimited --expires 2099-01-01",
        "POST",
        {"name": "ci", "limit": None, "limit_reset": None, "expires_at": "2099-01-01T00:00:00Z"},
    ),
    ("update agent --limit 0 --limit-reset never", "PATCH", {"limit": 0, "limit_reset": None}),
    ("update agent --name new", "PATCH", {"name": "new"}),
    ("disable agent", "PATCH", {"disabled": True}),
    ("enable agent", "PATCH", {"disabled": False}),
    ("delete agent", "DELETE", None),
]


@pytest.mark.parametrize("yes", [(), ("--yes",)])
@pytest.mark.parametrize(("command", "method", "body"), DRY)
def test_a_dry_run_shows_the_request_and_sends_nothing(
    command: str, method: str, body: Any, yes: tuple[str, ...], at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    argv = ("keys", *command.split(), "--dry-run", *yes)
    ran = at(None, *argv, "--json")
    path = "/keys" if method == "POST" else f"/keys/{key_named(account, 'agent').hash}"
    assert (ran.code, ran.data["dry_run"]) == (0, True)
    assert ran.data["request"] == {"method": method, "path": path, "body": body}
    assert at(None, *argv).out.startswith(f"would send {method} {path} ")
    assert changes(sandbox) == [] and audited(at.tracker) == []
    assert not (at.tracker.folder / "keys").exists()


# -- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["keys", "cap", "credits", "models", "what-if", "alert"])
def test_every_verb_tells_an_example_and_its_exit_codes(verb: str, at: TrackerAt, sandbox: Sandbox) -> None:
    assert verb in VERBS
    told = verb_parser(verb).format_help()
    assert f"\nexamples:\n  cost_tracker.py {verb}" in told
    assert "exit codes:" in told and "130 interrupted" in told


def test_help_is_printed_without_asking_anybody(tracker: Tracker, sandbox: Sandbox) -> None:
    ran: Booked = tracker("keys", "--help", env={"OPENROUTER_API_KEY": None, "OPENROUTER_MGMT_KEY": None})
    assert (ran.code, ran.err, sandbox.connections) == (0, "", 0)
    assert "without --yes nothing is changed" in ran.out


def test_openrouters_own_client_sees_what_was_changed(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    key = key_named(account, "agent")
    for argv in (("--limit", "0.1", "--limit-reset", "weekly"), ("--name", "Agent No. 2")):
        assert tracker("keys", "update", key.hash, *argv, "--yes").code == 0
    assert tracker("keys", "disable", "Agent No. 2", "--yes").code == 0
    theirs = official(sandbox).api_keys.get(hash=key.hash).data
    assert (theirs.name, theirs.disabled, theirs.limit, theirs.limit_reset) == ("Agent No. 2", True, 0.1, "weekly")
    assert tracker("keys", "enable", "Agent No. 2", "--yes").code == 0
    assert tracker("keys", "update", "Agent No. 2", "--unlimited", "--yes").code == 0
    theirs = official(sandbox).api_keys.get(hash=key.hash).data
    assert (theirs.disabled, theirs.limit, theirs.limit_reset) == (False, None, None)
    assert tracker("keys", "delete", "Agent No. 2", "--yes").code == 0
    assert officially_listed(sandbox) == {}


# -- a list that was cut ---------------------------------------------------------------------------------------------


def test_a_list_that_ends_at_the_cap_is_partial(
    at: TrackerAt, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the last page that is read another key may have the same name; the cap itself is a thousand pages."""
    assert listing.MOST_PAGES == 1_000
    monkeypatch.setattr(listing, "MOST_PAGES", 50)
    account.keys_per_page = 1
    many(account, 50)
    ran = at(None, "keys", "list", "--json")
    assert ran.code == 0 and ran.data["partial"] is True and len(ran.data["keys"]) == 50
    assert "more than 50 pages" in ran.json["notes"][0] and ran.data["left_out"] == 1


@pytest.fixture
def cut(at: TrackerAt, account: Account, monkeypatch: pytest.MonkeyPatch) -> TrackerAt:
    """An account of which three pages of keys are read, and two more are there."""
    monkeypatch.setattr(listing, "MOST_PAGES", 3)
    account.keys_per_page = 1
    many(account, 4)
    return at


@pytest.mark.parametrize("action", CHANGING)
def test_what_is_not_all_read_is_changed_by_hash_only(
    action: str, cut: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    ran = cut(None, "keys", action, "key 0000", *FIELDS.get(action, ()), "--yes")
    assert ran.code == 2 and "another key may be named" in ran.err and "more than 3 pages" in ran.err
    assert changes(sandbox) == []
    ran = cut(None, "keys", action, key_named(account, "key 0000").hash, *FIELDS.get(action, ()), "--yes")
    assert ran.code == 0 and len(changes(sandbox)) == 1


def test_what_is_not_all_read_gets_no_name_that_may_be_taken(
    cut: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    """Neither a new key nor a renamed one."""
    found = key_named(account, "key 0000").hash
    for argv in (
        ("keys", "create", "--name", "new", "--limit", "1", "--yes"),
        ("keys", "update", found, "--name", "new", "--yes"),
    ):
        ran = cut(None, *argv)
        assert ran.code == 5 and "is not known" in ran.err
    ran = cut(None, "cap", "--limit", "5", "--yes")
    assert ran.code == 2
    assert changes(sandbox) == []
    assert "⚠ not read: more than 3 pages of keys" in cut(None, "keys").out


def test_workspaces_beyond_the_cap_are_named(
    at: TrackerAt, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management, "_MOST_WORKSPACES", 100)
    account.workspaces += [Workspace(f"5c1d9a77-0b1e-4f6a-8c23-{number:012d}", f"w{number}") for number in range(110)]
    ran = at(None, "keys", "--json")
    assert ran.data["partial"] is True and "workspaces" in ran.json["notes"][0]
