"""CostTracker: logs calls into the ledger and answers what they cost."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, overload

from openrouter_usage.entry import LONGEST_NAME, Entry, Usage, checked_entry, write_line
from openrouter_usage.errors import InvalidValue, LedgerError, NotFound
from openrouter_usage.figures.breakdown import break_down
from openrouter_usage.figures.exchange import json_pieces
from openrouter_usage.figures.model_names import grouped
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.files import save_output
from openrouter_usage.jobs.loading import load_client
from openrouter_usage.jobs.own_files import is_own
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import Json, dumps, format_usd
from openrouter_usage.text import named, plural
from openrouter_usage.tracker.record import Clock, count_elsewhere, utc_now
from openrouter_usage.tracker.session import current_session

if TYPE_CHECKING:
    from openrouter_usage.entry import Caps
    from openrouter_usage.openrouter.answers.generation import Generation
    from openrouter_usage.tracker.chat import Call
    from openrouter_usage.tracker.chat_stream import ChunkStream
    from openrouter_usage.tracker.lookup import GenerationStats

# -- to_json: writes what the library returns as JSON whose amounts keep every digit.


def to_json(value: object, *, indent: int = 0) -> str:
    """Return JSON in ASCII: a Decimal becomes a number with all its digits, a moment ISO 8601, a record its fields.

    With an indent one member a line. Raises InvalidValue for what JSON cannot hold, such as NaN.
    """
    try:
        return dumps(_plain(value), indent=indent)
    except RecursionError:
        raise InvalidValue("this is nested too deeply to be written as JSON") from None
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"this cannot be written as JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(f"{value} is no JSON number")
    if value is None or isinstance(value, (str, bool, int, float, Decimal)):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return _plain(to_dict())
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [_plain(member) for member in value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


# -- The short block of CostTracker.print_summary.

_RULE = "=" * 50


def render_cost_summary(total: Usage, by_model: dict[str, Usage]) -> str:
    """Write the number of calls, their cost in USD, and each model's part of it, the dearest first."""
    lines = [_RULE, "COST SUMMARY", _RULE, f"Total Calls: {total.requests:,}", f"Total Cost: {format_usd(total.cost)}"]
    if total.byok_cost:
        lines.append(f"BYOK Cost: {format_usd(total.byok_cost)} (paid to providers, not in the total)")
    if total.estimated:
        lines.append(f"Estimated Cost: {plural(total.estimated, 'call')} (in the total, not billed figures)")
    if total.unknown:
        lines.append(f"Unknown Cost: {plural(total.unknown, 'call')} (not in the total)")
    found = break_down(by_model, "model", most=REPORT_TOP)
    lines += ["", "By Model:", *(f"  {named(row.name)}: {format_usd(row.usage.cost)}" for row in found.rows)]
    if found.more_count:
        lines.append(f"  ... and {found.more_count:,} more ({format_usd(found.more.cost)})")
    return "\n".join([*lines, _RULE])


# -- The calls of a ledger under the names that the guides to OpenRouter use, read only as far as they are asked for.


@dataclass(frozen=True)
class CostRecord:
    """One call: `timestamp` is ISO 8601 in UTC, `cost_usd` is what was billed in credits.

    What is not known is None, or "" for a text: an unknown cost is never zero.
    """

    generation_id: str
    model: str
    timestamp: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal | None
    cache_discount: Decimal | None
    provider: str
    latency_ms: int | None

    def to_dict(self) -> dict[str, Json]:
        """Return the ten fields by name; amounts stay exact, so write them with `to_json`."""
        return dict(vars(self))


def record_of(entry: Entry) -> CostRecord:
    """Return an entry of the ledger under the names of the guides."""
    values: dict[str, Any] = entry.to_dict()
    return CostRecord(**values)


class CostHistory(Sequence[CostRecord]):
    """The calls of a ledger as CostRecords, in the order of the file, each generation once.

    Nothing is kept in memory: every use reads the ledger as it is then, and a loop reads one line after another.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Show the calls of `ledger`."""
        self._ledger = ledger

    def __iter__(self) -> Iterator[CostRecord]:
        """Read one call after another."""
        return map(record_of, self._ledger.entries())

    def __len__(self) -> int:
        """Count the calls; that takes no reading of the file."""
        return self._ledger.totals().total.requests

    def __reversed__(self) -> Iterator[CostRecord]:
        """Read all calls, the last one first."""
        return reversed(list(self))

    @overload
    def __getitem__(self, index: int) -> CostRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[CostRecord]: ...

    def __getitem__(self, index: int | slice) -> CostRecord | list[CostRecord]:
        """Return one call, or a list of those in a slice; IndexError when there are fewer."""
        entries = self._ledger.entries()
        if isinstance(index, slice):
            return list(map(record_of, list(entries)[index]))
        if index >= 0:
            found = list(islice(entries, index, index + 1))
        else:
            # The file has to be read to its end, but no more than the last few calls are kept.
            last = deque(entries, maxlen=-index)
            found = [last[0]] if len(last) == -index else []
        if not found:
            raise IndexError("the ledger has fewer calls")
        return record_of(found[0])

    def __repr__(self) -> str:
        """Return how many calls there are, and in which file."""
        return f"<{len(self):,} calls in {self._ledger.source}>"


DEFAULT_MODEL = "anthropic/claude-sonnet-4.5"


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
        clock: Clock = utc_now,
    ) -> None:
        """Use the key given, else the one `stats.py` would find, and only when a call needs it.

        `caps` is a budget of this tracker's own; without it the one that the user has set holds.
        """
        self._api_key = api_key
        self._caps = caps
        self._clock = clock
        self.ledger = open_ledger(usage_file)

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
        """Write one call to the ledger and return it back; the same `generation_id` counts once.

        `cost` in USD is a Decimal, a number or its text; None is unknown. `optional` takes the other fields of
        an Entry: cached_tokens, cache_write_tokens, reasoning_tokens, byok_cost, cost_source, cache_discount,
        provider, session, streamed, latency_ms, finish_reason. The call counts in the sessions that are open, and the
        innermost of them names its `session` unless that is given.
        """
        unknown = optional.keys() - _OPTIONAL
        if unknown:
            raise InvalidValue(f"log_usage does not accept {', '.join(sorted(unknown))}")
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

        With `force=False` SettingsError when the file already exists.
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
        """Make a chat call and return OpenRouter's answer; its cost is in the ledger, exactly once.

        Under a budget, or with `max_cost` in USD, the most it can cost is held first: BudgetExceeded or Unbounded
        mean that nothing was sent. Denied, BadRequest and Unreachable are OpenRouter's refusals and failures.
        With `track_usage=False` the call is not written down, unless a budget is in force, which counts every call.
        """
        wishes = {"max_cost": max_cost, "session": session, "tags": tags, "timeout_s": timeout_s}
        return self._prepare(messages, model, params, track_usage, **wishes).chat()

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
        """Make a chat call and return the chunks as they come; recorded as by `chat`, also if reading stops early."""
        wishes = {"max_cost": max_cost, "session": session, "tags": tags, "timeout_s": timeout_s}
        return self._prepare(messages, model, params, track_usage, **wishes).stream()

    def _prepare(
        self, messages: object, model: str, params: Mapping[str, object], track_usage: bool, **wishes: Any
    ) -> Call:
        load_client()
        from openrouter_usage.tracker.chat import prepare

        if not isinstance(track_usage, bool):
            raise InvalidValue("track_usage must be True or False")
        own: dict[str, Any] = {"api_key": self._api_key, "caps": self._caps, "clock": self._clock}
        return prepare(self.ledger, messages, model, params, tracked=track_usage, **own, **wishes)

    def get_generation_stats(self, generation_id: str, retries: int = 4) -> GenerationStats | None:
        """Ask GET /generation what a call was billed, `retries` times more while it is not known yet (404).

        Returns `{"data": {...}}`, with the figures as attributes too, or None when it stays unknown. Raises Denied
        or Unreachable as every request does.
        """
        load_client()
        from openrouter_usage.tracker.lookup import GenerationStats

        try:
            return GenerationStats(self._look_up(generation_id, retries))
        except NotFound:
            return None

    def _look_up(self, generation_id: str, retries: int = 4) -> Generation:
        load_client()
        from openrouter_usage.tracker.lookup import check_id, look_up

        check_id(generation_id)
        return look_up(generation_id, api_key=self._api_key, retries=retries)

    def record_from_generation(self, generation_id: str) -> Entry:
        """Write a call to the ledger as GET /generation tells it, and return it as it is recorded; twice counts once.

        A hold that is open for the call ends with it, and a call that is recorded already is completed: a cost that was
        unknown, estimated or 0, BYOK money, provider, latency, cached tokens, cache discount. Raises NotFound when
        OpenRouter does not know the call.
        """
        load_client()
        from openrouter_usage.tracker.booking import record

        recorded = record(self.ledger, self._look_up(generation_id), self._clock())
        count_elsewhere(recorded.entry, is_new=recorded.is_new)
        return recorded.entry


def _by_model(groups: Mapping[str, Usage]) -> dict[str, Usage]:
    """Add up what was billed under several names of one model."""
    from openrouter_usage.jobs.price_list import canonical_names

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
