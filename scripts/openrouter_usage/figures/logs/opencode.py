"""OpenCode's messages, in its database or in the older tree of JSON files; pure.

A fork copies messages under new ids with all figures as they were, so these tell that a message is the same one.
"""

from __future__ import annotations

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NEWER,
    OPENROUTER,
    Logged,
    Skipped,
    amount,
    count,
    moment_s,
    part,
    project_of,
    record,
    text,
    total,
)


def read(data: str | bytes, *, session: str = "", folder: str = "") -> Logged | None:
    """Return the call that a message tells of, None for any other message; Skipped for one not understood."""
    values = record(data)
    if values.get("role") != "assistant":
        return None
    if values.get("providerID") != OPENROUTER:
        raise Skipped(ANOTHER_PROVIDER)
    tokens, time = part(values, "tokens"), part(values, "time")
    if not tokens:
        raise Skipped(NEWER)
    at_s = moment_s(time.get("created"), unit=1000)
    cache = part(tokens, "cache")
    read_, written = count(cache.get("read")), count(cache.get("write"))
    prompt = total(count(tokens.get("input")), read_, written)
    completion = total(count(tokens.get("output")), count(tokens.get("reasoning")))
    cost = amount(values.get("cost"))
    if not prompt and not completion and not cost:
        return None  # it is being made, or was broken off
    where = part(values, "path").get("cwd") or folder
    model = text(values.get("modelID"))
    return Logged(
        f"{time.get('created')}:{model}:{prompt}:{completion}",
        at_s,
        model,
        session=text(values.get("sessionID")) or text(session),
        project=project_of(where),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=read_,
        cache_write_tokens=written,
        cost=cost,
    )
