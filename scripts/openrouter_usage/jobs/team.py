"""Administers a shared ledger: sets it up, lets members in, and moves calls between it and files."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from openrouter_usage.entry import MOST_TAGS, NOTHING, Entry, Usage, write_line
from openrouter_usage.errors import LedgerError, SettingsError
from openrouter_usage.jobs.keys import SecretFile
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_schema import MEMBERS, VERSION
from openrouter_usage.ledger.team_server import initialise
from openrouter_usage.redaction import PASSWORD, protect

if TYPE_CHECKING:
    import psycopg

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,59}", re.ASCII)


class Pushed(NamedTuple):
    """What was brought in from a file: what the file has, and how much of it was new."""

    usage: Usage
    new: int
    completed: int


def require_shared(ledger: Ledger) -> TeamLedger:
    """Return the shared ledger; SettingsError where the ledger is a file."""
    if isinstance(ledger, TeamLedger):
        return ledger
    raise SettingsError(
        "the ledger is a file of this machine, not one that a team shares",
        hint="set OPENROUTER_LEDGER=postgresql://user@host/database in the environment",
    )


def set_up(ledger: TeamLedger) -> tuple[int, int]:
    """Create or upgrade the tables and functions; return the version before, 0 for none, and the one now."""
    return initialise(ledger.server), VERSION


def invite(ledger: TeamLedger, name: str, path: Path) -> None:
    """Make a member with a password of its own, and write the address for its machines to a new file of mode 600.

    The password is shown nowhere, and the server only learns a hash of it. SettingsError for a name that cannot be
    used, or a file that exists; LedgerError when the server refuses.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(
            "a member's name has up to 60 small letters, digits, dashes and underlines, and begins with a letter",
            code="usage",
        )
    password = secrets.token_urlsafe(24)
    protect(password, PASSWORD)
    address = address_for(ledger.server.address.url, name, password)

    def work(connection: psycopg.Connection[Any]) -> None:
        from psycopg import sql

        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None:
            raise LedgerError(f"the server has a user {name} already", hint="choose another name")
        known = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Literal(known), sql.Identifier(MEMBERS)))
        file.keep_line(f"OPENROUTER_LEDGER='{address}'")

    with SecretFile(path) as file:
        ledger.server.administer(work)


def address_for(url: str, name: str, password: str) -> str:
    """Return an address of the same database for another user."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(
        part for part in parts.query.split("&") if part and part.partition("=")[0] not in ("user", "password")
    )
    return urlunsplit(parts._replace(netloc=f"{quote(name, safe='')}:{quote(password, safe='')}@{host}", query=query))


def push(source: Ledger, ledger: TeamLedger) -> Pushed:
    """Bring the calls of a ledger file in, each once, however often this is begun and broken off.

    Calls with an id are known by it, others by their content and how often it occurs in the file.
    """
    met: Counter[Entry] = Counter()
    seen = [NOTHING]

    def calls() -> Iterator[Entry]:
        for entry in source.entries():
            seen[0] += entry.usage
            # Holds stay where they are: the shared ledger has its own.
            yield replace(entry, hold="", seen=False)

    def key(entry: Entry) -> str:
        if entry.id:
            return entry.id
        met[entry] += 1
        return f"push:{sha256(write_line(entry) + b'%d' % met[entry]).hexdigest()}"

    done = ledger.bring_in(calls(), key)
    return Pushed(seen[0], done.new, done.completed)


def pulled(ledger: TeamLedger, count: Callable[[Entry], None]) -> Iterator[str]:
    """Return the lines of a ledger file with all calls of the shared one; member and machine become tags."""
    for entry, member, machine in ledger.attributed():
        count(entry)
        tags = {"member": member, "machine": machine, **dict(entry.tags)}
        kept = entry if len(tags) > MOST_TAGS else replace(entry, tags=tuple(sorted(tags.items())))
        yield write_line(kept).decode()
