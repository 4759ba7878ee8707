"""A shared ledger for the tests: a database of their own, members, a clock that a test sets, and programs that use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

from openrouter_usage.entry import Entry, Hold, Release, read_line
from openrouter_usage.home.settings import shared_ledger
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_server import initialise
from tests.booking import Tracker
from tests.postgres import Server

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
        """Run SQL as the owner."""
        return self.server.run(f"SET search_path = openrouter_usage; {text}", database=self.database)

    def at(self, now: datetime | None) -> None:
        """Set the server's clock; None lets it run."""
        value = "" if now is None else f"INSERT INTO test_clock VALUES ('{now.isoformat()}')"
        self.sql(f"DELETE FROM test_clock; {value}")

    def empty(self) -> None:
        """Take everything out again."""
        self.sql(f"TRUNCATE {TABLES}")

    def write(self, *lines: bytes) -> None:
        """Write lines of the file format, as programs would have at the time of each line."""
        ledger = self.ledger()
        for line in b"".join(lines).splitlines():
            record = read_line(line)
            if isinstance(record, Hold):
                self.at(record.ts)
                ledger.hold(record, lambda books: None)
                self.at(None)
            elif isinstance(record, Release):
                ledger.release(record.hold, record.ts)
            elif isinstance(record, Entry):
                self.at(record.ts)
                (ledger.settle if record.hold else ledger.append)(record)
                self.at(None)


@dataclass
class TeamTracker(Tracker):
    """cost_tracker.py with a shared ledger; `write` fills that one, and there is no file."""

    team: Team | None = None

    def write(self, *lines: bytes) -> None:
        """Write to the shared ledger."""
        assert self.team is not None
        self.team.write(*lines)


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
        while team.opened:
            team.opened.pop().close()
