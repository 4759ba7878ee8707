"""OpenRouter's own words on calls: the CSV export of its logs page, and answers that somebody saved; pure.

The export has one row per generation, with costs rounded to six decimals. Its columns are matched by name, because
older files lack some of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.called import as_called
from openrouter_usage.entry import GENERATION_PREFIX, Entry, believable, checked_entry
from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.figures.model_names import Canonical
from openrouter_usage.money import Json, usd
from openrouter_usage.openrouter.answers.generation import read_call, read_generation
from openrouter_usage.period import UTC, parse_moment

# -- The CSV export of the logs page.

_NEEDED = {"generation_id", "created_at", "cost_total"}
# Every column that was seen in an export; any other one is named to the user as not understood.
LOGS_COLUMNS = frozenset(
    (
        "generation_id", "created_at", "cost_total", "cost_web_search", "cost_cache", "cost_file_processing",
        "byok_usage_inference", "tokens_prompt", "tokens_completion", "tokens_reasoning", "tokens_cached",
        "model_permaslug", "model", "provider_name", "variant", "cancelled", "streamed", "user", "finish_reason_raw",
        "finish_reason_normalized", "generation_time_ms", "time_to_first_token_ms", "app_name", "api_key_name",
        "api_key_disabled",
    )
)  # fmt: skip
_COUNTS = {
    "prompt_tokens": "tokens_prompt",
    "completion_tokens": "tokens_completion",
    "reasoning_tokens": "tokens_reasoning",
    "cached_tokens": "tokens_cached",
    "latency_ms": "time_to_first_token_ms",
}
_TAGS = {"app": "app_name", "key": "api_key_name", "user": "user"}
_PLAIN_VARIANTS = ("", "standard")
_LONGEST_TAG = 200
_KEY = re.compile(r"sk-or-[\w-]{12,}")
# Words of which the aggregate export of the Activity page is made, as its columns or as a prefix of them.
_SUMS = ("spend", "usage", "cost", "tokens", "requests")
_GROUPS = ("model", "api_key", "key", "creator", "provider", "app", "user", "name")
_TIMES = ("date", "day", "hour", "month", "year", "time", "period", "bucket")


def is_logs_export(names: Iterable[str]) -> bool:
    """Check whether these are the columns of the export of OpenRouter's logs page."""
    return set(names) >= _NEEDED


def is_activity_export(names: Iterable[str]) -> bool:
    """Check whether these may be the columns of the export of the Activity page, which has sums and no calls."""
    words = {re.sub(r"[^a-z]+", "_", name.lower()).strip("_") for name in names}
    has_sums = any(word.startswith(_SUMS) or word.endswith(_SUMS) for word in words)
    has_group = any(word.startswith((*_GROUPS, *_TIMES)) for word in words)
    return has_sums and has_group and not words & {"generation_id", "timestamp", "ts"}


def activity_refusal() -> InvalidValue:
    """Return the error for sums in the place of calls."""
    return InvalidValue(
        "these are sums of OpenRouter's activity, not calls: as calls they would count twice",
        hint=as_called(
            "export single calls from https://openrouter.ai/logs as CSV; `cost_tracker.py sync` archives the sums"
        ),
    )


def logged_call(row: Mapping[str, str], name_of: Canonical) -> Entry:
    """Return one row of the export as an entry; InvalidValue names the cell that is wrong.

    `cost_cache` is part of `cost_total`; it becomes the cache discount, which is positive where caching saved money.
    BYOK money is beside the cost. A dated model name becomes the short one, with the variant if there is one.
    """
    identity = _cell(row, "generation_id")
    if not identity:
        raise InvalidValue("generation_id is missing")
    cached, byok = _cell(row, "cost_cache"), _cell(row, "byok_usage_inference")
    web, files = _cell(row, "cost_web_search"), _cell(row, "cost_file_processing")
    values: dict[str, object] = {name: _whole(_cell(row, column)) for name, column in _COUNTS.items()}
    values |= {
        "ts": _cell(row, "created_at"),
        "model": _model(row, name_of),
        "cost": _cell(row, "cost_total") or None,
        "cost_source": "billed" if _cell(row, "cost_total") else "",
        "id": identity,
        # Written as what the cache cost; the ledger has what it saved.
        "cache_discount": _opposite(usd(cached)) if cached else None,
        # Of a call without a key of one's own it is 0, which is no BYOK cost.
        "byok_cost": (usd(byok) or None) if byok else None,
        # 0 in most rows, which says nothing that is worth a field.
        "tool_cost": (usd(web) or None) if web else None,
        "file_cost": (usd(files) or None) if files else None,
        "provider": _cell(row, "provider_name"),
        "finish_reason": _cell(row, "finish_reason_normalized") or _cell(row, "finish_reason_raw"),
        "streamed": {"true": True, "false": False}.get(_cell(row, "streamed").lower()),
        "tags": {tag: shortened for tag, column in _TAGS.items() if (shortened := _tag(_cell(row, column)))},
    }
    return checked_entry(values)


def _cell(row: Mapping[str, str], name: str) -> str:
    return row.get(name, "").strip()


def _whole(cell: str) -> object:
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 20 else cell or None


def _opposite(amount: Decimal) -> Decimal:
    # Not by a minus sign, which would round to the caller's decimal context, and would make a zero negative.
    return amount.copy_negate() if amount else amount


def _model(row: Mapping[str, str], name_of: Canonical) -> str:
    name, variant = _cell(row, "model_permaslug") or _cell(row, "model"), _cell(row, "variant").lower()
    if not name:
        raise InvalidValue("model_permaslug is missing")
    is_plain = variant in _PLAIN_VARIANTS or ":" in name
    return name_of(name if is_plain else f"{name}:{variant}")


def _tag(text: str) -> str:
    return _KEY.sub("[key]", text)[:_LONGEST_TAG]


# -- Answers that were saved: of the inference endpoints, of /generation, and raw ones as JSON Lines.

_MADE = re.compile(rf"{GENERATION_PREFIX}(\d{{10}})-", re.ASCII)
_LEDGER_FIELDS = ("ts", "timestamp", "kind")


def is_answer(value: Json) -> bool:
    """Check whether a JSON value is an answer of OpenRouter, and not a line of a ledger or of an export."""
    if not isinstance(value, dict) or any(name in value for name in _LEDGER_FIELDS):
        return False
    if _generation_of(value) or isinstance(value.get("usage"), dict):
        return True
    inner = next((value[name] for name in ("response", "message", "chunk") if isinstance(value.get(name), dict)), None)
    return "choices" in value or (isinstance(inner, dict) and isinstance(inner.get("usage"), dict))


def is_activity(value: Json) -> bool:
    """Check whether a JSON value is an answer of /activity, which has sums of days and no calls."""
    rows = value.get("data") if isinstance(value, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return isinstance(first, dict) and "date" in first and "usage" in first


def saved_call(value: Json, name_of: Canonical) -> Entry | None:
    """Return the call that an answer tells of, None for an answer without tokens and cost, such as a first chunk.

    Nothing but the figures and names is read. InvalidValue when the answer has no id of OpenRouter's, or no time.
    """
    if not isinstance(value, dict):
        raise InvalidValue("an object was expected")
    generation = _generation_of(value)
    if generation:
        try:
            return _renamed(read_generation(value, generation).entry(_made(value, generation)), name_of)
        except BadAnswer as error:
            raise InvalidValue(error.message) from None
    usage = read_call(value)
    if not usage.has_usage:
        return None
    if not usage.id.startswith(GENERATION_PREFIX):
        raise InvalidValue(f"the answer has no id that begins with {GENERATION_PREFIX}, so it may not be OpenRouter's")
    return _renamed(usage.entry(_made(value, usage.id)), name_of)


def joined(calls: Iterable[Entry]) -> list[Entry]:
    """Return calls with those of one id put together, as the chunks of a stream are: the last figures count."""
    found: dict[str, Entry] = {}
    for call in calls:
        before = found.get(call.id)
        found[call.id] = call if before is None or call.cost is not None or before.cost is None else before
    return list(found.values())


def _renamed(entry: Entry, name_of: Canonical) -> Entry:
    return replace(entry, model=name_of(entry.model))


def _generation_of(value: Mapping[str, Json]) -> str:
    data = value.get("data")
    if not isinstance(data, dict) or "total_cost" not in data:
        return ""
    identity = data.get("id")
    return identity if isinstance(identity, str) else ""


def _made(value: Mapping[str, Json], identity: str) -> datetime:
    """Return when the call was made: as the answer says, or as the id does, which has the second in it."""
    inner = next((value[name] for name in ("response", "message", "data") if isinstance(value.get(name), dict)), value)
    told = (inner.get("created"), inner.get("created_at")) if isinstance(inner, dict) else ()
    for moment in told:
        if isinstance(moment, str):
            return believable(parse_moment(moment))
        if isinstance(moment, (int, Decimal)) and not isinstance(moment, bool) and 0 < moment < 10**11:
            return believable(datetime.fromtimestamp(int(moment), UTC))
    found = _MADE.match(identity)
    if found is None:
        raise InvalidValue("the answer does not say when the call was made")
    return believable(datetime.fromtimestamp(int(found[1]), UTC))
