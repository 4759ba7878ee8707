"""goose's sessions: sums of a whole session in a database, which only grow; pure."""

from __future__ import annotations

from collections.abc import Mapping

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NEWER,
    OPENROUTER,
    Logged,
    Skipped,
    amount,
    count,
    moment_s,
    project_of,
    record,
    text,
)

NEEDED = {"id", "provider_name", "accumulated_input_tokens", "accumulated_output_tokens"}


def read(row: Mapping[str, object]) -> Logged | None:
    """Return what a session has used so far, None when it has used nothing; Skipped for one not understood."""
    if text(row.get("provider_name")) != OPENROUTER:
        raise Skipped(ANOTHER_PROVIDER)
    prompt, completion = count(row.get("accumulated_input_tokens")), count(row.get("accumulated_output_tokens"))
    if not prompt and not completion:
        return None
    identity = text(row.get("id"), 200)
    if not identity:
        raise Skipped(NEWER)
    config = row.get("model_config_json")
    try:
        model = text(record(config).get("model_name")) if isinstance(config, (str, bytes)) else ""
    except Skipped:
        model = ""
    return Logged(
        identity,
        moment_s(row.get("updated_at") or row.get("created_at")),
        model,
        session=identity,
        project=project_of(row.get("working_dir")),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=amount(row.get("accumulated_cost")),
    )
