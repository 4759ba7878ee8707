"""Reads LiteLLM's spend logs from its PostgreSQL database: named columns alone, in a transaction that cannot write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from openrouter_usage.errors import SettingsError, Unreachable
from openrouter_usage.figures.logs import litellm
from openrouter_usage.figures.logs.logged import Logged, Skipped
from openrouter_usage.jobs.log_book import LogBook, Read
from openrouter_usage.redaction import scrubbed
from openrouter_usage.text import safe

# The name that LiteLLM itself reads.
VARIABLE = "DATABASE_URL"
STORE = b"postgresql: LiteLLM_SpendLogs"
# Of the very table that is read afterwards, and only what this user may read of it.
_COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
AND has_column_privilege(attrelid, attnum, 'SELECT')"""
# A row is written when its call has ended, so one that began before the newest may come after it.
_LATE_S = 6 * 3600
_AT_ONCE = 10_000


def read_database(book: LogBook, environ: Mapping[str, str], *, timeout_s: int) -> None:
    """Read the calls since the last time into the book; Unreachable when the database cannot be read."""
    address = environ.get(VARIABLE, "")
    if not address.startswith(("postgresql://", "postgres://")):
        raise SettingsError(
            f"no database of LiteLLM is named: {VARIABLE} is no address of PostgreSQL",
            hint=f"set {VARIABLE} as LiteLLM has it, or export the table: collect litellm --from spend.csv",
        )
    try:
        psycopg: Any = import_module("psycopg")
    except ModuleNotFoundError:
        raise SettingsError(
            "reading LiteLLM's database needs the package psycopg",
            hint='pip install "psycopg[binary]", or export the table: collect litellm --from spend.csv',
        ) from None
    known = book.files().get(STORE)
    since_s = max(0, known.offset - _LATE_S) if known else 0
    skipped: Counter[str] = Counter()
    newest = known.offset if known else 0
    try:
        with psycopg.connect(address, connect_timeout=timeout_s, options="-c default_transaction_read_only=on") as db:
            calls = list(_calls(psycopg, db, since_s, skipped))
    except psycopg.Error as error:
        raise Unreachable(
            f"LiteLLM's database cannot be read: {safe(scrubbed(_first_line(error, address)), 300)}",
            hint=f"check {VARIABLE}, and that its user may read the table {litellm.TABLE}",
        ) from None
    book.begin()
    for begin in range(0, len(calls), _AT_ONCE):
        book.add("litellm", calls[begin : begin + _AT_ONCE])
    newest = max([newest, *(call.at_s for call in calls)])
    book.note_file(STORE, "litellm", Read(0, 0, 0, 0, newest, 0, ""), skipped, from_start=True)
    book.commit()


def _calls(psycopg: Any, db: Any, since_s: int, skipped: Counter[str]) -> Iterator[Logged]:
    there = {name for (name,) in db.execute(_COLUMNS, (f'"{litellm.TABLE}"',))}
    if not {"request_id", "startTime", "spend", "model"} <= there:
        raise SettingsError(
            f"the database in {VARIABLE} has no table {litellm.TABLE} that is understood",
            hint="name LiteLLM's own database",
        )
    names = [name for name in litellm.COLUMNS if name in there]
    sql = psycopg.sql
    query = sql.SQL("SELECT {} FROM {} WHERE {} >= to_timestamp(%s) AT TIME ZONE 'UTC'").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(litellm.TABLE), sql.Identifier("startTime")
    )
    with db.cursor(name="openrouter_usage") as cursor:
        cursor.itersize = _AT_ONCE
        for values in cursor.execute(query, (since_s,)):
            row = dict(zip(names, values, strict=True))
            began = row["startTime"]
            row["startTime"] = began.isoformat() if hasattr(began, "isoformat") else began
            try:
                call = litellm.read(row)
            except Skipped as why:
                skipped[str(why)] += 1
                continue
            if call:
                yield call


def _first_line(error: Exception, address: str) -> str:
    # The message may repeat the address, which has a password.
    return (str(error).splitlines() or [type(error).__name__])[0].replace(address, f"${VARIABLE}")
