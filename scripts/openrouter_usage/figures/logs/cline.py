"""Tasks of Cline and of Roo, which descends from it: requests within a list of messages that are rewritten; pure.

The messages name neither provider nor model, only the history of the tasks has a model: one with a vendor before its
name is taken for OpenRouter's. Roo adds what the provider took to OpenRouter's cost, which doubles some of its costs.
"""

from __future__ import annotations

from collections.abc import Iterator

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NOT_JSON,
    Logged,
    Skipped,
    amount,
    count,
    moment_s,
    project_of,
    record,
    text,
    total,
)
from openrouter_usage.money import Json, loads

REQUEST = "api_req_started"


def read_history(data: str | bytes) -> dict[str, dict[str, Json]]:
    """Return the items of a history of tasks, or the one item of a task, by the task's id; empty when unreadable."""
    try:
        items = loads(data)
    except ValueError:
        return {}
    found = items if isinstance(items, list) else [items]
    return {str(item["id"]): item for item in found if isinstance(item, dict) and isinstance(item.get("id"), str)}


def read_messages(data: str | bytes, task: str, item: dict[str, Json]) -> Iterator[Logged | Skipped]:
    """Yield the calls of a task, and why others are not counted; Skipped when the list is not JSON."""
    try:
        messages = loads(data)
    except ValueError:
        raise Skipped(NOT_JSON) from None
    model = text(item.get("modelId"))
    project = project_of(item.get("workspace") or item.get("cwdOnTaskInitialization"))
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("say") == REQUEST:
            try:
                if "/" not in model:
                    raise Skipped("without a model of OpenRouter's" if not model else ANOTHER_PROVIDER)
                found = _call(message, task, model, project)
            except Skipped as why:
                yield why
                continue
            if found:
                yield found


def _call(message: dict[str, Json], task: str, model: str, project: str) -> Logged | None:
    told = message.get("text")
    values = record(told if isinstance(told, str) else "")
    read, written = count(values.get("cacheReads")), count(values.get("cacheWrites"))
    prompt, completion = total(count(values.get("tokensIn")), read, written), count(values.get("tokensOut"))
    if not prompt and not completion and not values.get("cost"):
        return None  # it is under way, or was broken off
    return Logged(
        f"{task[:100]}:{message.get('ts')}",
        moment_s(message.get("ts"), unit=1000),
        model,
        session=text(task),
        project=project,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=read,
        cache_write_tokens=written,
        cost=amount(values.get("cost")),
    )
