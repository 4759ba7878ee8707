"""The file beside the ledger with what other programs logged: how far each log was read, ids, and estimates.

It is derived, as the ledger's index is: deleted, it is made again from the logs. Nothing in it is in any sum of the
ledger. A call with the id of a generation waits there until OpenRouter has said what it cost; one without an id stays,
as an estimate.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from openrouter_usage.errors import LedgerError
from openrouter_usage.figures.logs.logged import Logged
from openrouter_usage.figures.seen_in_logs import Estimate
from openrouter_usage.files import distrust, make_private_folder
from openrouter_usage.money import plain
from openrouter_usage.text import safe

VERSION = 1
WAITING, BOOKED, UNKNOWN, REFUSED = range(4)
_OURS = 0x4F52_554C  # "ORUL": tells this file from any other database
_TABLES = """
CREATE TABLE files (path BLOB PRIMARY KEY, client TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, offset INTEGER NOT NULL, mark INTEGER NOT NULL,
    context TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE skipped (path BLOB NOT NULL, client TEXT NOT NULL, why TEXT NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (path, why)) WITHOUT ROWID;
CREATE TABLE calls (id TEXT PRIMARY KEY, client TEXT NOT NULL, at_s INTEGER NOT NULL, model TEXT NOT NULL,
    session TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, prompt INTEGER NOT NULL,
    completion INTEGER NOT NULL, cached INTEGER NOT NULL, written INTEGER NOT NULL, cost TEXT,
    state INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX waiting ON calls (at_s) WHERE state = 0;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE estimates (client TEXT NOT NULL, key TEXT NOT NULL, at_s INTEGER NOT NULL, model TEXT NOT NULL,
    session TEXT NOT NULL, project TEXT NOT NULL, agent TEXT NOT NULL, prompt INTEGER NOT NULL,
    completion INTEGER NOT NULL, cached INTEGER NOT NULL, written INTEGER NOT NULL, cost TEXT,
    PRIMARY KEY (client, key)) WITHOUT ROWID;
"""
# The line with the largest output is the last of its answer; where the outputs are equal the first one stays.
_ADD_CALL = """
INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (id) DO UPDATE SET prompt = excluded.prompt, completion = excluded.completion, cached = excluded.cached,
    written = excluded.written, cost = excluded.cost, model = excluded.model
WHERE excluded.completion > completion AND state = 0
"""
_ADD_ESTIMATE = """
INSERT INTO estimates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (client, key) DO UPDATE SET prompt = excluded.prompt, completion = excluded.completion,
    cached = excluded.cached, written = excluded.written, cost = excluded.cost, model = excluded.model
WHERE excluded.completion >= completion
"""
_ADD_FILE = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WAITING = """
SELECT client, id, at_s, model, id, session, project, agent, prompt, completion, cached, written, cost FROM calls
WHERE state = 0 ORDER BY at_s, id
"""
_SUM_OF_SESSION = "SELECT prompt, completion, cached, written, cost FROM estimates WHERE client = ? AND session = ?"


class Read(NamedTuple):
    """How far a file was read: what the system knew of it then, the offset, a mark of the bytes before, and context."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    offset: int
    mark: int
    context: str


class Waiting(NamedTuple):
    """A call whose id OpenRouter can be asked about, and the program that logged it."""

    client: str
    call: Logged


class LogBook:
    """What was read of logs; every method raises LedgerError when the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made if it is missing, and made again if it is damaged or of another version."""
        self.path = path
        try:
            make_private_folder(path.parent)
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from None

    def _open(self) -> sqlite3.Connection:
        for is_last in (False, True):
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            why = distrust(os.lstat(self.path))
            if why:
                raise OSError(0, why)
            db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            try:
                if _prepared(db):
                    return db
            except sqlite3.DatabaseError as error:
                if is_last or isinstance(error, sqlite3.OperationalError):
                    db.close()
                    raise
            db.close()
            for end in ("-wal", "-shm", "-journal", ""):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}{end}")
        raise sqlite3.DatabaseError("it is another database")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def files(self) -> dict[bytes, Read]:
        """Return how far each file was read."""
        query = "SELECT path, device, inode, size, mtime_ns, offset, mark, context FROM files"
        return {path: Read(*rest) for path, *rest in self._rows(query)}

    def begin(self) -> None:
        """Begin to write; `commit` makes it last."""
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End what `begin` began."""
        self._run("COMMIT")

    def add(self, client: str, calls: Iterable[Logged]) -> None:
        """Add calls: each id and each key once, with the largest output that was logged for it."""
        with_id, without = [], []
        for call in calls:
            key, at_s, model, identity, *rest, cost = call
            told = None if cost is None else plain(cost)
            if identity:
                with_id.append((identity, client, at_s, model, *rest, told))
            else:
                without.append((client, key, at_s, model, *rest, told))
        self._run_many(_ADD_CALL, with_id)
        self._run_many(_ADD_ESTIMATE, without)

    def add_sums(self, client: str, sums: Iterable[Logged]) -> None:
        """Add what sessions have used since they were read before; sums of a whole session only grow."""
        for call in sums:
            known = list(self._rows(_SUM_OF_SESSION, (client, call.session)))
            prompt, completion, cached, written = (sum(row[place] for row in known) for place in range(4))
            costs = [Decimal(row[4]) for row in known if row[4] is not None]
            cost = call.cost if call.cost is None else max(Decimal(0), call.cost - sum(costs))
            grown = call._replace(
                key=f"{call.key}:{call.prompt_tokens}:{call.completion_tokens}",
                prompt_tokens=max(0, call.prompt_tokens - prompt),
                completion_tokens=max(0, call.completion_tokens - completion),
                cached_tokens=max(0, call.cached_tokens - cached),
                cache_write_tokens=max(0, call.cache_write_tokens - written),
                cost=cost,
            )
            if grown.prompt_tokens or grown.completion_tokens or grown.cost:
                self.add(client, [grown])

    def note_file(self, path: bytes, client: str, read: Read, skipped: Mapping[str, int], *, from_start: bool) -> None:
        """Write down how far a file was read, and how many of its records were skipped and why."""
        if from_start:
            self._run("DELETE FROM skipped WHERE path = ?", (path,))
        self._run(_ADD_FILE, (path, client, *read))
        for why, number in skipped.items():
            self._run(
                "INSERT INTO skipped VALUES (?, ?, ?, ?) ON CONFLICT (path, why) DO UPDATE SET "
                "records = records + excluded.records",
                (path, client, why, number),
            )

    def waiting(self) -> Iterator[Waiting]:
        """Yield the calls that OpenRouter was not asked about, the oldest first."""
        for client, *values in self._rows(_WAITING):
            call = Logged._make(values)
            yield Waiting(client, call._replace(cost=None if call.cost is None else Decimal(call.cost)))

    def has_waiting(self) -> bool:
        """Check whether there is a call that OpenRouter was not asked about."""
        return any(True for _ in self._rows("SELECT 1 FROM calls WHERE state = 0 LIMIT 1"))

    def waiting_count(self) -> int:
        """Return how many calls OpenRouter was not asked about."""
        return int(next(self._rows("SELECT count(*) FROM calls WHERE state = 0"))[0])

    def note(self, name: str) -> str:
        """Return what was noted under a name, "" for nothing."""
        return next((str(value) for (value,) in self._rows("SELECT value FROM notes WHERE name = ?", (name,))), "")

    def write_note(self, name: str, value: str) -> None:
        """Note something under a name."""
        self._run("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def settle(self, identities: Iterable[str], state: int) -> None:
        """Write down what became of some calls: booked, unknown to OpenRouter, or another account's."""
        self.begin()
        self._run_many("UPDATE calls SET state = ? WHERE id = ?", [(state, identity) for identity in identities])
        self.commit()

    def ask_again(self) -> None:
        """Let the calls wait again that OpenRouter did not know, or refused to tell of."""
        self._run("UPDATE calls SET state = 0 WHERE state IN (?, ?)", (UNKNOWN, REFUSED))

    def states(self) -> dict[str, dict[int, int]]:
        """Return how many calls of each client are in each state."""
        found: dict[str, dict[int, int]] = {}
        for client, state, number in self._rows("SELECT client, state, count(*) FROM calls GROUP BY client, state"):
            found.setdefault(client, {})[state] = number
        return found

    def skipped(self) -> dict[str, dict[str, int]]:
        """Return how many records of each client were skipped, by the reason."""
        found: dict[str, dict[str, int]] = {}
        for client, why, number in self._rows(
            "SELECT client, why, sum(records) FROM skipped GROUP BY client, why ORDER BY client, why"
        ):
            found.setdefault(client, {})[why] = number
        return found

    def stores(self) -> dict[str, int]:
        """Return how many files of each client were read."""
        return dict(self._rows("SELECT client, count(*) FROM files GROUP BY client"))

    def estimates(self, first_s: int = 0, end_s: int = 2**62) -> Iterator[Estimate]:
        """Yield the calls without an id between two moments (seconds since 1970, the end not included)."""
        query = (
            "SELECT client, at_s, model, prompt, completion, cached, cost FROM estimates WHERE at_s >= ? AND at_s < ?"
        )
        for *values, cost in self._rows(query, (first_s, end_s)):
            yield Estimate._make((*values, _amount(cost)))

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def _run(self, query: str, values: tuple[Any, ...] = ()) -> None:
        try:
            self._db.execute(query, values)
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None

    def _run_many(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        try:
            self._db.executemany(query, rows)
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from None


def book_beside(ledger: Path) -> Path:
    """Return the path of the file with what other programs logged."""
    return ledger.with_name(ledger.name + ".logs")


def _prepared(db: sqlite3.Connection) -> bool:
    """Make the tables of a new file; False when the file is something else, or of another version."""
    # After a power cut it may be older than the logs, never wrong: what it lacks is read again.
    db.execute("PRAGMA synchronous = NORMAL")
    # A first reading writes tens of megabytes.
    db.execute("PRAGMA cache_size = -16000")
    db.execute("PRAGMA wal_autocheckpoint = 8000")
    version, owner = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
    if (version, owner) == (VERSION, _OURS):
        return True
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        if owner != _OURS:
            raise sqlite3.OperationalError("it is another program's database")
        return False
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_OURS}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")
    return True


def _amount(cost: str | None) -> Decimal | None:
    return None if cost is None else Decimal(cost)


def context_of(read: Read | None) -> dict[str, Any]:
    """Return what the reader of a file needs to know to go on; empty at the beginning."""
    if read is None or not read.context:
        return {}
    values = json.loads(read.context)
    return values if isinstance(values, dict) else {}


def _unusable(path: Path, error: Exception) -> LedgerError:
    why = getattr(error, "strerror", None) or str(error)
    return LedgerError(
        f"{safe(str(path), 300)} cannot be used: {safe(why, 200)}",
        hint="what is in it can be read from the logs again: move the file away",
    )
