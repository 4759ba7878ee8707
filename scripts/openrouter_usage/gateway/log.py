"""Lines for whoever watches the gateway, written by a thread of their own: it may have to wait for a full pipe."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal

from openrouter_usage.entry import Entry
from openrouter_usage.money import format_usd
from openrouter_usage.redaction import scrubbed
from openrouter_usage.text import safe

_MOST_WAITING = 1_000
_STOP = ""


class Log(logging.Handler):
    """Writes lines through `write`; those that find no room are dropped. Also takes the library's warnings."""

    def __init__(self, write: Callable[[str], None], *, quiet: bool) -> None:
        """Start the thread; `quiet` leaves out the lines of calls, and keeps warnings."""
        super().__init__(logging.WARNING)
        self._write = write
        self.is_quiet = quiet
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="gateway-log", daemon=True)
        self._thread.start()

    def call(self, entry: Entry, client: str, left: Decimal | None) -> None:
        """Write the line of a recorded call: time, client, model, tokens, cost, and what is left of the budget."""
        if not self.is_quiet:
            cost = "unknown" if entry.cost is None else format_usd(entry.cost)
            budget = "" if left is None else f" · {format_usd(left)} left"
            tokens = f"{entry.prompt_tokens:,}+{entry.completion_tokens:,} tokens"
            self.say(f"{safe(client or '-', 40)} · {safe(entry.model, 60)} · {tokens} · {cost}{budget}")

    def call_unsettled(self, client: str, model: str, why: str) -> None:
        """Write the line of a call whose cost is not known yet."""
        if not self.is_quiet:
            self.say(
                f"{safe(client or '-', 40)} · {safe(model or '-', 60)} · cost not known yet ({why}), looking it up"
            )

    def refused(self, client: str, model: str, message: str) -> None:
        """Write the line of a call that was not sent."""
        if not self.is_quiet:
            self.say(f"{safe(client or '-', 40)} · {safe(model or '-', 60)} · refused: {safe(message, 300)}")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning of the library."""
        self.say(f"⚠ {safe(record.getMessage(), 600)}")

    def say(self, text: str) -> None:
        """Write one line with the time, in UTC."""
        line = f"{datetime.now(timezone.utc):%H:%M:%S} {scrubbed(text)}\n"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def end(self) -> None:
        """Write what waits, for a moment at most."""
        try:
            self._lines.put_nowait(_STOP)
        except queue.Full:
            return
        self._thread.join(timeout=1.0)

    def _work(self) -> None:
        while line := self._lines.get():
            try:
                self._write(line)
            except Exception:
                return  # nobody reads them any more
