"""Connections to the PostgreSQL server of a shared ledger: opened late, pooled, and tried again where that is safe.

Everything that is sent is one function, which is safe to repeat: its caller names what it is about by an id. So a lost
answer, a deadlock, a failed serialization and a failover are all met by asking again.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from openrouter_usage.called import as_called
from openrouter_usage.errors import LedgerError, SettingsError
from openrouter_usage.ledger.team_schema import SCHEMA, VERSION
from openrouter_usage.redaction import scrubbed
from openrouter_usage.text import safe

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

    from openrouter_usage.home.settings import SharedAddress

T = TypeVar("T")
Row = tuple[Any, ...]
CONNECT_S = 3
STATEMENT_MS = 2_000
# A report may read more than a hold does.
REPORT_MS = 60_000
_LARGEST_POOL = 8
_MOST_TOGETHER = 64
# After a failure of several questions in one statement, each thread asks by itself for a while.
_ALONE_S = 1.0
_POOL_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5
# What has surely not happened: a failed serialization, a deadlock, a statement that waited too long, a standby that
# takes no writes, a server that starts or stops.
_AGAIN = {"40001", "40P01", "55P03", "57014", "25006", "57P01", "57P02", "57P03", "53300"}
# Two who set a ledger up at the same time meet in the server's own tables: the second finds what the first has made.
_MADE_MEANWHILE = {"23505", "42710", "42P06", "42P07", "XX000"}
_NOT_SET_UP = {"3F000", "42883", "42P01"}
_MAY_NOT = {"28000", "28P01"}
_NO_ENTRY = ("authentication failed", "no password supplied", "not permitted to log in", "does not exist")
# The folder of a socket that nobody has.
_NOWHERE = "/no-such-folder-of-openrouter-usage"
_INSTALL = "install it: python3 -m pip install 'psycopg[binary,pool]'  (or -r requirements-team.txt)"


def load_psycopg() -> Any:
    """Return the package psycopg; SettingsError says how to install it."""
    try:
        import psycopg
        import psycopg_pool
    except ImportError as error:
        raise SettingsError(
            f"OPENROUTER_LEDGER names a PostgreSQL server, and the package psycopg cannot be loaded: {safe(error)}",
            hint=_INSTALL,
            code="missing_package",
        ) from None
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # what goes wrong is raised here
    logging.getLogger("psycopg.pool").propagate = False
    return psycopg, psycopg_pool


class _Waiting:
    """What one thread asks while another one's question is under way."""

    def __init__(self, call: str, values: tuple[object, ...]) -> None:
        self.call, self.values = call, values
        self.wakes = threading.Event()
        self.leads = self.is_unsure = False
        self.answer: list[Row] | None = None  # None: the thread has to ask by itself


class Server:
    """The server that an address names, for one process; forked ones connect anew."""

    def __init__(self, address: SharedAddress, *, wait_s: float) -> None:
        """Keep the address; nothing is connected before the first call."""
        self.address = address
        self._wait_s = wait_s
        self._mutex = threading.Lock()
        self._pool: ConnectionPool[Any] | None = None
        self._reports: psycopg.Connection[Any] | None = None
        self._reading = threading.RLock()
        self._owner = os.getpid()
        self._has_answered = self._is_understood = False
        self._failure = ""
        self._gathering = threading.Lock()
        self._queue: list[_Waiting] = []
        self._has_leader = False
        self._alone_until = 0.0

    def close(self) -> None:
        """Close all connections; the next call opens them again."""
        with self._mutex:
            pool, self._pool = self._pool, None
        reports, self._reports = self._reports, None
        if self._owner == os.getpid():
            if pool is not None:
                pool.close(timeout=1)
            if reports is not None:
                reports.close()

    def ask(self, call: str, values: tuple[object, ...]) -> tuple[list[Row], bool]:
        """Call one function; return its rows, and whether an earlier try may have been the one that did the work.

        `call` is the function with its arguments, whose places are %s. LedgerError when no answer can be had.
        """
        unsure = False

        def run(connection: psycopg.Connection[Any]) -> list[Row]:
            return connection.execute(_query(call), values).fetchall()

        def lost() -> None:
            nonlocal unsure
            unsure = True

        return self._again(lambda: self._in_pool(run), lost), unsure

    def ask_together(self, call: str, values: tuple[object, ...]) -> tuple[list[Row], bool]:
        """Do as `ask` does with a function of one value, in one statement with what other threads ask meanwhile.

        All of them lock the same rows, so each would wait for the commit of the one before. Whatever goes wrong with a
        statement of several, every thread asks for itself again, which is safe as always.
        """
        self._look_at_owner()
        if time.monotonic() < self._alone_until:
            return self.ask(call, values)
        mine = _Waiting(call, values)
        with self._gathering:
            self._queue.append(mine)
            mine.leads, self._has_leader = not self._has_leader, True
        try:
            if not mine.leads:
                mine.wakes.wait()
        except BaseException:  # ^C: whoever gives up must know whether it was asked
            with self._gathering:
                is_waiting = mine in self._queue and not mine.leads
                if is_waiting:
                    self._queue.remove(mine)
            if mine.leads:
                self._lead()
            elif not is_waiting:
                mine.wakes.wait()
            raise
        if mine.leads:
            self._lead()
        if mine.answer is not None:
            return mine.answer, False
        answer, is_unsure = self.ask(call, values)
        return answer, is_unsure or mine.is_unsure

    def _lead(self) -> None:
        """Ask what has queued up, one's own question among it, and hand over to whoever came meanwhile."""
        with self._gathering:
            batch, self._queue = self._queue[:_MOST_TOGETHER], self._queue[_MOST_TOGETHER:]
        try:
            self._ask_all(batch)
        finally:
            with self._gathering:
                self._has_leader = bool(self._queue)
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].wakes.set()
            for each in batch:
                each.wakes.set()

    def _ask_all(self, batch: list[_Waiting]) -> None:
        psycopg, psycopg_pool = load_psycopg()
        self._understand(psycopg)
        text = b"SELECT " + ", ".join(f"{SCHEMA}.{each.call}" for each in batch).encode()
        values = [value for each in batch for value in each.values]
        try:
            (row,) = self._in_pool(lambda connection: connection.execute(text, values).fetchall())
        except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
            self._alone_until = time.monotonic() + _ALONE_S
            for each in batch:
                each.is_unsure = not getattr(error, "sqlstate", None)
            return
        self._has_answered, self._failure = True, ""
        for each, value in zip(batch, row, strict=True):
            each.answer = [(value,)]

    def read(self, work: Callable[[Callable[[str, tuple[object, ...]], list[Row]]], T]) -> T:
        """Do work that only reads, as of one moment; it is handed a function that calls one of the server's."""

        def run() -> T:
            with self._reading:
                connection = self._reader()
                with connection.transaction():
                    return work(lambda call, values: connection.execute(_query(call), values).fetchall())

        return self._again(run, lambda: None)

    def administer(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do work in one transaction of a connection of its own; LedgerError for whatever goes wrong."""

        def run() -> T:
            with self._connect(0) as connection, connection.transaction():
                return work(connection)

        return self._again(run, lambda: None, _MADE_MEANWHILE)

    def _in_pool(self, run: Callable[[psycopg.Connection[Any]], T]) -> T:
        with self._pooled().connection() as connection:
            return run(connection)

    def _again(self, work: Callable[[], T], lost: Callable[[], None], also: Collection[str] = ()) -> T:
        psycopg, psycopg_pool = load_psycopg()
        self._understand(psycopg)
        begun, pause = time.monotonic(), _FIRST_PAUSE_S
        end = begun + self._wait_s
        while True:
            try:
                done = work()
                self._has_answered, self._failure = True, ""
                return done
            except psycopg_pool.PoolTimeout:
                error: Exception = LedgerError(self._failure or "no connection became free")
                # A server that says no is not asked again at first contact; one that is slow is, for a while.
                is_silent = not self._failure or "timeout" in self._failure
                is_slow = is_silent and time.monotonic() < begun + 2 * CONNECT_S
                may_wait = self._has_answered or is_slow
            except psycopg.Error as failure:
                error, state = failure, failure.sqlstate or ""
                is_lost = not state and isinstance(failure, (psycopg.OperationalError, psycopg.InterfaceError))
                is_lost = is_lost or state.startswith("08")
                if is_lost and self._has_answered:
                    lost()
                    self._drop_broken()
                may_wait = state in _AGAIN or state in also or (is_lost and self._has_answered)
                if not may_wait:
                    raise self._told(failure, state) from None
            if not may_wait or time.monotonic() + pause > end:
                raise self._told(error, getattr(error, "sqlstate", None) or "") from None
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _understand(self, package: Any) -> None:
        """Raise SettingsError for an address that libpq cannot use, whatever the network and the server are like."""
        if self._is_understood:
            return
        try:
            hosts = str(package.conninfo.conninfo_to_dict(self.address.url).get("host", "")).split(",")
            # Options are checked before anything is connected: what fails at this socket has passed all of that.
            probe = {"host": ",".join(_NOWHERE for _ in hosts), "hostaddr": "", "gssencmode": "disable"}
            text = package.conninfo.make_conninfo(self.address.url, **probe, **self.address.security)
            attempt = package.pq.PGconn.connect_start(text.encode())
            said = attempt.error_message.decode(errors="replace")
            attempt.finish()
        except package.ProgrammingError as error:
            said = str(error)
        if _NOWHERE not in said:
            raise SettingsError(
                f"OPENROUTER_LEDGER is not used: {scrubbed(safe(' '.join(said.split()), 300))}",
                hint="write it like postgresql://user@host:5432/database or postgresql:///?service=NAME",
            )
        self._is_understood = True

    def _told(self, error: Exception, state: str) -> LedgerError:
        said = scrubbed(safe(" ".join(str(error).split()), 300))
        if state in _NOT_SET_UP:
            return LedgerError(
                f"{self.address.shown} is not set up for this version: {said}",
                hint=as_called("an administrator runs: cost_tracker.py team init"),
            )
        if state == "42501":
            return LedgerError(f"{self.address.shown} refuses: {said}", hint="ask an administrator of the ledger")
        if state in _MAY_NOT or any(words in said for words in _NO_ENTRY):
            return LedgerError(
                f"{self.address.shown} does not let this user in: {said}",
                hint="check OPENROUTER_LEDGER, and its password or ~/.pgpass",
            )
        return LedgerError(
            f"{self.address.shown} cannot be used: {said}", hint="check the network, the server and OPENROUTER_LEDGER"
        )

    def _drop_broken(self) -> None:
        """Throw idle connections away that the end of the server has broken."""
        if self._reports is not None and self._reports.closed:
            self._reports = None
        if self._pool is not None:
            with suppress(Exception):
                self._pool.check()

    def _settings(self, timeout_ms: int) -> dict[str, Any]:
        options = f"{self.address.options} -c statement_timeout={timeout_ms} -c timezone=UTC".strip()
        given = {"connect_timeout": CONNECT_S, "application_name": "openrouter-usage", "options": options}
        return {**given, **self.address.security, "prepare_threshold": None, "autocommit": True}

    def _connect(self, timeout_ms: int) -> psycopg.Connection[Any]:
        package, _ = load_psycopg()
        connection: psycopg.Connection[Any] = package.connect(self.address.url, **self._settings(timeout_ms))
        _keep_json(connection)
        return connection

    def _reader(self) -> psycopg.Connection[Any]:
        self._look_at_owner()
        if self._reports is None or self._reports.closed:
            psycopg, _ = load_psycopg()
            self._reports = self._connect(REPORT_MS)
            self._reports.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return self._reports

    def _remembering(self) -> type[psycopg.Connection[Any]]:
        """Return a class of connections that keeps why none could be made: the pool only says that it took too long."""
        from psycopg import Connection, Error

        server = self

        class Remembering(Connection[Any]):
            @classmethod
            def connect(cls, *given: Any, **named: Any) -> Remembering:
                try:
                    return super().connect(*given, **named)
                except Error as error:
                    server._failure = str(error)
                    raise

        return Remembering

    def _look_at_owner(self) -> None:
        if self._owner != os.getpid():
            # The parent's connections: closed here they would end there.
            self._owner, self._pool, self._reports = os.getpid(), None, None
            self._mutex, self._reading, self._gathering = threading.Lock(), threading.RLock(), threading.Lock()
            self._queue, self._has_leader = [], False

    def _pooled(self) -> ConnectionPool[Any]:
        self._look_at_owner()
        with self._mutex:
            if self._pool is None:
                _, psycopg_pool = load_psycopg()
                self._pool = psycopg_pool.ConnectionPool(
                    self.address.url,
                    connection_class=self._remembering(),
                    kwargs=self._settings(STATEMENT_MS),
                    configure=_keep_json,
                    min_size=0,
                    max_size=_LARGEST_POOL,
                    # The pool waits longer and longer before it connects anew: a server that is back must be met
                    # at once, so each try ends soon, and `_again` begins the next.
                    timeout=_POOL_S,
                    reconnect_timeout=_POOL_S / 2,
                    num_workers=2,
                    open=True,
                )
            return self._pool


def _query(call: str) -> bytes:
    return f"SELECT * FROM {SCHEMA}.{call}".encode()  # noqa: S608  # all calls are constants of this program


def _keep_json(connection: psycopg.Connection[Any]) -> None:
    """Leave JSON as text: the usual reader would make floating point numbers of amounts."""
    from psycopg.types.string import TextLoader

    connection.adapters.register_loader("jsonb", TextLoader)


def initialise(server: Server) -> int:
    """Create or upgrade the tables and functions and return the version that was there before, 0 for none.

    Safe to repeat, and to run twice at once: an upgrade waits for every other one. LedgerError when it cannot be done.
    """
    from openrouter_usage.ledger import team_schema

    def work(connection: psycopg.Connection[Any]) -> int:
        (encoding,) = connection.execute("SHOW server_encoding").fetchone() or ("",)
        if encoding != "UTF8":
            raise LedgerError(f"the database has the encoding {encoding}; a shared ledger needs one in UTF8")
        connection.execute(team_schema.PREPARE.encode())
        connection.execute(team_schema.LOCK.encode())
        connection.execute(team_schema.ROLES.encode())
        (before,) = connection.execute(team_schema.READ_VERSION.encode()).fetchone() or (0,)
        if before > VERSION:
            raise LedgerError(
                f"{server.address.shown} has version {before}, and this program knows version {VERSION}",
                hint="update this skill",
            )
        for statement in team_schema.statements(before):
            connection.execute(statement.encode())
        return int(before)

    return server.administer(work)
