"""The calls of the last while, for brakes: each line of the ledger is read once, as the ledger grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta

from openrouter_usage.budgets import LONGEST_BURST_S
from openrouter_usage.entry import Entry, read_line
from openrouter_usage.ledger.engine import Engine
from openrouter_usage.ledger.index import load_position
from openrouter_usage.ledger.merge import merged
from openrouter_usage.ledger.scan import lines_of
from openrouter_usage.ledger.sums import counted_entries
from openrouter_usage.period import FOREVER

_KEPT = timedelta(seconds=LONGEST_BURST_S)


class Recent:
    """Calls by id, or by their place in the ledger; the caller holds the ledger's lock, or reads a copy."""

    def __init__(self, engine: Engine) -> None:
        """Begin with nothing read."""
        self._engine = engine
        self._calls: dict[str, Entry] = {}
        self._file: tuple[int, int] | None = None
        self._offset = 0

    def since(self, index: sqlite3.Connection, moment: datetime) -> Iterator[Entry]:
        """Return the settled calls from a moment on, at most `LONGEST_BURST_S` seconds ago, each once."""
        position = load_position(index)
        if position is None:
            self._calls, self._file = {}, None
            return iter(())
        file = (position.device, position.inode)
        if file != self._file or position.offset < self._offset:
            found = counted_entries(self._engine, index, moment - _KEPT, FOREVER)
            self._calls = {entry.id or f"#{number}": entry for number, entry in enumerate(found)}
            self._file, self._offset = file, position.offset
        elif position.offset > self._offset:
            for at, text, stop in self._engine.file.blocks(self._offset, position.offset):
                for start, line in lines_of(text, at):
                    self._add(start, line)
                self._offset = stop  # a last line without its end is read once it has one
            self._calls = {name: each for name, each in self._calls.items() if each.ts >= moment - _KEPT}
        return (entry for entry in self._calls.values() if entry.ts >= moment)

    def _add(self, start: int, line: bytes) -> None:
        record = read_line(line)
        if isinstance(record, Entry):
            name = record.id or f"@{start}"
            self._calls[name] = merged([self._calls[name], record]) if name in self._calls else record
