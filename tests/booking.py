"""Runs cost_tracker.py for the tests, writes ledgers for it to read, and sums them without its help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import write_line
from tests.ledger_model import whole_call
from tests.running import ROOT, Ran, assert_no_secret, contents, exact_json, run_program
from tests.sandbox import INFERENCE_KEY
from tests.storm.audit import Audit, audit

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
TRACKER = ROOT / "scripts" / "cost_tracker.py"
PROGRAM = "cost_tracker.py"
NOWHERE = "http://127.0.0.1:9"
COUNTS = (
    "requests", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_usd", "byok_usd", "unknown_cost_calls", "estimated_cost_calls",
)  # fmt: skip
NAMELESS = {"session": "(no session)", "provider": "(unknown provider)", "tag": "(no tags)"}


class Booked(Ran):
    """How one run of cost_tracker.py ended."""

    @property
    def error_line(self) -> str:
        """What went wrong: exactly one line on standard error, and no traceback."""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.err.startswith(PROGRAM), self.err
        return self.err


def call(ts: str = "2026-11-22T10:30:00Z", model: str = "openai/gpt-5.2", cost: Any = "0.0025", **more: Any) -> bytes:
    """A ledger line as any program may write it; a cost of None is left out, one that is a text is written as it is."""
    values = {"ts": ts, "model": model, "prompt_tokens": 1500, "completion_tokens": 500, **more}
    text = json.dumps(values)
    return (text if cost is None else f'{text[:-1]}, "cost": {cost}}}').encode() + b"\n"


def hold(identity: str, ts: str = "2026-11-22T10:00:00Z", most: str | None = "0.5", **more: Any) -> bytes:
    """The line of money that was set aside."""
    values = {"kind": "hold", "hold": identity, "ts": ts, "model": "openai/gpt-5.2", **more}
    text = json.dumps(values)
    return (text if most is None else f'{text[:-1]}, "max_cost": {most}}}').encode() + b"\n"


def release(identity: str, ts: str = "2026-11-22T10:01:00Z") -> bytes:
    """The line of a hold that ended unused."""
    return json.dumps({"kind": "release", "hold": identity, "ts": ts}).encode() + b"\n"


def moment(text: str) -> datetime:
    """A moment from its text in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# -- sums from the lines, without the program ------------------------------------------------------------------------


def calls_in(data: bytes) -> list[dict[str, Any]]:
    """The calls of ledger lines that tests wrote, those of each id as one."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for number, line in enumerate(data.splitlines()):
        values = exact_json(line.decode())
        if "kind" not in values:
            found.setdefault(values.get("id") or number, []).append(values)
    return list(map(whole_call, found.values()))


def name_of(values: Mapping[str, Any], by: str, zone: tzinfo = UTC) -> str:
    """The group that a call belongs to."""
    if by == "day":
        return moment(values["ts"]).astimezone(zone).date().isoformat()
    if by == "tag":
        return " ".join(f"{name}={text}" for name, text in sorted(values.get("tags", {}).items())) or NAMELESS["tag"]
    return values.get(by) or NAMELESS[by]


def total(amounts: Iterable[Decimal]) -> Decimal:
    """An exact sum: the usual 28 digits are too few for a million with 27 decimals."""
    with localcontext() as context:
        context.prec = 200
        return sum(amounts, Decimal(0))


def summed(calls: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What calls add up to, under the names of the faces."""
    calls = list(calls)
    count = lambda name: sum(int(values.get(name, 0)) for values in calls)  # noqa: E731
    money = lambda name: total(Decimal(values.get(name) or 0) for values in calls)  # noqa: E731
    whole = {name: count(name) for name in COUNTS if name.endswith("_tokens") and name != "total_tokens"}
    return {
        "requests": len(calls),
        **whole,
        "total_tokens": count("prompt_tokens") + count("completion_tokens"),
        "cost_usd": money("cost"),
        "byok_usd": money("byok_cost"),
        "unknown_cost_calls": sum(values.get("cost") is None for values in calls),
        "estimated_cost_calls": sum(values.get("cost_source") == "estimated" for values in calls),
    }


def added(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What rows of a face add up to."""
    rows = list(rows)
    return {name: total(Decimal(row[name]) for row in rows) for name in COUNTS}


def grouped(calls: Iterable[Mapping[str, Any]], by: str, zone: tzinfo = UTC) -> dict[str, dict[str, Any]]:
    """The sums of each group."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for values in calls:
        groups.setdefault(name_of(values, by, zone), []).append(values)
    return {name: summed(found) for name, found in groups.items()}


# -- the program -----------------------------------------------------------------------------------------------------


@dataclass
class Tracker:
    """cost_tracker.py under a home of its own; every run is searched for the keys that were given to it."""

    home: Path
    url: str = NOWHERE
    env: dict[str, str | None] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the ledger."""
        return self.home / ".openrouter"

    @property
    def ledger(self) -> Path:
        """The ledger that is used unless another is named."""
        return self.folder / "usage.jsonl"

    @property
    def bytes(self) -> bytes:
        """All of the ledger."""
        return self.ledger.read_bytes()

    def opened(self) -> Any:
        """The ledger as the library opens it."""
        from openrouter_usage.ledger.ledger import Ledger

        return Ledger(self.ledger)

    def audit(self) -> Audit:
        """What the lines of the ledger say of its holds and calls."""
        return audit(self.ledger)

    def write(self, *lines: bytes) -> None:
        """Append to the ledger, as any program may."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with self.ledger.open("ab") as file:
            file.write(b"".join(lines))

    def fill(self, *lines: bytes) -> None:
        """Let the ledger have these lines, and no others."""
        self.ledger.unlink(missing_ok=True)
        if lines:
            self.write(*lines)

    def at(self, now: datetime | None) -> None:
        """Let whoever has a clock of its own beside the program's have this time; a file has none."""

    def environment(self, env: Mapping[str, str | None]) -> dict[str, str]:
        """The whole environment of a run: nothing is inherited but PATH."""
        wanted: dict[str, str | None] = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "COLUMNS": "80",
            "TMPDIR": os.environ.get("TMPDIR"),
            "OPENROUTER_BASE_URL": self.url,
            "OPENROUTER_API_KEY": INFERENCE_KEY,
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            **self.env,
            **env,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def __call__(
        self,
        *argv: str,
        env: Mapping[str, str | None] | None = None,
        shell: str = "",
        secrets: Sequence[str] = (),
        room: int | None = None,
        **options: Any,
    ) -> Booked:
        """Run the program; with `shell` behind a redirection such as `>&-`, with `room` on a disk that is full.

        No file may become larger than `room` bytes then.
        """
        environment = self.environment(env or {})
        if room is not None:
            options["preexec_fn"] = lambda: _no_room(room)
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [sys.executable, str(TRACKER), *argv]
        before = contents(self.home)
        if shell:
            command = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *command]
        done = run_program(command, environment, warm_words=None if shell else command[1:], **options)
        ran = Booked(done.returncode, done.stdout.decode(), done.stderr.decode())
        keys = [environment.get(name, "") for name in ("OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY")]
        assert_no_secret([*keys, *secrets], ran, self.home, before, () if secrets else argv)
        assert ran.code != 1 and "Traceback" not in ran.err, ran.err
        return ran

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the program and leave it running."""
        return subprocess.Popen(
            [sys.executable, str(TRACKER), *argv],
            env=self.environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )


@dataclass
class TrackerAt:
    """cost_tracker.py in this process: with a clock, or for a long table of cases."""

    tracker: Tracker
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, now: datetime | None, *argv: str, env: Mapping[str, str | None] | None = None) -> Booked:
        """Run with a clock that stands at `now`, or with the real one."""
        from openrouter_usage.cli.program import run

        wanted = {**dict.fromkeys(self.tracker.env), **self.tracker.environment(env or {})}
        for name, value in {**wanted, **(env or {})}.items():
            if value is None:
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.monkeypatch.setenv(name, value)
        self.tracker.at(now)
        before = contents(self.tracker.home)
        self.capsys.readouterr()
        code = run(PROGRAM, lambda words: _program(words, now), list(argv))
        captured = self.capsys.readouterr()
        ran = Booked(code, captured.out, captured.err)
        assert_no_secret([INFERENCE_KEY], ran, self.tracker.home, before, argv)
        assert ran.code != 1 and "Traceback" not in ran.err, ran.err
        return ran


def _no_room(room: int) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def _program(words: Sequence[str], now: datetime | None) -> int:
    from openrouter_usage.cli.cost_tracker import main

    return main(words, now=now)


def written(entries: Iterable[Any]) -> bytes:
    """Entries as the program writes them."""
    return b"".join(map(write_line, entries))


def sample() -> bytes:
    """A ledger with something of everything: two months, every kind of cost, and lines that are no calls."""
    return b"".join(
        [
            call("2026-10-31T23:59:59Z", "google/gemini-3-flash", "1.2", id="gen-october"),
            call("2026-11-01T00:00:00Z", "google/gemini-3-flash", "0.8", id="gen-first", provider="Google"),
            call("2026-11-16T00:00:00Z", "anthropic/claude-sonnet-4.5", "2.5", id="gen-monday", session="nightly",
                 provider="Anthropic", tags={"project": "x"}, cached_tokens=900, cache_write_tokens=100),
            b'{"ts":"2026-11-18T08:00:00Z","model":"torn',
            b"\n",
            call("2026-11-20T18:00:00+09:00", "openai/gpt-5.2", "0.000000000000000000000000001", id="gen-finest",
                 reasoning_tokens=64, session="nightly"),
            b'{"kind":"marker","ts":"2026-11-20T00:00:00Z"}\n',
            call("2026-11-21T23:00:00Z", "openai/gpt-5.2", "0.30000000000000004", tags={"project": "x", "step": "2"}),
            call("2026-11-22T09:00:00Z", "openai/gpt-5.2", None, id="gen-unknown"),
            call("2026-11-22T10:00:00Z", "openai/gpt-5.2", "0.05", id="gen-estimated", cost_source="estimated"),
            call("2026-11-22T10:30:00Z", "google/gemini-3-flash", "0", id="gen-byok", byok_cost=4.2, provider="Google"),
            hold("2f1e", "2026-11-22T11:00:00Z", "0.25"),
            call("2026-11-22T11:30:00Z", "anthropic/claude-sonnet-4.5", "0.015", id="gen-last", provider="Anthropic"),
        ]
    )  # fmt: skip
