"""Answers of every kind that `--json` gives, from a local OpenRouter in different moods: what the documents promise."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from openrouter_usage.cli import cost_tracker as tracker
from openrouter_usage.cli import summary
from openrouter_usage.cli.program import run
from tests import postgres
from tests.gatewaying import running
from tests.made_logs import Made, claude, codex, pi, some
from tests.sandbox import (
    DEMO_KEY,
    DEMO_MGMT_KEY,
    INFERENCE_KEY,
    MANAGEMENT_KEY,
    Account,
    Budget,
    Fault,
    Reply,
    Sandbox,
    Stream,
    demo_account,
)

GPT = ("--model", "openai/gpt-5.2", "--prompt", "Hello")
ENTRY = {"ts": "2026-11-20T10:30:00Z", "model": "a/b", "prompt_tokens": 1, "completion_tokens": 2, "cost": 0.5}
PROGRAMS = {"stats.py": summary.main, "cost_tracker.py": tracker.main}
FIXED_KEY_FIELDS = ("hash", "name", "label", "disabled")


@dataclass
class Asking:
    """Runs the programs in this process with `--json` against one sandbox, and keeps what they print by its kind."""

    home: Path
    url: str
    key: str = ""
    mgmt_key: str = ""
    told: dict[str, list[Any]] = field(default_factory=dict)

    def __call__(self, command: str, *words: str, **environment: str) -> Any:
        """Run one command, such as "stats.py" or "budget set", and give its envelope."""
        program, *first = command.split() if command in PROGRAMS else ["cost_tracker.py", *command.split()]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
        names = {"OPENROUTER_BASE_URL": self.url, "OPENROUTER_API_KEY": self.key, "OPENROUTER_MGMT_KEY": self.mgmt_key}
        own = {**kept, **names, "HOME": str(self.home), "USERPROFILE": str(self.home), **environment}
        out, err = io.StringIO(), io.StringIO()
        shown = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
        with mock.patch.dict(os.environ, own, clear=True), _same_signals(), shown[0], shown[1]:
            code = run(program, PROGRAMS[program], [*first, *words, "--json"])
        assert code != 1, err.getvalue()
        answer = json.loads(out.getvalue())
        self.told.setdefault(answer["kind"], []).append(answer)
        return answer


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def every_kind(folder: Path) -> dict[str, list[Any]]:
    """Envelopes by kind; every documented field is in one of them, and every one that may be null was null once."""
    told: dict[str, list[Any]] = {}
    for number, (account, asks) in enumerate(SCENES):
        home = folder / str(number)
        home.mkdir()
        is_demo = account is demo_account
        keys = (DEMO_KEY, DEMO_MGMT_KEY) if is_demo else (INFERENCE_KEY, MANAGEMENT_KEY)
        with Sandbox(account()) as sandbox:
            asks(Asking(home, sandbox.url, *keys, told), sandbox)
    return told


# -- accounts --


def odd_account() -> Account:
    """A key without a limit that expires, below a budget that never resets."""
    account = Account(total_credits=Decimal(10), total_usage=Decimal(1))
    account.budgets.append(Budget("workspace", Decimal(5), Decimal(1), reset_interval=None))
    account.add_key(INFERENCE_KEY, usage=Decimal(1), expires_at=datetime(2099, 1, 1, tzinfo=timezone.utc))
    account.add_key(MANAGEMENT_KEY, is_management_key=True)
    return account


def limited_account() -> Account:
    """A key with a limit, and an account that has spent nothing in the last days."""
    account = Account(total_credits=Decimal(10), total_usage=Decimal(1))
    account.add_key(INFERENCE_KEY, usage=Decimal(1), limit=Decimal(5), is_free_tier=True)
    account.add_key(MANAGEMENT_KEY, is_management_key=True)
    return account


def many_keys() -> Account:
    """An account with a key of which everything is known."""
    account = Account.simple()
    soon = account.now() + timedelta(days=2)
    known = {"limit": Decimal(50), "limit_reset": "monthly", "expires_at": soon, "last_used_at": account.now()}
    account.add_key("another-key-0001", name="ci", **known)
    account.add_key("another-key-0002", name="old")
    return account


def blank(record: dict[str, Any]) -> None:
    """Take out of a key's record what OpenRouter need not say."""
    record.update({name: None for name in record if name not in FIXED_KEY_FIELDS})


def blank_answer(answer: Any) -> None:
    """The same for an answer with one key, or with many."""
    for record in answer["data"] if isinstance(answer["data"], list) else [answer["data"]]:
        blank(record)


# -- scenes --


def summaries(ask: Asking, sandbox: Sandbox) -> None:
    """stats.py with each set of keys, with parts missing, and with the ledger's help."""
    ask("stats.py")
    (ask.home / ".openrouter").mkdir(exist_ok=True)
    (ask.home / ".openrouter" / "usage.jsonl").write_text(json.dumps({**ENTRY, "ts": _now(), "cost": 900}) + "\n")
    ask("stats.py", "--source", "all", "--fees")
    (ask.home / ".openrouter" / "usage.jsonl").unlink()
    ask("stats.py", "--today", "--tz", "Asia/Tokyo", "--explain")
    ask("stats.py", "--month", "--compare", "previous")
    ask("stats.py", "--yesterday")
    sandbox.misbehave("/analytics/query", Fault.status(404))
    ask("stats.py", "--month")
    sandbox.behave()
    sandbox.account.add_activity("openai/gpt-5.2", days_ago=1, usage=Decimal(1000))
    ask("stats.py", "--explain")
    ask("credits")
    alone = Asking(ask.home, ask.url, key=ask.key, told=ask.told)
    alone("stats.py", "--tz", "Asia/Tokyo")
    (ask.home / ".openrouter" / "usage.jsonl").write_text(json.dumps({**ENTRY, "ts": _now()}) + "\n")
    alone("stats.py")
    Asking(ask.home, ask.url, mgmt_key=ask.mgmt_key, told=ask.told)("stats.py")
    Asking(ask.home, ask.url, told=ask.told)("stats.py")
    sandbox.misbehave("/key", Fault.status(403))
    ask("stats.py")
    sandbox.misbehave("*", Fault.html())
    ask("stats.py")


def odd_summaries(ask: Asking, sandbox: Sandbox) -> None:
    """stats.py with a key that expires, and budgets that do or do not reset."""
    ask("stats.py")
    sandbox.account.budgets[0].reset_interval = "weekly"
    ask("stats.py")


def ledger(ask: Asking, sandbox: Sandbox) -> None:
    """What reads and writes the ledger: stats, export, import, clean."""
    ask("stats")
    file = ask.home / "some.jsonl"
    file.write_text("".join(json.dumps({**ENTRY, "id": f"gen-{n}", "model": f"a/{n}"}) + "\n" for n in range(3)))
    ask("import", str(file))
    ask("import", str(file))
    cached = {**ENTRY, "id": "gen-cached", "cached_tokens": 1, "cache_discount": 0.25, "tool_cost": 0.1}
    with (ask.home / ".openrouter" / "usage.jsonl").open("a") as ledger_file:
        ledger_file.write(json.dumps(cached) + "\n")
    ask("stats", "--since", "2026-11-01", "--trend", "--top", "2", "--caching", "--fees", "--compare", "2026-10")
    ask("stats", "--today", "--tz", "Asia/Tokyo")
    ask("top")
    ask("stats", "--wek")
    ask("export", "--format", "csv", "--output", str(ask.home / "report.csv"))
    ask("report", "--svg", str(ask.home / "chart.svg"))
    ask("report", "--svg", str(ask.home / "account.svg"), "--source", "account", OPENROUTER_MGMT_KEY="")
    ask("clean", "--before", "2026-11-21")
    ask("clean", "--before", "2026-11-21", "--yes")
    ask("clean", "--ahead")


def calls(ask: Asking, sandbox: Sandbox) -> None:
    """call, query, settle and budget, with answers that leave out what they may."""
    account = sandbox.account
    ask("budget")
    ask("call", *GPT, "--no-track")
    Asking(ask.home, ask.url, key=ask.key, told=ask.told)("call", *GPT, "--no-track")
    account.script(Reply(byok_upstream=Decimal("0.5")))
    generation = ask("call", *GPT, "--max-tokens", "9")["data"]["usage"]["generation_id"]
    account.generation_lag_requests = "never"
    account.script(Reply(usage="null_cost"))
    nameless = Fault.mutate(_nameless) & Fault.headers({"X-Generation-Id": ""})
    sandbox.misbehave("/chat/completions", nameless, times=1)
    ask("call", *GPT)
    account.script(Reply(usage="missing", stream=Stream(usage_chunk="missing")))
    ask("call", *GPT, "--stream", "--max-cost", "0.5")
    account.script(Reply(usage="missing", stream=Stream(usage_chunk="missing")))
    ask("call", *GPT, "--stream")
    with (ask.home / ".openrouter" / "usage.jsonl").open("a") as books:
        books.write('{"kind":"hold","hold":"killed","ts":"2026-11-22T10:00:00Z","model":"a/b"}\n')
        books.write(json.dumps({**ENTRY, "id": "gen-nobody-knows", "cost": None}) + "\n")
    ask("top", "--top", "1")
    ask("settle")
    ask("stats")
    account.generation_lag_requests = 0
    ask("settle")
    ask("budget set", "--client", "laptop", "--total", "9", "--burst", "2/10min", "--repeats", "5")
    ask("budget set", "--session", "*", "--daily", "9")
    ask("budget set", "--daily", "1", "--per-request", "0.5")
    ask("budget set", "--session", "s", "--daily", "0")
    tags = (f"--tag={kind}=x" for kind in ("client", "project", "agent", "member"))
    ask("call", *GPT, "--max-tokens", "9", "--session", "s", *tags)
    with (ask.home / ".openrouter" / "usage.jsonl.refused").open("a") as refused:
        refused.write('{"ts":"2026-11-22T10:00:00Z","code":"unbounded","model":"a/b","message":"under a budget ..."}\n')
    ask("budget log")
    ask("budget")
    ask("query", "--id", generation)
    ask("query", "--id", generation, "--record")
    account.generations[generation].overrides = {"cache_discount": Decimal("0.1"), "service_tier": "default"}
    ask("query", "--id", generation)
    sandbox.misbehave("/generation", Fault.mutate(_nothing_but_the_cost))
    ask("query", "--id", generation)
    sandbox.misbehave("/key", Fault.status(500), times=10)
    ask("call", *GPT, "--max-tokens", "9")
    sandbox.misbehave("/key", Fault.mutate(lambda answer: answer["data"].update(usage=None)))
    ask("call", *GPT, "--max-tokens", "9")


def _nameless(answer: Any) -> None:
    for name in ("id", "provider"):
        answer.pop(name)
    answer["choices"][0]["finish_reason"] = None


def _nothing_but_the_cost(answer: Any) -> None:
    kept = ("id", "model", "total_cost", "is_byok")
    answer["data"] = {name: value for name, value in answer["data"].items() if name in kept}


def limits(ask: Asking, sandbox: Sandbox) -> None:
    """credits where everything is known, and a call with a key that has a limit."""
    ask("credits")
    ask("call", *GPT, "--max-tokens", "9")
    ask("alert", "--daily-limit", "1", "--weekly-limit", "1", "--monthly-limit", "1", "--balance-below", "500")
    ask("alert")
    more = ("--runway-days", "5", "--spike", "3x", "--budgets", "80", "--webhook", "https://alerts.invalid/your-path", "--list")
    ask("alert", *more)
    ask("alert", "--clear")


def scarce_credits(ask: Asking, sandbox: Sandbox) -> None:
    """credits where little is known: nothing spent, no key, no balance, no limit."""
    ask("credits")
    Asking(ask.home, ask.url, key=ask.key, told=ask.told)("credits")
    sandbox.misbehave("/key", Fault.mutate(lambda answer: answer["data"].update(usage_weekly=None)))
    ask("credits")
    ask("stats.py")
    for command in ("credits", "stats.py"):
        Asking(ask.home, ask.url, key=ask.key, told=ask.told)(command)
    sandbox.misbehave("/key", Fault.status(403))
    ask("credits")
    sandbox.misbehave("/credits", Fault.status(500))
    sandbox.misbehave("/key", Fault.mutate(lambda answer: answer["data"].update(limit=None, limit_remaining=None)))
    ask("credits")


def keys(ask: Asking, sandbox: Sandbox) -> None:
    """keys and cap: lists, dry runs and changes, also when OpenRouter says as little as it may."""
    ask("keys list")
    fields = ("--name", "cd", "--limit", "5", "--limit-reset", "daily", "--expires", "2099-01-01")
    ask("keys create", *fields)
    ask("keys create", *fields, "--dry-run")
    ask("keys create", *fields, "--yes")
    ask("keys disable", "ci", "--dry-run")
    ask("keys update", "ci", "--unlimited", "--dry-run")
    ask("keys disable", "ci", "--yes")
    ask("keys delete", "old", "--dry-run")
    ask("cap", "--daily", "5", "--key", "ci", "--dry-run")
    ask("cap", "--daily", "5", "--key", "ci", "--yes")
    sandbox.misbehave("GET /keys", Fault.mutate(blank_answer))
    ask("keys list")
    sandbox.misbehave("PATCH /keys/*", Fault.mutate(blank_answer))
    ask("keys enable", "ci", "--yes")
    ask("cap", "--daily", "6", "--key", "ci", "--yes")


def prices(ask: Asking, sandbox: Sandbox) -> None:
    """models and what-if, with prices that vary and lengths that nobody tells."""
    sandbox.account.models[0].context_length = None
    sandbox.account.models[1].more["request"] = "-1"
    ask("models")
    ask("models", "auto")
    ask("models compare", "openai/gpt-5.2", "openrouter/auto")
    ask("what-if", "--model", "openai/gpt-5.2")
    ask("what-if")
    (ask.home / ".openrouter").mkdir(exist_ok=True)
    with (ask.home / ".openrouter" / "usage.jsonl").open("a") as file:
        file.write(json.dumps({**ENTRY, "ts": _now(), "model": "openai/gpt-5.2", "id": "gen-priced"}) + "\n")
    ask("what-if")


def archive(ask: Asking, sandbox: Sandbox) -> None:
    """sync, and what stats makes of it: new and corrected days, a gap, and another account."""
    account = sandbox.account
    ask("stats", "--source", "account")
    ask("sync", "--backfill", "33")
    path = ask.home / ".openrouter" / "activity.jsonl"
    lost = (account.today() - timedelta(days=32)).isoformat()
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if lost.encode() not in line))
    account.activity[0].usage += 1
    ask("sync")
    ask("stats", "--source", "account", "--trend", "--by", "day")
    yesterday = (datetime.now(timezone.utc) - timedelta(days=1)).strftime("%Y-%m-%dT12:00:00Z")
    (ask.home / ".openrouter" / "usage.jsonl").write_text(json.dumps({**ENTRY, "ts": yesterday, "cost": 900}) + "\n")
    ask("stats", "--source", "all")
    (watcher,) = [key for key in account.keys if key.is_management_key]
    watcher.creator_user_id = "user_of_another_account"
    ask("sync")


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def unequal_books() -> Account:
    """An account with a call of yesterday, and two keys that cannot be told apart by what they show of themselves."""
    account = Account.simple()
    account.add_activity("openai/gpt-5.2", usage=Decimal("0.25"), key_hash=account.keys[0].hash)
    return account


def books(ask: Asking, sandbox: Sandbox) -> None:
    """reconcile with a ledger that has other calls, with parts missing, and without a management key."""
    folder = ask.home / ".openrouter"
    folder.mkdir()
    yesterday = (sandbox.account.now() - timedelta(days=1)).isoformat()
    (folder / "usage.jsonl").write_text(json.dumps({**ENTRY, "ts": yesterday}) + "\n")
    ask("reconcile")
    sandbox.misbehave("/keys", Fault.status(403))
    ask("reconcile")
    sandbox.misbehave("/analytics/query", Fault.status(404))
    ask("reconcile", "--tolerance", "1000")
    sandbox.behave("/analytics/query")
    alone = Asking(ask.home, ask.url, key=ask.key, told=ask.told)
    alone("reconcile")
    sandbox.misbehave("/key", Fault.mutate(lambda answer: answer["data"].update(usage_monthly=None)))
    alone("reconcile")


def logs(ask: Asking, sandbox: Sandbox) -> None:
    """collect with a call to book and one that OpenRouter does not know, an estimate, and reconcile beside it."""
    calls = [Made(0, "gen-1790000000-gone"), *some(2, at_s=int(sandbox.account.now().timestamp()) - 900)[1:]]
    claude(ask.home, calls[:1])
    pi(ask.home, calls)
    codex(ask.home, calls)
    places = {"XDG_DATA_HOME": "", "CODEX_HOME": "", "CLAUDE_CONFIG_DIR": "", "OPENCLAW_STATE_DIR": "", "APPDATA": ""}
    ask("collect", "--dry-run", **places)
    ask("collect", **places)
    sandbox.account.keys[0].usage = sandbox.account.keys[0].usage_daily = Decimal(1)
    Asking(ask.home, ask.url, key=ask.key, told=ask.told)("reconcile")


def checkups(ask: Asking, sandbox: Sandbox) -> None:
    """doctor with all well, offline, without a management key, and with something wrong."""
    ask("doctor")
    ask("doctor", "--offline")
    Asking(ask.home, ask.url, key=ask.key, told=ask.told)("doctor")
    sandbox.misbehave("/models", Fault.reset())
    ask("doctor")


def gateways(ask: Asking, sandbox: Sandbox) -> None:
    """gateway with a gateway that runs and without one, and what that prints when it begins to listen."""
    ask("gateway key", "list")
    ask("gateway key", "add", "ci", "--tag", "project=site")
    limits = ("--daily", "1", "--monthly", "2", "--per-request", "0.5", "--max-cost", "0.1")
    ask("gateway key", "add", "laptop", *limits)
    ask("gateway key", "list")
    ask("gateway key", "remove", "ci", "--yes")
    ask("gateway setup", "codex")
    ask("gateway unit", "systemd")
    ask("gateway status")
    with running(ask.home, sandbox, "--no-keys", "--json") as gateway:
        ask.told.setdefault(gateway.envelope["kind"], []).append(gateway.envelope)
        gateway.post()
        ask("gateway status")
        ask("gateway page")


def teams(ask: Asking, sandbox: Sandbox) -> None:
    """team with a server of its own, where PostgreSQL is installed."""
    if postgres.BIN is None:
        return
    with postgres.running() as server:
        server.run("CREATE DATABASE team")
        for command in ("team init", "team", "budget set --team --daily 5", "budget set --team --member me --total 5", "team", "budget"):
            ask(command, OPENROUTER_LEDGER=server.url())
        for words in ((), ("take", "1", "--hours", "2"), (), ("return",), ("take", "2")):
            ask("team allowance", *words, OPENROUTER_LEDGER=server.url())
        (identity,) = (each["data"]["id"] for each in ask.told["team-allowance"][-1:])
        ask("team allowance", "release", identity, OPENROUTER_LEDGER=server.url())
        ask("team allowance", "return", OPENROUTER_LEDGER=server.url())
        for words in (("invite", "me", "--output", "me.env"), ("push",), ("pull", "--output", "all.jsonl")):
            named = [str(ask.home / word) if "." in word else word for word in words]
            ask("team", *named, OPENROUTER_LEDGER=server.url())


SCENES: list[tuple[Callable[[], Account], Callable[[Asking, Sandbox], None]]] = [
    (demo_account, summaries),
    (odd_account, odd_summaries),
    (Account.simple, ledger),
    (Account.simple, calls),
    (demo_account, limits),
    (limited_account, scarce_credits),
    (many_keys, keys),
    (Account.simple, prices),
    (Account.simple, checkups),
    (unequal_books, books),
    (Account.simple, logs),
    (demo_account, archive),
    (Account.simple, gateways),
    (Account.simple, teams),
]
