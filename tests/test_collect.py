"""cost_tracker.py collect: each call of other programs' logs once, with OpenRouter's bill, and nothing else of them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.errors import Unreachable
from openrouter_usage.jobs import collect as collecting
from openrouter_usage.jobs import log_reading
from openrouter_usage.jobs.log_book import LogBook
from openrouter_usage.jobs.log_stores import find_stores
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.period import week
from tests import made_logs as made
from tests.booking import Tracker, TrackerAt, call, hold
from tests.made_logs import SAID, Made
from tests.running import StatsAt
from tests.sandbox import MANAGEMENT_KEY, Account, Fault, Reply, Sandbox
from tests.sandbox_client import post

UTC = timezone.utc
PAUSE_S = collecting._PAUSE_S


@pytest.fixture
def account() -> Account:
    return Account.simple()


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setattr(collecting, "_PAUSE_S", 0.0)
    return Tracker(home, sandbox.url, env={"APPDATA": None, "XDG_DATA_HOME": None})


@pytest.fixture
def at(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    return TrackerAt(tracker, monkeypatch, capsys)


def billed(sandbox: Sandbox, count: int, **reply: Any) -> list[Made]:
    """Calls that the sandbox has billed, as a program logs them: with an estimate of its own."""
    known = set(sandbox.account.generations)
    for number in range(count):
        sandbox.account.script(Reply(cost=Decimal(f"0.000{number + 1}0000000001"), completion_tokens=20 + number, **reply))
        assert post(sandbox).status_code == 200
    new = [each for name, each in sandbox.account.generations.items() if name not in known]
    return [
        Made(number, each.id, each.model, 900 + number, each.completion_tokens, 100, 0, "0.5", int(each.created_at.timestamp()))
        for number, each in enumerate(new)
    ]


def asked(sandbox: Sandbox) -> list[str]:
    """The ids that were looked up, in order."""
    return [request.query["id"] for request in sandbox.requests if request.path.endswith("/generation")]


def state(folder: Path) -> dict[str, Any]:
    """What is in a folder: names, contents and times."""
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(folder.rglob("*")) if path.is_file()}


def client(ran: Any, name: str) -> dict[str, Any]:
    (found,) = [each for each in ran.data["clients"] if each["client"] == name]
    return found


def zipped(data: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


def test_two_eras_forks_copies_and_a_gateway_give_each_id_once_and_the_bill_to_the_last_digit(
    tracker: Tracker, at: TrackerAt, sandbox: Sandbox, account: Account
) -> None:
    calls = billed(sandbox, 24)
    paid = billed(sandbox, 2, byok_upstream=Decimal("0.25"))
    claw, code, small = calls[:10], [*calls[10:20], *paid], calls[20:]
    # Half of them went through the gateway, which knows their bills.
    gateway = [each for each in calls if each.number % 2]
    booked = [call(datetime.fromtimestamp(each.at_s, UTC).isoformat(), each.model, str(account.generations[each.id].cost), id=each.id, cost_source="billed") for each in gateway]
    tracker.write(*booked)
    home = tracker.home
    made.openclaw_file(home, claw[:6])
    made.openclaw_file(home, claw[:3], name="old", end=".jsonl.deleted.2026-09-20T10-00-00Z")
    made.openclaw_store(home, {"s-1": claw[:6], "s-2": claw[4:]})
    for number in range(5):
        made.openclaw_file(home, claw, name=f"fork-{number}", parent="s-1")
        made.claude(home, code, name=f"fork-{number}", session=f"fork-{number}")
        made.pi(home, small, name=f"fork-{number}", parent="s-1")
    made.claude(home, code)
    made.put(home / ".claude/projects/-home-u-site/s-1/subagents/x/agent-7.jsonl", made.lines(made.claude_lines(code[:3], agent="a7")))
    made.put(home / ".config/claude/projects/p/s-9.jsonl", made.lines(made.claude_lines(code)))
    made.pi(home, small)
    dry = at(None, "collect", "--dry-run", "--json")
    expected = len(calls) + len(paid) - len(gateway)
    assert (dry.code, dry.data["left"], dry.data["recorded"], asked(sandbox)) == (0, expected, 0, [])
    ran = at(None, "collect", "--json")
    assert (ran.code, ran.err, ran.data["recorded"], ran.data["left"]) == (0, "", expected, 0)
    assert sorted(asked(sandbox)) == sorted({each.id for each in [*calls, *paid]} - {each.id for each in gateway})
    for name, number in (("openclaw", 10), ("claude-code", 12), ("pi", 4)):
        assert (client(ran, name)["with_id"], client(ran, name)["in_ledger"]) == (number, number)
    total = at(None, "stats", "--json").data["total"]
    assert (total["requests"], total["cost_usd"], total["byok_usd"]) == (26, account.bill, account.byok_bill)
    assert (total["unknown_cost_calls"], total["estimated_cost_calls"]) == (0, 0)
    # Read twice, and read anew: nothing comes of it.
    before = tracker.bytes
    assert at(None, "collect", "--quiet").out == ""
    (tracker.folder / "usage.jsonl.logs").unlink()
    again = at(None, "collect", "--json")
    assert (again.data["recorded"], again.data["left"], tracker.bytes) == (0, 0, before)
    by = {name: at(None, "stats", "--by", name, "--json").data["groups"] for name in ("client", "project", "agent")}
    found = {name: {each["name"]: each["requests"] for each in groups} for name, groups in by.items()}
    assert found["client"] == {"(no client)": 12, "openclaw": 5, "claude-code": 7, "pi": 2}
    assert found["project"] == {"(no project)": 12, "site": 14} and found["agent"]["main"] == 5
    assert not [path for path in tracker.folder.rglob("*") if path.is_file() and SAID.encode() in path.read_bytes()]


def test_what_openrouter_no_longer_knows_is_estimated_or_unknown_and_never_billed(
    tracker: Tracker, at: TrackerAt, sandbox: Sandbox, account: Account
) -> None:
    old = [Made(n, f"gen-1790000000-gone{n}", cost="0.0625") for n in range(2)]
    young = Made(7, "gen-1790000000-young", at_s=int(datetime.now(UTC).timestamp()) - 5)
    (known,) = billed(sandbox, 1)
    made.pi(tracker.home, [old[0], known])
    made.claude(tracker.home, [old[1], young])
    ran = at(None, "collect", "--json")
    assert (ran.code, ran.data["recorded"], ran.data["not_known"], ran.data["left"]) == (0, 1, 2, 1)
    lines = {line["id"]: line for line in map(json.loads, tracker.bytes.splitlines())}
    assert (lines[old[0].id]["cost"], lines[old[0].id]["cost_source"]) == (0.0625, "estimated")
    assert not {"cost", "cost_source"} & lines[old[1].id].keys() and young.id not in lines
    assert (lines[old[1].id]["prompt_tokens"], lines[old[1].id]["completion_tokens"]) == (1000, 50)
    count = len(asked(sandbox))
    assert at(None, "collect", "--json").data["left"] == 1 and asked(sandbox)[count:] == [young.id]
    assert at(None, "collect", "--retry", "--json").data["not_known"] == 2
    # Trouble of one call, of another account, and of all calls.
    foreign = billed(sandbox, 1)[0]
    account.generations[foreign.id].owner = "user_of_another_account"
    made.pi(tracker.home, [foreign], name="s-2")
    ran = at(None, "collect")
    assert ran.code == 0 and "1 call of another account: not recorded" in ran.out
    unbelievable, broken = billed(sandbox, 2)
    account.generations[unbelievable.id].overrides = {"total_cost": Decimal(-1)}
    account.generations[broken.id].overrides = {"total_cost": "much"}
    made.pi(tracker.home, [unbelievable, broken], name="s-3")
    assert at(None, "collect", "--json").data["left"] == 2
    assert b'"told":"-1"' in tracker.bytes and broken.id.encode() not in tracker.bytes
    more = billed(sandbox, 3)
    made.pi(tracker.home, more, name="s-4")
    sandbox.misbehave("/generation", Fault.status(401))
    before = tracker.bytes
    ran = at(None, "collect", "--json")
    assert (ran.code, ran.data["recorded"], ran.data["left"]) == (4, 0, 5) and "not every call" in ran.err
    assert tracker.bytes == before
    sandbox.behave()
    account.generations[broken.id].overrides = {}
    assert at(None, "collect", "--json").data["recorded"] == 4


class Clock:
    """A clock on which every look takes a tenth of a second, and a sleep as long as it is."""

    def __init__(self, slept: list[float]) -> None:
        self.now, self.slept = Decimal(0), slept

    def __call__(self) -> Any:
        self.now += Decimal("0.1")
        return self.now - Decimal("0.1")

    def sleep(self, seconds: Any) -> None:
        self.now += seconds
        self.slept.append(float(seconds))


def test_a_run_that_is_broken_off_goes_on_where_it_was_and_asks_two_a_second(
    tracker: Tracker, at: TrackerAt, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = billed(sandbox, 6)
    tracker.write(hold("running", generation=calls[5].id))
    made.claude(tracker.home, calls)
    at(None, "collect", "--dry-run")
    monkeypatch.setattr(collecting, "_PAUSE_S", Decimal(str(PAUSE_S)))
    slept: list[float] = []
    clock = Clock(slept)
    with closing(LogBook(tracker.folder / "usage.jsonl.logs")) as book, closing(Ledger(tracker.ledger)) as ledger:
        from openrouter_usage.tracker.lookup import look_up

        def ask(identity: str) -> Any:
            if len(slept) == 2:
                raise KeyboardInterrupt
            return look_up(identity, retries=0)

        with pytest.raises(KeyboardInterrupt):
            collecting.Asking(book, ledger, ask, datetime.now(UTC), clock=clock, sleep=clock.sleep).run()
    assert len(asked(sandbox)) == 2 and slept == [0.4, 0.4]
    monkeypatch.setattr(collecting, "_PAUSE_S", 0.0)
    ran = at(None, "collect", "--json")
    # The call with a hold is running, or is for `settle`.
    assert (ran.data["recorded"], ran.data["left"]) == (3, 1)
    assert sorted(asked(sandbox)) == sorted(each.id for each in calls[:5])


def test_logs_that_grow_tear_and_are_written_anew_are_read_from_where_they_were(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [Made(n, f"gen-1790000000-{n:04d}", completion=40 + n) for n in range(9)]
    path = made.claude(tracker.home, ids[:2])
    read: list[int] = []
    true_read = log_reading._blocks

    def watched(file: Any, offset: int, skipped: Any) -> Any:
        read.append(offset)
        return true_read(file, offset, skipped)

    monkeypatch.setattr(log_reading, "_blocks", watched)

    def waiting() -> tuple[int, dict[str, int]]:
        found = client(at(None, "collect", "--dry-run", "--json"), "claude-code")
        return found["waiting"], {each["why"]: each["records"] for each in found["skipped"]}

    assert waiting() == (2, {"of another provider": 1})
    size = path.stat().st_size
    more = made.lines(list(made.claude_lines(ids[2:4]))).encode()
    with path.open("ab") as file:
        file.write(more[:-300])  # torn within the last lines
    number, _ = waiting()
    assert read == [0, size] and number == 4
    with path.open("ab") as file:
        file.write(more[-300:] + b"{torn: no json\n\n" + b"[1]\n")
    assert waiting() == (4, {"of another provider": 2, "not JSON": 2})
    assert waiting()[0] == 4 and len(read) == 3
    # Written anew with the same name, shorter or longer, and renamed.
    path.write_text(made.lines(made.claude_lines(ids[4:5])))
    assert waiting()[0] == 5
    path.unlink()
    path.write_text(made.lines(made.claude_lines(ids[5:9])) * 3)
    assert waiting() == (9, {"of another provider": 3})
    path.rename(path.with_name("other.jsonl"))
    assert waiting()[0] == 9
    whole = made.lines(made.claude_lines([replace(ids[0], id="gen-1790000000-last")]))
    path.with_name("unended.jsonl").write_text(whole[: whole.rindex("\n", 0, -1)].rpartition("\n")[0])
    assert waiting()[0] == 10


def test_a_database_in_use_is_read_with_its_newest_rows_and_stays_as_it_was(at: TrackerAt, tmp_path: Path) -> None:
    home, env = tmp_path / "elsewhere", {"OPENCLAW_STATE_DIR": str(tmp_path / "elsewhere/.openclaw")}
    calls = [Made(n, f"gen-1790000000-{n:04d}") for n in range(6)]
    path = made.openclaw_store(home, {"s-1": calls[:2]})
    (home / ".openclaw/agents/main/agent/auth.json").write_text('{"key": "secret-of-another-program"}')
    events = list(enumerate(made.pi_lines(calls), 1))

    def seen() -> int:
        before = state(home)
        opened.clear()
        ran = at(None, "collect", "openclaw", "--dry-run", "--json", env=env)
        told = list(opened)
        assert state(home) == before
        assert any("openclaw-agent.sqlite" in name for name in told)
        assert not [name for name in told if "auth.json" in name]
        return int(client(ran, "openclaw")["with_id"])

    opened: list[str] = []
    watching.append(opened)
    try:
        assert seen() == 2
        # Another process, because within one all connections share what they know of the file.
        writing = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with writing:
            assert writing.stdin and writing.stdout
            for seq, number in ((100, 7), (999, 9)):
                writing.stdin.write(json.dumps([seq, json.dumps(events[number][1])]) + "\n")
                writing.stdin.flush()
                assert writing.stdout.readline() == "written\n"
                assert os.path.getsize(f"{path}-wal") > 0 and seen() == (3 if seq == 100 else 4)
            kept = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal")}
            writing.stdin.close()
        # As after a crash: a log, and nobody who has it open.
        for end, data in kept.items():
            Path(f"{path}{end}").write_bytes(data)
        assert seen() == 4
    finally:
        watching.remove(opened)


WRITER = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA wal_autocheckpoint = 0")
for line in sys.stdin:
    db.execute("INSERT INTO transcript_events VALUES ('s-1', ?, ?, 0)", json.loads(line))
    db.commit()
    print("written", flush=True)
"""
watching: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event in ("open", "sqlite3.connect"):
        watching[-1].append(str(arguments[0]))


sys.addaudithook(_audit)


def test_compressed_rows_and_files_are_read_or_named_as_what_could_not_be_read(
    tracker: Tracker, at: TrackerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [Made(n, f"gen-1790000000-{n:04d}") for n in range(4)]
    path = made.openclaw_store(tracker.home, {"s-1": calls}, zipped=zipped)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE session_transcript_archives (session_id TEXT, transcript BLOB)")
        old = [Made(n, f"gen-1790000000-old{n}") for n in range(3)]
        rows = [("s-0", zipped(made.lines(made.pi_lines(old)).encode())), ("s-9", b"\x28\xb5\x2f\xfd" + b"damaged")]
        db.executemany("INSERT INTO session_transcript_archives VALUES (?, ?)", rows)
        db.commit()
    rollout = made.codex(tracker.home, made.some(3), name="z")
    rollout.with_name(rollout.name + ".zst").write_bytes(zipped(rollout.read_bytes()))
    rollout.unlink()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    log_reading._unpacker.cache_clear()
    ran = at(None, "collect", "--dry-run", "--json")
    assert (client(ran, "openclaw")["with_id"], client(ran, "codex")["without_id"]) == (2 if sys.version_info < (3, 14) else 7, 0)
    monkeypatch.undo()
    at.tracker.ledger.parent.mkdir(exist_ok=True)
    log_reading._unpacker.cache_clear()
    ran = TrackerAt(tracker, at.monkeypatch, at.capsys)(None, "collect", "--dry-run", "--json")
    assert (client(ran, "openclaw")["with_id"], client(ran, "codex")["without_id"]) == (7, 3)
    assert client(ran, "openclaw")["skipped"] == [
        {"why": "compressed data that is damaged", "records": 1}, {"why": "of another provider", "records": 2}
    ]  # fmt: skip


def test_a_call_that_two_machines_of_a_team_have_logged_is_asked_about_once(
    team: Any, tracker: Tracker, at: TrackerAt, sandbox: Sandbox, account: Account
) -> None:
    calls = billed(sandbox, 3)
    made.claude(tracker.home, calls)
    env = {"OPENROUTER_LEDGER": team.url()}
    assert at(None, "collect", "--json", env=env).data["recorded"] == 3
    (tracker.folder / "usage.jsonl.logs").unlink()  # as on the other machine
    again = at(None, "collect", "--json", env=env)
    assert (again.code, again.data["recorded"], again.data["left"], len(asked(sandbox))) == (0, 0, 0, 3)
    assert team.ledger().totals().total.cost == account.bill and not tracker.ledger.exists()


def test_many_large_files_are_read_by_several_processes_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        calls = [Made(n, f"gen-1790000000-{n:04d}", completion=n + number) for n in range(number, number + 3)]
        made.claude(tmp_path, calls, name=f"s-{number}")
    stores = list(find_stores(("claude-code",), tmp_path, {}))
    used: list[int] = []
    shared = collecting._shared
    monkeypatch.setattr(collecting, "_shared", lambda stores, reads: used.append(len(stores)) or shared(stores, reads))
    found = []
    for size in (10**12, 0):
        monkeypatch.setattr(collecting, "_WORTH_SHARING", size)
        with closing(LogBook(tmp_path / f"book-{size}" / "logs")) as book:
            collecting.read_logs(book, stores)
            found.append((list(book.waiting()), book.skipped(), book.files()))
            assert collecting.read_logs(book, stores).new == 0
    assert found[0] == found[1] and len(found[0][0]) == 32
    assert used == ([30] if sys.platform == "linux" and (os.cpu_count() or 1) > 1 else [])


# -- programs whose logs have no id ----------------------------------------------------------------------------------

WITHOUT: dict[str, Callable[[Path, list[Made]], Any]] = {
    "codex": made.codex, "opencode": made.opencode, "cline": made.cline, "aider": made.aider, "goose": made.goose,
    "roo": lambda home, calls: made.cline(home, calls, roo=True), "hermes": made.hermes, "litellm": made.litellm,
}  # fmt: skip


def everything(home: Path, count: int = 5) -> dict[str, str | None]:
    """Logs of every program without ids, and the variables that name some of them."""
    for write in WITHOUT.values():
        write(home, made.some(count))
    made.codex(home, made.some(count), name="fork", forked=True)
    made.codex(home, made.some(count), name="elsewhere", provider="openai")
    return {"AIDER_ANALYTICS_LOG": str(home / "aider.jsonl")}


def test_calls_without_an_id_are_estimates_beside_the_ledger_once(tracker: Tracker, at: TrackerAt, sandbox: Sandbox) -> None:
    env = everything(tracker.home)
    calls = made.some(5)
    cost = sum(Decimal(each.cost) for each in calls)
    for number in range(2):
        ran = at(None, "collect", "--json", env=env)
        lite = at(None, "collect", "litellm", "--from", str(tracker.home / "spend.csv"), "--json", env=env)
        assert (ran.code, lite.code, ran.data["recorded"], ran.data["left"]) == (0, 0, 0, 0), number
    found = {each["client"]: each for each in lite.data["clients"]}
    assert {name: each["estimated_usd"] for name, each in found.items()} == {**dict.fromkeys(WITHOUT, cost), "codex": 0}
    assert {name: each["without_id"] for name, each in found.items()} == {**dict.fromkeys(WITHOUT, 5), "goose": 2, "hermes": 2}
    assert found["codex"]["unknown_cost_calls"] == 5 and not tracker.ledger.exists() and asked(sandbox) == []
    why = {name: {each["why"]: each["records"] for each in found[name]["skipped"]} for name in found}
    assert why["codex"] == {"copied from another session": 5, "of another provider": 5}
    assert why["opencode"] == {"of another provider": 3} and why["goose"] == why["hermes"] == {"of another provider": 1}
    text = at(None, "collect", env=env).out
    assert "• opencode: 5 calls without an id, estimated at $0.1625" in text and "Seen in logs, not billed" in text
    # Sums of sessions grow: what is added is the difference, on its own day.
    made.goose(tracker.home, [*calls, *calls])
    made.hermes(tracker.home, [*calls, *calls])
    ran = at(None, "collect", "--json", env=env)
    assert [client(ran, name)["estimated_usd"] for name in ("goose", "hermes")] == [2 * cost] * 2
    with closing(sqlite3.connect(tracker.folder / "usage.jsonl.logs")) as db:
        rows = db.execute("SELECT client, sum(prompt), sum(completion), group_concat(DISTINCT project) FROM estimates GROUP BY client").fetchall()
    tokens = (sum(each.prompt for each in calls), sum(each.completion for each in calls))
    twice = {"goose", "hermes"}
    assert {name: (prompt, out) for name, prompt, out, _ in rows} == {name: (2 * tokens[0], 2 * tokens[1]) if name in twice else tokens for name in WITHOUT}
    assert {project for name, *_, project in rows if name not in ("aider", "hermes", "litellm")} == {"site"}
    # The same price list that prices everything else gives codex its estimate.
    assert at(None, "models").code == 0
    model = sandbox.account.model("openai/gpt-5.2")
    ran = at(None, "collect", "codex", "--json", env=env)
    assert client(ran, "codex")["unknown_cost_calls"] == 0 and model is not None
    price = {name: model.price(name, 1, datetime.now(UTC)) for name in ("prompt", "completion", "input_cache_read")}
    expected = sum((c.prompt - c.cached) * price["prompt"] + c.cached * price["input_cache_read"] + c.completion * price["completion"] for c in calls)
    assert client(ran, "codex")["estimated_usd"] == expected
    assert not [path for path in tracker.folder.rglob("*") if path.is_file() and SAID.encode() in path.read_bytes()]


def test_litellms_export_is_read_in_each_face_and_a_gen_id_in_it_is_looked_up(tracker: Tracker, at: TrackerAt, sandbox: Sandbox) -> None:
    (known,) = billed(sandbox, 1)
    for face in ("csv", "json", "jsonl"):
        path = made.litellm(tracker.home, [known, *made.some(4)[1:]], face=face)
        ran = at(None, "collect", "litellm", "--from", str(path), "--json")
        assert (ran.code, client(ran, "litellm")["with_id"], client(ran, "litellm")["without_id"]) == (0, 1, 3)
    assert asked(sandbox) == [known.id]
    assert at(None, "stats", "--json").data["total"]["cost_usd"] == sandbox.account.bill


def test_what_nothing_explains_is_split_by_client(
    tracker: Tracker, at: TrackerAt, sandbox: Sandbox, account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    began = max(int(week(now).start.timestamp()), int(now.timestamp()) - 600)
    made.opencode(tracker.home, made.some(3, at_s=began))
    made.codex(tracker.home, made.some(2, at_s=began))
    made.opencode(tracker.home / "old", made.some(4))
    seen = [{"client": "opencode", "calls": 3, "estimated_usd": Decimal("0.0675"), "unknown_cost_calls": 0},
            {"client": "codex", "calls": 2, "estimated_usd": 0, "unknown_cost_calls": 2}]  # fmt: skip
    words = "logs of other programs name, as estimates that are in no sum: opencode about $0.0675 (3 calls), codex (2 calls of unknown cost)"
    both = {"OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}
    assert at(None, "reconcile", "--json", env=both).data["seen_in_logs"] == []
    at(None, "collect")
    assert at(None, "collect", "opencode", "--from", str(tracker.home / "old")).code == 0
    ran = at(None, "reconcile", "--json", env=both)
    # The account has spent nothing, so there is nothing to split.
    assert ran.data["seen_in_logs"] == seen and "seen_in_logs" not in [each["code"] for each in ran.data["causes"]]
    account.script(Reply(cost=Decimal("0.25")))
    post(sandbox)
    # What was called in this very second is not asked about yet.
    next(iter(account.generations.values())).created_at -= timedelta(seconds=5)
    ran = at(None, "reconcile", "--json", env=both)
    (cause,) = [each for each in ran.data["causes"] if each["code"] == "seen_in_logs"]
    assert (cause["usd"], cause["message"]) == (Decimal("0.0675"), f"of what is unexplained, {words}")
    assert (ran.data["unexplained_usd"], ran.data["ledger"]["usage_usd"]) == (Decimal("0.25"), 0)
    alone = at(None, "reconcile", "--json", env={"OPENROUTER_MGMT_KEY": None})
    assert alone.data["seen_in_logs"] == seen and f"of what is unexplained, {words}" in alone.json["notes"]
    stats_at = StatsAt(tracker.home, sandbox, monkeypatch, capsys)
    for mgmt in (None, MANAGEMENT_KEY):
        facts = stats_at(None, "--explain", "--json", mgmt=mgmt).data["explanation"]
        assert f"Of what is not in the ledger, {words}" in [each["text"] for each in facts]
    assert at(None, "stats", "--json").data["total"]["requests"] == 0
    assert not tracker.ledger.exists()


def test_litellms_own_table_is_read_by_named_columns_since_the_last_time(postgres: Any, at: TrackerAt) -> None:
    import psycopg

    postgres.run("CREATE DATABASE litellm")
    url = postgres.url(user="boss", database="litellm")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            'CREATE TABLE "LiteLLM_SpendLogs" (request_id text PRIMARY KEY, call_type text, api_key text, spend float8, '
            'prompt_tokens int, completion_tokens int, "startTime" timestamp, model text, custom_llm_provider text, '
            "api_base text, messages jsonb, session_id text, status text)"
        )
        insert = 'INSERT INTO "LiteLLM_SpendLogs" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)'

        def row(call: Made, provider: str = "openrouter") -> tuple[Any, ...]:
            return (f"chatcmpl-{call.number}", "acompletion", "hash", float(call.cost), call.prompt, call.completion,
                    datetime.fromtimestamp(call.at_s, UTC).replace(tzinfo=None), call.model, provider, "", json.dumps([SAID]), "l", "success")  # fmt: skip

        calls = made.some(6)
        for each in calls[:4]:
            db.execute(insert, row(each))
        db.execute(insert, row(replace(calls[0], number=99), "openai"))
        for count in (4, 4, 6):
            if count == 6:
                for each in calls[4:]:
                    db.execute(insert, row(each))
            ran = at(None, "collect", "litellm", "--database", "--json", env={"DATABASE_URL": url})
            found = client(ran, "litellm")
            assert (ran.code, found["without_id"]) == (0, count), ran.err
            assert found["estimated_usd"] == sum(Decimal(each.cost) for each in calls[:count])
        assert found["skipped"] == [{"why": "of another provider", "records": 1}]
        db.execute('ALTER TABLE "LiteLLM_SpendLogs" RENAME TO other')
        ran = at(None, "collect", "litellm", "--database", env={"DATABASE_URL": url})
        assert ran.code == 2 and "has no table LiteLLM_SpendLogs" in ran.error_line
    ran = at(None, "collect", "litellm", "--database", env={"DATABASE_URL": "postgresql://u:pass-of-another@127.0.0.1:9/x"})
    assert ran.code == 5 and "pass-of-another" not in ran.err + ran.out


# -- the program -----------------------------------------------------------------------------------------------------


def test_wrong_uses_are_named_and_a_second_run_waits_its_turn(tracker: Tracker, at: TrackerAt) -> None:
    cases: list[tuple[tuple[str, ...], dict[str, str | None], str]] = [
        (("winamp",), {}, "is not one of claude-code"),
        (("--from", "x"), {}, "--from needs one client"),
        (("pi", "codex", "--from", "x"), {}, "--from needs one client"),
        (("pi", "--from", "/nowhere"), {}, "No such file"),
        (("pi", "--database"), {}, "--database is litellm's"),
        (("litellm", "--database"), {"DATABASE_URL": None}, "no database of LiteLLM is named"),
        (("litellm", "--database"), {"DATABASE_URL": "mysql://x"}, "is no address of PostgreSQL"),
    ]
    for words, env, message in cases:
        ran = at(None, "collect", *words, env=env)
        assert (ran.code, ran.out) == (2, "") and message in ran.error_line
    assert at(None, "collect").out == "Logs of other programs: 0 files, 0 of them new or changed\n"
    assert not tracker.ledger.exists()
    made.claude(tracker.home, [Made(0, "gen-1790000000-x")])
    ran = at(None, "collect", env={"OPENROUTER_API_KEY": None})
    assert ran.code == 2 and "no OpenRouter key found" in ran.error_line
    from openrouter_usage.files import locked

    with locked(tracker.folder / "usage.jsonl.logs.lock"):
        ran = at(None, "collect", "--quiet")
    assert ran.code == 2 and "another `collect` is running" in ran.error_line
    # A damaged file is made again from the logs; another program's is not touched.
    book = tracker.folder / "usage.jsonl.logs"
    book.write_bytes(b"SQLite format 3\0" + b"damaged" * 500)
    assert client(at(None, "collect", "--dry-run", "--json"), "claude-code")["with_id"] == 1
    book.unlink()
    with closing(sqlite3.connect(book)) as db:
        db.execute("CREATE TABLE mine (x)")
        db.commit()
    book.chmod(0o600)
    before = book.read_bytes()
    ran = at(None, "collect", "--dry-run")
    assert ran.code == 6 and "another program's database" in ran.error_line and book.read_bytes() == before


def test_every_place_that_a_variable_names_is_found(tracker: Tracker) -> None:
    home = tracker.home
    places = {
        "claude-code": ("CLAUDE_CONFIG_DIR", f"{home}/a, {home}/b", ["a/projects/p/x.jsonl", "b/projects/x.jsonl"]),
        "openclaw": ("OPENCLAW_STATE_DIR", f"{home}/c", ["c/agents/z/sessions/x.jsonl", "c/agents/z/agent/openclaw-agent.sqlite"]),
        "codex": ("CODEX_HOME", f"{home}/d", ["d/archived_sessions/x.jsonl", "d/sessions/2026/x.jsonl.zst"]),
        "opencode": ("OPENCODE_DB", f"{home}/e/opencode-dev.db", ["e/opencode-dev.db"]),
        "goose": ("GOOSE_PATH_ROOT", f"{home}/f", ["f/data/sessions/sessions.db"]),
        "hermes": ("HERMES_HOME", f"{home}/g", ["g/state.db"]),
        "aider": ("AIDER_ANALYTICS_LOG", f"{home}/h.log", ["h.log"]),
    }
    usual = {
        "openclaw": [".moltbot/agents/m/sessions/x.jsonl.reset.2026", ".openclaw-work/agents/m/sessions/x.jsonl"],
        "roo": [".vscode-server/data/User/globalStorage/rooveterinaryinc.roo-cline/tasks/t/ui_messages.json"],
        "cline": [".cline/data/tasks/t/ui_messages.json", "Library/Application Support/Cursor/User/globalStorage/saoudrizwan.claude-dev/tasks/t/ui_messages.json"],
        "goose": [".local/share/Block/goose/sessions/sessions.db"],
    }  # fmt: skip
    never = ["c/agents/z/agent/auth.json", "d/auth.json", "d/sessions/notes.txt", "g/.env", "a/projects/p/x.txt"]
    for name in [*never, *(name for each in [*usual.values(), *(each[2] for each in places.values())] for name in each)]:
        made.put(home / name, "{}")
    os.mkfifo(home / "a/projects/pipe.jsonl")
    os.symlink(home / "g/.env", home / "a/projects/link.jsonl")
    for name, (variable, value, files) in places.items():
        found = [store.path for store in find_stores((name,), home, {variable: value})]
        assert sorted(found) == sorted(str(home / each) for each in files), name
    for name, files in usual.items():
        assert sorted(store.path for store in find_stores((name,), home, {})) == sorted(str(home / each) for each in files)


def test_a_key_that_is_missing_stops_nothing_where_nothing_is_to_be_asked(tracker: Tracker, at: TrackerAt) -> None:
    made.codex(tracker.home, made.some(2))
    assert at(None, "collect", env={"OPENROUTER_API_KEY": None}).code == 0


def test_an_unreachable_openrouter_leaves_all_calls_for_the_next_time(tracker: Tracker, at: TrackerAt) -> None:
    made.claude(tracker.home, [Made(0, "gen-1790000000-x")])
    ran = at(None, "collect", env={"OPENROUTER_BASE_URL": "http://127.0.0.1:9"})
    assert ran.code == Unreachable.exit_code and "1 call left for the next time" in ran.out
