"""Administers a shared ledger: sets it up, lets members in, and moves calls between it and files."""

from __future__ import annotations

import re
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from openrouter_usage.budgets import EVERY, MACHINE, Owner, applying
from openrouter_usage.called import as_called
from openrouter_usage.entry import MOST_TAGS, NOTHING, Entry, Hold, Usage, write_line
from openrouter_usage.errors import LedgerError, Refused, SettingsError
from openrouter_usage.home.settings import load_budgets
from openrouter_usage.jobs.keys import SecretFile
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.team import TeamLedger
from openrouter_usage.ledger.team_allowance import (
    ASKED,
    RETURNING,
    TAKEN,
    Allowance,
    AllowanceLedger,
    changing,
    load,
    save,
)
from openrouter_usage.ledger.team_schema import MEMBERS, VERSION
from openrouter_usage.ledger.team_server import initialise
from openrouter_usage.money import format_usd
from openrouter_usage.redaction import PASSWORD, protect
from openrouter_usage.text import plural, safe

if TYPE_CHECKING:
    import psycopg

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,59}", re.ASCII)


class Pushed(NamedTuple):
    """What was brought in from a file: what the file has, and how much of it was new."""

    usage: Usage
    new: int
    completed: int


def require_shared(ledger: Ledger) -> TeamLedger:
    """Return the shared ledger, also while an allowance of it is spent; SettingsError where the ledger is a file."""
    if isinstance(ledger, TeamLedger):
        return ledger
    if isinstance(ledger, AllowanceLedger):
        return ledger.team
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


def push(source: Ledger, ledger: TeamLedger, *, allowance: str = "") -> Pushed:
    """Bring the calls of a ledger file in, each once, however often this is begun and broken off.

    Calls with an id are known by it, others by their content and how often it occurs in the file. What they cost is
    taken from an `allowance` that they were made with.
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
        return f"push:{allowance}{sha256(write_line(entry) + b'%d' % met[entry]).hexdigest()}"

    done = ledger.bring_in(calls(), key, allowance=allowance)
    return Pushed(seen[0], done.new, done.completed)


def take_allowance(
    ledger: TeamLedger, amount: Decimal, *, hours: int, tags: Mapping[str, str], now: datetime
) -> Allowance:
    """Take money in advance, which this machine then spends without the server; return what was taken.

    One that was asked for before, and whose answer never came, is taken first, whatever is asked for now.
    Raises BudgetExceeded when it does not fit the caps of the ledger and this machine's own.
    """
    with changing(ledger.path):
        kept = load(ledger.path)
        if kept is not None and kept.state != ASKED:
            raise SettingsError(
                f"this machine has an allowance of {format_usd(kept.amount)} already",
                hint=as_called("give it back first: cost_tracker.py team allowance return"),
            )
        if kept is None:
            kept = _wanted(ledger, amount, hours, tags)
            # Known here before it is asked for: whatever happens meanwhile, it can be asked for again, or given back.
            save(ledger.path, kept)
        names = {**dict(kept.tags), **ledger.names()}
        hold = Hold(kept.id, now, "(allowance)", kept.amount, tags=tuple(sorted(kept.tags)))
        own = applying(load_budgets(), names.get("session", ""), names.items())
        try:
            taken, seconds = ledger.take_allowance(hold, kept.seconds, own)
        except Refused:
            save(ledger.path, None)
            raise
        kept = kept._replace(amount=taken, state=TAKEN, until=now + timedelta(seconds=seconds))
        save(ledger.path, kept)
        return kept


def _wanted(ledger: TeamLedger, amount: Decimal, hours: int, tags: Mapping[str, str]) -> Allowance:
    names, caps = ledger.names(), ledger.caps()
    here = {MACHINE, *(Owner(kind, name) for kind, name in names.items()), *(Owner(kind, EVERY) for kind in names)}
    most = [each.caps.per_request for each in caps if each.owner in here and each.caps.per_request is not None]
    others = sorted({(each.owner.kind, each.owner.name) for each in caps if each.owner not in here})
    return Allowance(
        uuid.uuid4().hex,
        amount,
        hours * 3600,
        ASKED,
        names["member"],
        tuple(sorted(tags.items())),
        tuple(each for each in others if each[0] not in names),
        min(most, default=None),
    )


class Returned(NamedTuple):
    """What an allowance was spent on, and what is left of it, None where it was given back before."""

    pushed: Pushed
    rest: Decimal | None


def return_allowance(ledger: TeamLedger) -> Returned:
    """Bring in what an allowance was spent on, and give the rest back; safe to repeat wherever it was broken off.

    Refused while calls of it run or are unsettled: no new ones begin meanwhile.
    """
    with changing(ledger.path):
        kept = load(ledger.path)
        if kept is None:
            raise SettingsError(
                "this machine has no allowance", hint=as_called("take one: cost_tracker.py team allowance take 1.00")
            )
        spent = Pushed(NOTHING, 0, 0)
        if kept.state != ASKED:
            books = AllowanceLedger(kept, ledger)
            books.engine.locked(lambda index: save(ledger.path, kept._replace(state=RETURNING)))
            spent = push(books, ledger, allowance=kept.id)
            running = books.health().holds
            books.engine.close()
            if running:
                raise Refused(
                    f"{plural(len(running), 'call')} of this allowance running or unsettled: the rest stays held, and"
                    " no new call begins",
                    hint=as_called("run `cost_tracker.py settle`, and this again"),
                    code="allowance",
                )
        rest = ledger.end_allowance(kept.id)
        save(ledger.path, None)
        return Returned(spent, rest)


def release_allowance(ledger: TeamLedger, identity: str) -> Decimal:
    """End the allowance of a machine that does not come back, and return what was left; for administrators alone."""
    if not ledger.whoami().is_administrator:
        raise LedgerError(
            "only an administrator releases the allowance of a machine",
            hint=as_called("on that machine: cost_tracker.py team allowance return"),
        )
    rest = ledger.end_allowance(identity) if any(each.id == identity for each in ledger.allowances()) else None
    if rest is None:
        raise SettingsError(f"no allowance {safe(identity, 60)} is taken", hint="`team allowance` lists them")
    return rest


def pulled(ledger: TeamLedger, count: Callable[[Entry], None]) -> Iterator[str]:
    """Return the lines of a ledger file with all calls of the shared one; member and machine become tags."""
    for entry, member, machine in ledger.attributed():
        count(entry)
        tags = {"member": member, "machine": machine, **dict(entry.tags)}
        kept = entry if len(tags) > MOST_TAGS else replace(entry, tags=tuple(sorted(tags.items())))
        yield write_line(kept).decode()
