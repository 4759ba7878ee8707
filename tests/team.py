"""A shared ledger for the tests: a database of their own, members, a clock that a test sets, and programs that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from openrouter_usage.entry import Entry, Hold, Release, read_line
from openrouter_usage.home.settings import shared_ledger
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_server import initialise
from tests.booking import Tracker, written
from tests.postgres import Server
from tests.storm.audit import Audit, audit

_NUMBERS = count(1)
_TEMPLATE = "made"
MEMBERS = ("alice", "bob", "carol")
# What stands in the way of a test is the time of a day: the tables say what it is, if anything.
_CLOCK = """
CREATE TABLE openrouter_usage.test_clock (at timestamptz);
CREATE OR REPLACE FUNCTION openrouter_usage.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT coalesce((SELECT at FROM openrouter_usage.test_clock), clock_timestamp())';
"""
TABLES = "call, rollup, hold, cap, test_clock"


@dataclass
class Team:
    """One database with a ledger in it."""

    server: Server
    database: str
    folder: Path
    opened: list[TeamLedger] = field(default_factory=list)
    _boss: psycopg.Connection[Any] | None = None
    _writing: TeamLedger | None = None
    _now: datetime | None = None

    def url(self, member: str = "alice", password: str = "") -> str:
        """The address of the ledger for a member; `boss` administers it."""
        return self.server.url(user=member, database=self.database, password=password)

    def ledger(self, member: str = "alice", *, wait_s: float = 10.0, machine: str = "") -> TeamLedger:
        """The ledger as the library opens it; closed at the end of the test."""
        address = shared_ledger({"OPENROUTER_LEDGER": self.url(member)})
        assert address is not None
        made = TeamLedger(address, self.folder / "team.jsonl", wait_s=wait_s)
        made.machine = machine or made.machine
        self.opened.append(made)
        return made

    def sql(self, text: str) -> list[tuple[object, ...]]:
        """Run SQL as the owner, and return the rows of the last statement."""
        try:
            return self._run(text)
        except psycopg.OperationalError:  # the server was started again meanwhile
            self.close()
            return self._run(text)

    def _run(self, text: str) -> list[tuple[object, ...]]:
        if self._boss is None:
            url = self.server.url(database=self.database)
            self._boss = psycopg.connect(url, autocommit=True, options="-c search_path=openrouter_usage")
        done = self._boss.execute(text.encode())
        while done.nextset():
            pass
        return done.fetchall() if done.description else []

    def close(self) -> None:
        """Close the owner's connection, and all ledgers."""
        if self._boss is not None:
            self._boss.close()
        self._boss = self._writing = None
        while self.opened:
            self.opened.pop().close()

    def at(self, now: datetime | None) -> None:
        """Set the server's clock; None lets it run."""
        if now == self._now:
            return
        value = "" if now is None else f"INSERT INTO test_clock VALUES ('{now.isoformat()}')"
        self.sql(f"DELETE FROM test_clock; {value}")
        self._now = now

    def empty(self) -> None:
        """Take everything out again, whoever is in the middle of something."""
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        self.sql("; ".join(f"DELETE FROM {table}" for table in TABLES.split(", ")))
        self._now = None

    def write(self, *lines: bytes) -> None:
        """Write lines of the file format, as programs would have at the time of each line; others are left out."""
        if self._writing is None:
            self._writing = self.ledger()
        ledger, before = self._writing, self._now
        for line in b"".join(lines).splitlines():
            record = read_line(line)
            if isinstance(record, Hold):
                self.at(record.ts)
                ledger.hold(record, lambda books: None)
            elif isinstance(record, Release):
                ledger.release(record.hold, record.ts)
            elif isinstance(record, Entry) and record.hold:
                self.at(record.ts)
                ledger.settle(record)
            elif isinstance(record, Entry):
                ledger.append_all([record], may_lower=False)  # as lines of other programs are read
        self.at(before)


@dataclass
class TeamTracker(Tracker):
    """cost_tracker.py with a shared ledger; `write` fills that one, and there is no file."""

    team: Team | None = None

    def write(self, *lines: bytes) -> None:
        """Write to the shared ledger; the folder is there, as it is of a file."""
        assert self.team is not None
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.team.write(*lines)

    def opened(self) -> TeamLedger:
        """The shared ledger."""
        assert self.team is not None
        return self.team.ledger()

    @property
    def bytes(self) -> bytes:
        """All of it as a file would have it: holds, those of them that were released, and calls."""
        assert self.team is not None
        kept = self.team.sql("SELECT record::text FROM hold UNION ALL SELECT * FROM (SELECT jsonb_build_object('kind',"
                             " 'release', 'hold', key, 'ts', at)::text FROM hold WHERE state = 'released') gone")  # fmt: skip
        return "".join(f"{line}\n" for (line,) in kept).encode() + written(self.team.ledger().entries())

    def audit(self) -> Audit:
        """What those lines say."""
        path = self.home / "as-a-file.jsonl"
        path.write_bytes(self.bytes)
        try:
            return audit(path)
        finally:
            path.unlink()

    def fill(self, *lines: bytes) -> None:
        """Let the shared ledger have these lines, and no others."""
        assert self.team is not None
        self.team.close()
        self.team.empty()
        self.team.write(*lines)

    def at(self, now: datetime | None) -> None:
        """Let the server have this time as well."""
        assert self.team is not None
        self.team.at(now)


@contextmanager
def made(server: Server, folder: Path) -> Iterator[Team]:
    """A ledger that is set up, in a new database."""
    known = {name for (name,) in server.run("SELECT datname FROM pg_database")}
    if _TEMPLATE not in known:
        server.run(f"CREATE DATABASE {_TEMPLATE}")
        first = Team(server, _TEMPLATE, folder)
        try:
            initialise(first.ledger("boss").server)
        finally:
            first.opened.pop().close()
        server.run(_CLOCK, database=_TEMPLATE)
        for member in MEMBERS:
            server.run(f"CREATE ROLE {member} LOGIN IN ROLE openrouter_usage_member")
    team = Team(server, f"team{next(_NUMBERS)}", folder)
    server.run(f"CREATE DATABASE {team.database} TEMPLATE {_TEMPLATE}")
    try:
        yield team
    finally:
        team.close()
