"""Every reader of other programs' logs survives 200 changes of its fixture, and never makes more of it than there was."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import Entry, read_line, write_line
from openrouter_usage.figures.logs.logged import Logged
from openrouter_usage.jobs.collect import logged_entry
from openrouter_usage.jobs.log_book import LogBook, Waiting
from openrouter_usage.jobs.log_reading import read_store
from openrouter_usage.jobs.log_stores import given_stores
from tests import made_logs as made
from tests.made_logs import Made

COUNT = 200
ODD = [None, True, -1, 0.5, 10**30, 1e300, [], {}, [[]], "", "x", "-1", "NaN", "\x1b[2J\u202e\ud800", "y" * 20_000, {"a": {"b": []}}]
HUGE = '{"type":"assistant","message":{"usage":{"text":"' + "z" * 300_000
CALLS = [Made(n, f"gen-1790000000-{n:06d}", prompt=1000 + n, completion=50 + n, cached=n, cost=f"0.0{n + 1}", at_s=made.WRITTEN + n * 60) for n in range(6)]
TEXTS: dict[str, Callable[[Path], Path]] = {
    "claude-code": lambda home: made.claude(home, CALLS),
    "pi": lambda home: made.pi(home, CALLS),
    "openclaw": lambda home: made.openclaw_file(home, CALLS),
    "codex": lambda home: made.codex(home, CALLS),
    "aider": lambda home: made.aider(home, CALLS),
    "cline": lambda home: made.cline(home, CALLS),
    "roo": lambda home: made.cline(home, CALLS, roo=True),
    "litellm": lambda home: made.litellm(home, CALLS, face="jsonl"),
}
DATABASES: dict[str, Callable[[Path], Path]] = {
    "openclaw": lambda home: made.openclaw_store(home, {"s-1": CALLS[:3], "s-2": CALLS[2:]}),
    "opencode": lambda home: (made.opencode(home, CALLS), home / ".local/share/opencode/opencode.db")[1],
    "goose": lambda home: made.goose(home, CALLS),
    "hermes": lambda home: made.hermes(home, CALLS),
}


def read(client: str, path: Path, book: LogBook) -> dict[str, Logged]:
    """The calls of one file, after what every one of them has to be."""
    (store,) = list(given_stores(client, path))
    found = read_store(store, None)
    calls = {each.key: each for each in found.calls}
    for each in calls.values():
        line = write_line(logged_entry(Waiting(client, each)))
        assert isinstance(read_line(line[:-1]), Entry), line[:200]
        assert min(each[7:11]) >= 0 and (each.cost is None or each.cost >= 0)
    book.begin()
    (book.add_sums if found.are_sums else book.add)(client, calls.values())
    book.note_file(os.fsencode(path), client, found.read, found.skipped, from_start=True)
    book.commit()
    return calls


def figures(call: Logged) -> tuple[Any, ...]:
    return (*call[7:], call.at_s)


def sums(calls: dict[str, Logged]) -> tuple[int, ...]:
    return tuple(sum(each[place] for each in calls.values()) for place in range(7, 11))


def changed(value: Any, chance: random.Random) -> Any:
    """A JSON value with something odd in one place."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        return {**value, name: changed(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [*value[:place], changed(value[place], chance), *value[place + 1 :]]
    return chance.choice(ODD)


def mutated(text: str, chance: random.Random) -> tuple[str, str]:
    """A changed text, and what was done to it."""
    lines = text.splitlines(keepends=True)
    kind = chance.choice(["cut", "doubled", "reordered", "odd", "huge", "bytes"])
    place = chance.randrange(len(lines))
    if kind == "cut":
        return text[: chance.randrange(len(text))], kind
    if kind == "doubled":
        return "".join([*lines, *chance.choices(lines, k=len(lines)), "\n", "{}\n"] if len(lines) > 1 else lines), kind
    if kind == "reordered":
        return "".join(chance.sample(lines, len(lines))), kind
    if kind == "huge":
        return "".join([*lines[:place], HUGE + "\n", *lines[place:]]) if len(lines) > 1 else text, kind
    if kind == "odd":
        lines[place] = json.dumps(changed(json.loads(lines[place]), chance)) + "\n"
        return "".join(lines), kind
    letters = list(text)
    for _ in range(5):
        letters[chance.randrange(len(letters))] = chr(chance.randrange(1, 300))
    return "".join(letters), kind


@pytest.mark.parametrize("client", TEXTS)
def test_a_reader_of_texts_survives_whatever_is_done_to_them(client: str, tmp_path: Path) -> None:
    path = TEXTS[client](tmp_path)
    with closing(LogBook(tmp_path / "book" / "logs")) as book:
        text, whole = path.read_text(), read(client, path, book)
        assert len(whole) == len(CALLS)
        chance, kinds = random.Random(client), set()
        for _ in range(COUNT):
            new, kind = mutated(text, chance)
            path.write_bytes(new.encode("utf-8", "surrogatepass"))
            found = read(client, path, book)
            kinds.add(kind)
            if kind == "bytes":
                continue
            allowed = {"odd": 2}.get(kind, 0)
            strange = [each for key, each in found.items() if key not in whole or each.prompt_tokens != whole[key].prompt_tokens or each.completion_tokens > whole[key].completion_tokens]
            assert len(strange) <= allowed, (kind, strange)
            if kind in ("doubled", "huge") or (kind == "reordered" and client != "codex"):
                assert {key: figures(each) for key, each in found.items()} == {key: figures(each) for key, each in whole.items()}, kind
            elif kind != "odd":
                assert all(a <= b for a, b in zip(sums(found), sums(whole), strict=True)), kind
    assert len(kinds) == 6


@pytest.mark.parametrize("client", DATABASES)
def test_a_reader_of_databases_survives_whatever_is_done_to_them(client: str, tmp_path: Path) -> None:
    path = DATABASES[client](tmp_path)
    with closing(LogBook(tmp_path / "book" / "logs")) as book:
        whole = read(client, path, book)
        assert len(whole) == (2 if client in ("goose", "hermes") else len(CALLS))
        shutil.copy(path, tmp_path / "kept")
        chance, kinds = random.Random(client), set()
        for _ in range(COUNT):
            shutil.copy(tmp_path / "kept", path)
            kind = chance.choice(["value", "json", "column", "row", "bytes", "cut"])
            kinds.add(kind)
            if kind in ("bytes", "cut"):
                data = bytearray(path.read_bytes())
                for _ in range(10):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                path.write_bytes(data[: chance.randrange(len(data))] if kind == "cut" else data)
                read(client, path, book)  # a changed figure is a figure; all that counts is that nothing breaks
                continue
            change(path, kind, chance)
            found = read(client, path, book)
            strange = [each for key, each in found.items() if key not in whole or figures(each) != figures(whole[key])]
            assert len(strange) <= (0 if kind == "row" else len(whole) if kind == "column" else 2), (kind, strange)
    assert len(kinds) == 6


def change(path: Path, kind: str, chance: random.Random) -> None:
    """Change one value, one JSON text, one column or one row of a database."""
    with closing(sqlite3.connect(path)) as db, suppress(sqlite3.Error):
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = chance.choice(tables)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        column, (row,) = chance.choice(columns), chance.choice(db.execute(f"SELECT rowid FROM {table}").fetchall())
        if kind == "column":
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        elif kind == "row":
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
        elif kind == "value":
            odd = chance.choice([None, -1, 2**62, 1e300, b"\xff\xfe", "x" * 9_000, "\x1b[2J"])
            db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (odd, row))
        else:
            texts = [name for name in columns if name in ("event_json", "data", "model_config_json")]
            for name in texts:
                ((text,),) = db.execute(f"SELECT {name} FROM {table} WHERE rowid = ?", (row,)).fetchall()
                odd = json.dumps(changed(json.loads(text or "{}"), chance))
                db.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = ?", (odd, row))
        db.commit()
