"""CostTracker: logs calls into the ledger and answers what they cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from openrouter_usage.belongings import is_own
from openrouter_usage.entry import LONGEST_NAME, Entry, checked_entry
from openrouter_usage.errors import InvalidValue, LedgerError, NotFound
from openrouter_usage.exchange import json_pieces
from openrouter_usage.files import save_output
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.lines import write_line
from openrouter_usage.model_names import grouped
from openrouter_usage.period import UTC
from openrouter_usage.render.cost_summary import render_cost_summary
from openrouter_usage.settings import ledger_file
from openrouter_usage.tracker.loading import load_client
from openrouter_usage.tracker.session import current_session
from openrouter_usage.tracker.tracked import count_elsewhere
from openrouter_usage.usage import Usage

if TYPE_CHECKING:
    from openrouter_usage.answers.generation import Generation
    from openrouter_usage.budget import Caps
    from openrouter_usage.tracker.chunks import ChunkStream
    from openrouter_usage.tracker.generation_stats import GenerationStats
    from openrouter_usage.tracker.history import CostHistory
    from openrouter_usage.tracker.prepared import PreparedCall

Clock = Callable[[], datetime]
DEFAULT_MODEL = "anthropic/claude-sonnet-4.5"


def _now() -> datetime:
    # Whole seconds, as the file format has them; the day, which is what counts, stays the same.
    return datetime.now(UTC).replace(microsecond=0)


class CostTracker:
    """Keeps the cost of calls in the ledger; amounts are exact USD, times UTC.

    Raises InvalidValue for a value that cannot be, and LedgerError when the ledger cannot be read or written.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        usage_file: str | Path | None = None,
        caps: Caps | None = None,
        clock: Clock = _now,
    ) -> None:
        """Use the key given, else the one `stats.py` would find, and only when a call needs it.

        `caps` is a budget of this tracker's own; without it the one that the user has set holds.
        """
        self._api_key = api_key
        self._caps = caps
        self._clock = clock
        self.ledger = Ledger(ledger_file({"OPENROUTER_USAGE_FILE": str(usage_file)} if usage_file else None))

    def close(self) -> None:
        """Close the ledger's files; the next use opens them again. Streams that are open go on."""
        self.ledger.close()

    def __enter__(self) -> CostTracker:
        """Return the tracker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def log_usage(
        self,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        cost: object = None,
        generation_id: str | None = None,
        *,
        ts: datetime | str | None = None,
        tags: Mapping[str, str] | None = None,
        **optional: Any,
    ) -> Entry:
        """Write one call to the ledger and give it back; the same `generation_id` counts once.

        `cost` in USD is a Decimal, a number or its text; None is unknown. `optional` takes the other fields of
        an Entry: cached_tokens, cache_write_tokens, reasoning_tokens, byok_cost, cost_source, cache_discount,
        provider, session, streamed, latency_ms, finish_reason. The call counts in the sessions that are open, and the
        innermost of them names its `session` unless that is given.
        """
        unknown = optional.keys() - _OPTIONAL
        if unknown:
            raise InvalidValue(f"log_usage knows no {', '.join(sorted(unknown))}")
        if not isinstance(optional.get("streamed", False), (bool, type(None))):
            raise InvalidValue("streamed is True or False")
        named = {"model": model, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "cost": cost}
        when = self._clock() if ts is None else ts
        optional["session"] = optional.get("session") or current_session()[:LONGEST_NAME]
        entry = checked_entry({**named, "id": generation_id, "ts": when, "tags": tags, **optional})
        try:
            is_new = self.ledger.append(entry)
        except LedgerError as error:
            # Whoever lets it pass still finds the call in a traceback or a log, and can append the line.
            line = write_line(entry).decode().strip()
            raise LedgerError(f"{error.message}; the call was {line}", hint=error.hint, code=error.code) from None
        if is_new:
            count_elsewhere(entry)
        return entry

    @property
    def cost_history(self) -> CostHistory:
        """The calls of the ledger one by one, as CostRecords, in the order of the file."""
        from openrouter_usage.tracker.history import CostHistory

        return CostHistory(self.ledger)

    def get_total_cost(self) -> Decimal:
        """Sum all calls of the ledger in USD; calls of unknown cost are not in it, see `summary`."""
        return self.ledger.totals().total.cost

    def get_cost_by_model(self) -> dict[str, Decimal]:
        """Sum all calls of the ledger in USD by model, the dearest first."""
        groups = _by_model(self.ledger.totals(by="model").groups)
        # A minus sign would round to the caller's decimal context.
        dearest_first = sorted(groups, key=lambda name: (groups[name].cost.copy_negate(), name))
        return {name: groups[name].cost for name in dearest_first}

    def summary(self) -> str:
        """Write what all calls of the ledger cost, in total and by model."""
        totals = self.ledger.totals(by="model")
        return render_cost_summary(totals.total, _by_model(totals.groups))

    def print_summary(self, file: TextIO | None = None) -> None:
        """Print `summary` to standard output, or to `file`; what its encoding lacks becomes a question mark."""
        file = file or sys.stdout
        encoding = file.encoding or "utf-8"
        file.write(f"\n{self.summary()}\n".encode(encoding, "replace").decode(encoding))

    def export_history(self, filepath: str | Path, *, force: bool = True) -> None:
        """Write all calls of the ledger to a file as a JSON list; amounts are exact numbers in USD.

        With `force=False` SettingsError when the file is there already.
        """
        save_output(
            Path(filepath),
            json_pieces(self.ledger.entries()),
            force=force,
            is_own=lambda path: is_own(path, self.ledger.path),
        )

    def chat(
        self,
        messages: object,
        model: str = DEFAULT_MODEL,
        track_usage: bool = True,
        *,
        max_cost: object = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
        **params: Any,
    ) -> dict[str, Any]:
        """Make a chat call and give OpenRouter's answer; its cost is in the ledger, exactly once.

        Under a budget, or with `max_cost` in USD, the most it can cost is held first: BudgetExceeded or Unbounded
        mean that nothing was sent. Denied, BadRequest and Unreachable are OpenRouter's refusals and failures.
        With `track_usage=False` the call is not written down, unless a budget is in force, which counts every call.
        """
        wishes = {"max_cost": max_cost, "session": session, "tags": tags, "timeout_s": timeout_s}
        call = self._prepare(messages, model, params, track_usage, **wishes)
        return call.caller.chat(call.plan, call.booking)

    def stream(
        self,
        messages: object,
        model: str = DEFAULT_MODEL,
        track_usage: bool = True,
        *,
        max_cost: object = None,
        session: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_s: float = 300.0,
        **params: Any,
    ) -> ChunkStream:
        """Make a chat call and give the chunks as they come; booked as with `chat`, also when reading stops early."""
        wishes = {"max_cost": max_cost, "session": session, "tags": tags, "timeout_s": timeout_s}
        call = self._prepare(messages, model, params, track_usage, **wishes)
        return call.caller.stream(call.plan, call.booking)

    def _prepare(
        self, messages: object, model: str, params: Mapping[str, object], track_usage: bool, **wishes: Any
    ) -> PreparedCall:
        load_client()
        from openrouter_usage.tracker.prepared import prepare

        if not isinstance(track_usage, bool):
            raise InvalidValue("track_usage is True or False")
        own: dict[str, Any] = {"api_key": self._api_key, "caps": self._caps, "clock": self._clock}
        return prepare(self.ledger, messages, model, params, tracked=track_usage, **own, **wishes)

    def get_generation_stats(self, generation_id: str, retries: int = 4) -> GenerationStats | None:
        """Ask GET /generation what a call was billed, `retries` times more while it is not known yet (404).

        Returns `{"data": {...}}`, with the figures as attributes too, or None when it stays unknown. Raises Denied
        or Unreachable as every request does.
        """
        load_client()
        from openrouter_usage.tracker.generation_stats import GenerationStats

        try:
            return GenerationStats(self._look_up(generation_id, retries))
        except NotFound:
            return None

    def _look_up(self, generation_id: str, retries: int = 4) -> Generation:
        load_client()
        from openrouter_usage.tracker.generation_stats import check_id
        from openrouter_usage.tracker.lookup import look_up

        check_id(generation_id)
        return look_up(generation_id, api_key=self._api_key, retries=retries)

    def record_from_generation(self, generation_id: str) -> Entry:
        """Write a call to the ledger as GET /generation tells it, and return it as it is booked; twice counts once.

        A hold that is open for the call ends with it, and a call that is booked already is completed: a cost that was
        unknown, estimated or 0, BYOK money, provider, latency, cached tokens, cache discount. Raises NotFound when
        OpenRouter does not know the call.
        """
        load_client()
        from openrouter_usage.tracker.settling import record

        recorded = record(self.ledger, self._look_up(generation_id), self._clock())
        count_elsewhere(recorded.entry, is_new=recorded.is_new)
        return recorded.entry


def _by_model(groups: Mapping[str, Usage]) -> dict[str, Usage]:
    """Add up what was billed under several names of one model."""
    from openrouter_usage.prices import canonical_names

    return grouped(groups, canonical_names(groups))


_OPTIONAL = frozenset(
    (
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "byok_cost",
        "cost_source",
        "cache_discount",
        "provider",
        "session",
        "streamed",
        "latency_ms",
        "finish_reason",
    )
)
