"""LiteLLM's spend logs: a row per request of its proxy, from its database or a file that was exported from it; pure.

Its sums per day and user are the same money again, and are not read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NOT_JSON,
    OPENROUTER,
    Logged,
    Skipped,
    amount,
    count,
    generation_id,
    moment_s,
    record,
    tag,
    text,
)
from openrouter_usage.money import loads

COLUMNS = (
    "request_id", "startTime", "model", "custom_llm_provider", "api_base", "spend", "prompt_tokens",
    "completion_tokens", "session_id", "team_id", "status",
)  # fmt: skip
# All that is asked for: the table has prompts, answers and hashes of keys too.
TABLE = "LiteLLM_SpendLogs"


def rows(data: str) -> Iterator[Mapping[str, object] | Skipped]:
    """Yield the rows of an export: CSV, a JSON list, or one JSON object a line; Skipped for what is none of them.

    A line that is damaged is yielded as Skipped, and does not hide the others.
    """
    start = data.lstrip("\ufeff \t\r\n")
    try:
        if start.startswith("["):
            found = loads(start)
            yield from (row for row in found if isinstance(row, dict)) if isinstance(found, list) else ()
            return
        if start.startswith("{"):
            for line in start.splitlines():
                if line.strip():
                    yield _object(line)
            return
        reader = csv.DictReader(io.StringIO(start, newline=""))
        if not {"request_id", "spend"} <= set(reader.fieldnames or ()):
            raise Skipped("no export of LiteLLM's spend logs")
        yield from reader
    except (ValueError, csv.Error):
        raise Skipped(NOT_JSON) from None


def _object(line: str) -> Mapping[str, object] | Skipped:
    try:
        return record(line)
    except Skipped as why:
        return why


def read(row: Mapping[str, object]) -> Logged | None:
    """Return the call of a row, None for one that failed; Skipped for one not understood."""
    model = text(row.get("model"))
    is_ours = row.get("custom_llm_provider") == OPENROUTER or "openrouter.ai" in text(row.get("api_base"))
    if not is_ours and not model.startswith("openrouter/"):
        raise Skipped(ANOTHER_PROVIDER)
    if row.get("status") == "failure":
        return None
    key = text(row.get("request_id"), 200)
    if not key:
        raise Skipped("without a request_id")
    began = row.get("startTime")
    return Logged(
        key,
        moment_s(began.replace(" ", "T", 1) if isinstance(began, str) else began),
        model,
        generation_id(key),
        text(row.get("session_id")),
        agent=tag(row.get("team_id")),
        prompt_tokens=_count(row.get("prompt_tokens")),
        completion_tokens=_count(row.get("completion_tokens")),
        cost=amount(row.get("spend")),
    )


def _count(value: object) -> int:
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16
    return count(int(value) if is_digits else value)  # type: ignore[call-overload]  # narrowed
