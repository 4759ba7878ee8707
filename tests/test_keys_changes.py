"""cost_tracker.py keys: a secret lies in one file, a change is sent once, and a lost answer is not taken for a no."""

from __future__ import annotations

import signal
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from tests.booking import Booked, Tracker, TrackerAt
from tests.cases import crossed
from tests.controls import audited, changes, key_named, managing, officially_listed, outcomes
from tests.running import contents
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox

CREATE = ("keys", "create", "--name", "ci", "--limit", "50", "--limit-reset", "monthly", "--yes")
TIMEOUT = ("--timeout", "1")


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox) -> Tracker:
    temporary = home / "tmp"
    temporary.mkdir()
    return managing(home, sandbox.url, TMPDIR=str(temporary))


def secrets_of(account: Account) -> list[str]:
    """The secrets of every key that was created."""
    return [key.secret for key in account.keys if key.secret not in (INFERENCE_KEY, MANAGEMENT_KEY)]


def files_with(home: Path, secret: str) -> list[Path]:
    """The files below a folder that a secret is in."""
    return [path for path, data in contents(home).items() if secret.encode() in data]


def assert_untold(ran: Booked, account: Account) -> None:
    """No secret was printed, in whole or in its telling part."""
    for secret in secrets_of(account):
        assert secret not in ran.out + ran.err and secret[12:] not in ran.out + ran.err


# -- creating --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("face", [(), ("--json",)])
def test_a_new_secret_is_in_exactly_one_file_that_only_its_owner_reads(
    face: tuple[str, ...], umask: int, tracker: Tracker, account: Account, sandbox: Sandbox
) -> None:
    ran = tracker(*CREATE, *face, umask=umask)
    assert ran.code == 0, ran.err
    (secret,) = secrets_of(account)
    assert_untold(ran, account)
    (file,) = files_with(tracker.home, secret)
    assert file == tracker.folder / "keys" / "ci.env"
    assert file.read_text() == f"OPENROUTER_API_KEY={secret}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    assert str(file) in ran.out
    assert outcomes(tracker) == [("create", "asked"), ("create", "done")]
    assert changes(sandbox) == ["POST /keys"]


def test_a_new_key_is_what_was_asked_for_and_works(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    assert tracker(*CREATE, "--expires", "2099-01-01").code == 0
    key = key_named(account, "ci")
    assert (key.limit, key.limit_reset, f"{key.expires_at:%Y-%m-%d %H:%M}") == (50, "monthly", "2099-01-01 00:00")
    assert officially_listed(sandbox)[key.hash].limit == 50
    file = tracker.folder / "keys" / "ci.env"
    secret = file.read_text().strip().partition("=")[2]
    answer = requests.get(f"{sandbox.url}/key", headers={"Authorization": f"Bearer {secret}"}, timeout=30)
    assert answer.json()["data"]["label"] == key.label
    (asked, done) = audited(tracker)
    assert (asked["hash"], done["hash"], done["fields"]["limit"]) == (None, key.hash, 50)


def test_the_file_of_a_new_key_can_be_named(tracker: Tracker, account: Account) -> None:
    file = tracker.home / "elsewhere" / "prod.env"
    assert tracker(*CREATE, "--secret-file", str(file)).code == 0
    assert files_with(tracker.home, *secrets_of(account)) == [file]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../../.bashrc", "bashrc.env"),
        ("a/b\\c:d", "a-b-c-d.env"),
        ('"; delete all', "delete-all.env"),
        ("...", "key.env"),
        ("ключ", "key.env"),
        ("x" * 100, "x" * 80 + ".env"),
    ],
)
def test_a_name_makes_no_path(name: str, file: str, at: TrackerAt, account: Account) -> None:
    assert at(None, "keys", "create", "--limit", "5", "--yes", "--name", name).code == 0
    assert files_with(at.tracker.home, *secrets_of(account)) == [at.tracker.folder / "keys" / file]
    assert key_named(account, name).limit == 5


def _exists(tracker: Tracker, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("mine")


def _leads_to(place: str) -> Callable[[Tracker, Path], None]:
    def spoil(tracker: Tracker, file: Path) -> None:
        file.parent.mkdir(parents=True)
        file.symlink_to(tracker.home / place)

    return spoil


def _folder_leads_elsewhere(tracker: Tracker, file: Path) -> None:
    (tracker.home / "shared").mkdir()
    tracker.folder.mkdir()
    file.parent.symlink_to(tracker.home / "shared")


def _folder_is_a_file(tracker: Tracker, file: Path) -> None:
    tracker.folder.mkdir()
    file.parent.write_text("")


def _is_a_folder(tracker: Tracker, file: Path) -> None:
    file.mkdir(parents=True)


SPOILT = [_exists, _leads_to("nowhere"), _leads_to("tmp"), _folder_leads_elsewhere, _folder_is_a_file, _is_a_folder]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__qualname__.strip("_"))
def test_no_key_is_created_whose_secret_has_no_place(
    spoil: Callable[[Tracker, Path], None], at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    file = at.tracker.folder / "keys" / "ci.env"
    spoil(at.tracker, file)
    before = contents(at.tracker.home)
    ran = at(None, *CREATE)
    assert (ran.code, changes(sandbox)) == (2, [])
    assert "--secret-file" in ran.error_line
    assert contents(at.tracker.home) == before


@pytest.mark.parametrize("file", ["/proc/nowhere/ci.env", "/dev/full", "/", "x" * 300, "."])
def test_no_key_is_created_for_a_file_that_cannot_be_made(file: str, at: TrackerAt, sandbox: Sandbox) -> None:
    ran = at(None, *CREATE, "--secret-file", file)
    assert (ran.code, changes(sandbox)) == (2, [])
    assert ran.error_line


@pytest.mark.parametrize("room", [0, 500])
def test_no_key_is_created_on_a_full_disk(room: int, tracker: Tracker, sandbox: Sandbox) -> None:
    ran = tracker(*CREATE, room=room)
    assert (ran.code, changes(sandbox)) == (2, [])
    assert ran.error_line
    assert not (tracker.folder / "keys" / "ci.env").exists()


def test_no_change_is_sent_that_cannot_be_noted(at: TrackerAt, sandbox: Sandbox) -> None:
    (at.tracker.folder / "audit.jsonl").mkdir(parents=True)
    for argv in (CREATE, ("keys", "disable", "agent", "--yes"), ("keys", "delete", "agent", "--yes")):
        ran = at(None, *argv)
        assert (ran.code, changes(sandbox)) == (6, [])
        assert "nothing was changed" in ran.err
    assert not (at.tracker.folder / "keys" / "ci.env").exists()


def test_a_note_goes_on_its_own_line_after_one_that_was_torn(at: TrackerAt) -> None:
    at.tracker.folder.mkdir()
    (at.tracker.folder / "audit.jsonl").write_text('{"ts":"2026-11-2')
    assert at(None, "keys", "disable", "agent", "--yes").code == 0
    lines = (at.tracker.folder / "audit.jsonl").read_text().splitlines()
    assert [line[:7] for line in lines] == ['{"ts":"', '{"ts":"', '{"ts":"'] and len(lines) == 3
    assert stat.S_IMODE((at.tracker.folder / "audit.jsonl").stat().st_mode) & 0o077 in (0, 0o044)


# Each fault with what is true afterwards: whether the key is there.
LOST = {
    "reset after it was made": (Fault.reset(after="billing"), True),
    "a web page after it was made": (Fault.html().after_billing(), True),
    "cut short": (Fault.truncate(20), True),
    "a 502 after it was made": (Fault.status(502).after_billing(), True),
    "without its secret": (Fault.mutate(lambda answer: answer.pop("key") and None), True),
    "reset before": (Fault.reset(after="request"), False),
    "a 500 before": (Fault.status(500), False),
    "a web page before": (Fault.html(), False),
}


@pytest.mark.parametrize("fault", LOST)
def test_a_creation_whose_answer_is_lost_is_looked_up_and_not_sent_again(
    fault: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    spoilt, is_there = LOST[fault]
    sandbox.misbehave("POST /keys", spoilt, times=1)
    ran = at(None, *CREATE)
    assert ran.code == 5
    assert ("was created, but its secret was lost" in ran.err) is is_there
    assert ("the key ci was not created" in ran.err) is not is_there
    assert changes(sandbox) == ["POST /keys"]
    assert not (at.tracker.folder / "keys" / "ci.env").exists()
    assert outcomes(at.tracker)[-1] == ("create", "done, its secret lost" if is_there else "not done")
    again = at(None, *CREATE)
    assert again.code == (2 if is_there else 0)
    assert len([key for key in account.keys if key.name == "ci"]) == 1
    if is_there:
        assert "keys disable" in again.error_line and "a key named ci already exists" in again.err
        assert key_named(account, "ci").hash in again.err


def test_a_creation_that_times_out_but_was_made_is_not_made_twice(
    tracker: Tracker, account: Account, sandbox: Sandbox
) -> None:
    sandbox.misbehave("POST /keys", Fault.hang(after="billing"), times=1)
    ran = tracker(*CREATE, *TIMEOUT)
    assert ran.code == 5
    key = key_named(account, "ci")
    assert f"keys disable {key.hash} --yes" in ran.error_line
    assert_untold(ran, account)
    assert files_with(tracker.home, key.secret) == []
    assert tracker(*CREATE).code == 2
    assert tracker("keys", "disable", key.hash, "--yes").code == 0
    assert (key.disabled, changes(sandbox)) == (True, ["POST /keys", f"PATCH /keys/{key.hash}"])


def test_a_creation_that_cannot_be_looked_up_is_called_unknown(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("POST /keys", Fault.reset(after="billing"))
    sandbox.misbehave("GET /keys", Fault.none(), Fault.none(), *[Fault.status(403)] * 9)
    ran = at(None, *CREATE)
    assert ran.code == 5
    assert "it is not known whether the key ci was created" in ran.error_line
    assert outcomes(at.tracker)[-1] == ("create", "not known")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 429, 307])
def test_a_creation_that_is_refused_leaves_nothing(
    status: int, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    sandbox.misbehave("POST /keys", Fault.status(status))
    ran = at(None, *CREATE)
    assert ran.code in (2, 4, 5)
    assert ran.error_line
    assert (secrets_of(account), changes(sandbox)) == ([], ["POST /keys"])
    assert not (at.tracker.folder / "keys" / "ci.env").exists()
    assert outcomes(at.tracker) == [("create", "asked"), ("create", "not done")]


def test_a_key_whose_secret_cannot_be_kept_is_disabled_at_once(
    at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    sandbox.misbehave("POST /keys", Fault.mutate(lambda answer: answer.update(key="two\nlines")))
    ran = at(None, *CREATE)
    assert ran.code == 2
    assert "so it was disabled" in ran.error_line
    assert key_named(account, "ci").disabled
    assert [outcome for _, outcome in outcomes(at.tracker)] == ["asked", "done, its secret lost", "asked", "done"]
    assert files_with(at.tracker.home, "two\nlines") == []


def test_no_key_is_created_while_not_all_names_can_be_read(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("GET /keys", Fault.none(), Fault.status(403))
    ran = at(None, *CREATE)
    assert (ran.code, changes(sandbox)) == (5, [])
    assert "is not known" in ran.error_line


def test_interrupting_a_creation_leaves_no_file_and_a_note(tracker: Tracker, sandbox: Sandbox) -> None:
    sandbox.misbehave("POST /keys", Fault.hang(after="billing"))
    running = tracker.start(*CREATE)
    sandbox.wait_for("POST /keys")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, b"Traceback" in err) == (130, b"", False)
    assert not (tracker.folder / "keys" / "ci.env").exists()
    assert outcomes(tracker) == [("create", "asked")]


def test_two_creations_at_once_make_one_key(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    sandbox.misbehave("POST /keys", Fault.delay(0.5))
    running = [tracker.start(*CREATE) for _ in range(3)]
    codes = sorted(process.wait(60) for process in running)
    for process in running:
        process.communicate()
    assert codes == [0, 2, 2]
    assert changes(sandbox) == ["POST /keys"]
    assert len(secrets_of(account)) == 1


# -- changing --------------------------------------------------------------------------------------------------------


def test_a_change_says_what_is_true_afterwards(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    key = key_named(account, "agent")
    ran = tracker("keys", "update", "agent", "--limit", "7.5", "--limit-reset", "daily", "--yes", "--json")
    assert (ran.data["done"], ran.data["key"]["limit_usd"], ran.data["secret_file"]) == (
        "updated",
        Decimal("7.5"),
        None,
    )
    assert (key.limit, key.limit_reset) == (Decimal("7.5"), "daily")
    assert "✔ disabled" in tracker("keys", "disable", "agent", "--yes").out and key.disabled
    assert "✔ enabled" in tracker("keys", "enable", "agent", "--yes").out and not key.disabled
    ran = tracker("keys", "delete", "agent", "--yes")
    assert "✔ deleted" in ran.out and key.deleted
    assert "cannot be undone" in ran.error_line and "`disable`" in ran.error_line
    assert [request.json() for request in sandbox.received("PATCH /keys/*")] == [
        {"limit": Decimal("7.5"), "limit_reset": "daily"},
        {"disabled": True},
        {"disabled": False},
    ]
    actions = ["update", "disable", "enable", "delete"]
    assert outcomes(tracker) == [(action, outcome) for action in actions for outcome in ("asked", "done")]
    assert {line["hash"] for line in audited(tracker)} == {key.hash}
    assert MANAGEMENT_KEY not in (tracker.folder / "audit.jsonl").read_text()


# Each fault with whether the change was made all the same.
UNANSWERED = {
    "reset after": (Fault.reset(after="billing"), True),
    "a web page after": (Fault.html().after_billing(), True),
    "a 504 after": (Fault.status(504).after_billing(), True),
    "cut short": (Fault.truncate(3), True),
    "reset before": (Fault.reset(after="request"), False),
    "a 503 before": (Fault.status(503), False),
    "a web page before": (Fault.html(), False),
}


@pytest.mark.parametrize("fault", UNANSWERED)
@pytest.mark.parametrize(
    "argv", [("disable",), ("update", "--limit", "3", "--name", "new"), ("delete",)], ids=lambda a: a[0]
)
def test_a_change_whose_answer_is_lost_is_looked_at_and_the_truth_is_told(
    argv: tuple[str, ...], fault: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    spoilt, is_made = UNANSWERED[fault]
    key = key_named(account, "agent")
    method = "DELETE" if argv[0] == "delete" else "PATCH"
    sandbox.misbehave(f"{method} /keys/*", spoilt)
    ran = at(None, "keys", argv[0], "agent", *argv[1:], "--yes")
    assert ran.code == (0 if is_made else 5), ran.err
    assert (key.disabled or key.deleted or key.limit == 3) is is_made
    assert ("✔" in ran.out) is is_made
    assert ("was not changed" in ran.err) is not is_made
    assert changes(sandbox) == [f"{method} /keys/{key.hash}"]
    assert outcomes(at.tracker) == [(argv[0], "asked"), (argv[0], "done" if is_made else "not done")]


def test_a_disabling_that_times_out_is_looked_at(tracker: Tracker, account: Account, sandbox: Sandbox) -> None:
    sandbox.misbehave("PATCH /keys/*", Fault.hang(after="billing"))
    ran = tracker("keys", "disable", "agent", "--yes", *TIMEOUT)
    assert (ran.code, key_named(account, "agent").disabled) == (0, True)
    assert "✔ disabled" in ran.out


def test_a_change_that_can_be_neither_sent_nor_looked_at_is_called_unknown(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("PATCH /keys/*", Fault.reset(after="billing"))
    sandbox.misbehave("GET /keys/*", Fault.status(403))
    ran = at(None, "keys", "disable", "agent", "--yes")
    assert ran.code == 5
    assert "it is not known whether the key agent was changed" in ran.error_line
    assert outcomes(at.tracker)[-1] == ("disable", "not known")


@pytest.mark.parametrize("argv", [("delete",), ("disable",)], ids=lambda a: a[0])
def test_a_key_that_is_gone_meanwhile_is_said_to_be(argv: tuple[str, ...], at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("DELETE /keys/*", Fault.status(404, message="API key not found"))
    sandbox.misbehave("PATCH /keys/*", Fault.status(404, message="API key not found"))
    ran = at(None, "keys", *argv, "agent", "--yes")
    assert ran.code == 3
    assert "the key agent is not there any more" in ran.err
    assert outcomes(at.tracker)[-1] == (argv[0], "not done")


def test_a_deletion_that_openrouter_does_not_confirm_is_not_believed(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("DELETE /keys/*", Fault.raw(b'{"deleted":false}'))
    ran = at(None, "keys", "delete", "agent", "--yes")
    assert (ran.code, "✔" in ran.out) == (5, False)
    assert "was not changed" in ran.err


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429])
def test_a_change_that_is_refused_is_not_sent_again(status: int, at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("PATCH /keys/*", Fault.status(status))
    assert at(None, "keys", "disable", "agent", "--yes").code in (2, 4, 5)
    assert len(changes(sandbox)) == 1
    assert outcomes(at.tracker) == [("disable", "asked"), ("disable", "not done")]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_a_change_is_not_followed(status: int, at: TrackerAt, account: Account, sandbox: Sandbox) -> None:
    with Sandbox(Account.simple()) as other:
        for path in ("PATCH /keys/*", "POST /keys"):
            sandbox.misbehave(path, Fault.redirect(status, f"{other.url}/keys"))
        assert at(None, "keys", "disable", "agent", "--yes").code == 5
        assert at(None, *CREATE).code == 5
        assert other.connections == 0
    assert not key_named(account, "agent").disabled


@pytest.mark.parametrize("name", ['"; delete all', "\x1b[2J", "a\nb", "../..", "x" * 10_000])
def test_a_key_with_a_hostile_name_can_be_disabled_and_nothing_else_is(
    name: str, at: TrackerAt, account: Account
) -> None:
    key = account.add_key("another-key-0001", name=name)
    assert at(None, "keys", "--yes", "disable", name).code == 0
    assert (key.disabled, key_named(account, "agent").disabled) == (True, False)
    assert audited(at.tracker)[-1]["name"] == name


@pytest.mark.parametrize(
    ("path", "fault"),
    crossed(
        ["POST /keys", "PATCH /keys/*", "GET /keys", "GET /keys/*", "/workspaces"],
        [Fault.html(), Fault.raw(b"[]"), Fault.raw(b'{"data":null}'), Fault.raw(b""), Fault.status(500)],
    ),
)
def test_no_failing_answer_shows_a_secret(
    path: str, fault: Fault, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    sandbox.misbehave(path, fault.after_billing() if path == "POST /keys" else fault)
    for argv in (CREATE, ("keys", "disable", "agent", "--yes"), ("keys", "--json")):
        ran = at(None, *argv)
        assert_untold(ran, account)
    kept = {path for secret in secrets_of(account) for path in files_with(at.tracker.home, secret)}
    assert len(kept) <= 1


def test_an_answer_that_repeats_the_management_key_does_not_show_it(at: TrackerAt, sandbox: Sandbox) -> None:
    sandbox.misbehave("PATCH /keys/*", Fault.status(400, message=f"Bearer {MANAGEMENT_KEY} is odd"))
    ran = at(None, "keys", "disable", "agent", "--yes", "--json")
    assert MANAGEMENT_KEY not in ran.out + ran.err
    assert "[key]" in ran.err
