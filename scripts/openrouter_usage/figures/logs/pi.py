"""pi's sessions, whose lines OpenClaw has too: a header, changes of the model, and messages with their usage; pure.

Newer versions write the id of the answer's chunks as `responseId`, which through OpenRouter is the generation's. A fork
copies its parent's lines with their ids and times, so those two tell that a message is the same one.
"""

from __future__ import annotations

from typing import Any

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    OPENROUTER,
    LineReader,
    Logged,
    Skipped,
    amount,
    count,
    generation_id,
    moment_s,
    part,
    project_of,
    record,
    text,
    total,
)
from openrouter_usage.money import Json


class Lines(LineReader):
    """Reads the lines of one session in their order; `context` is what further lines need to know."""

    markers = (b'"usage"', b'"session"', b"model_change", b"model-snapshot")

    def __init__(self, path: str, context: dict[str, Any]) -> None:
        """Begin at the first line, or go on with a context."""
        super().__init__(path, context)
        self.agent = ""

    def read(self, line: bytes) -> Logged | None:
        """Return the call that a line tells of, None for any other line; Skipped for one that is not understood."""
        values = record(line)
        kind = values.get("type")
        if kind == "session":
            self._begin(values)
        elif kind == "model_change":
            self._change(values.get("provider"), values.get("modelId"))
        elif kind == "custom" and values.get("customType") == "model-snapshot":
            data = part(values, "data")
            self._change(data.get("provider"), data.get("modelId"))
        elif kind == "message":
            message = part(values, "message")
            if message.get("role") == "assistant" and isinstance(message.get("usage"), dict):
                return self._call(values, message)
        return None

    def _begin(self, values: dict[str, Json]) -> None:
        # A fork repeats its parent's header below its own.
        for name, found in (("session", text(values.get("id"))), ("project", project_of(values.get("cwd")))):
            if found and name not in self.context:
                self.context[name] = found

    def _change(self, provider: Json, model: Json) -> None:
        self.context["provider"], self.context["model"] = text(provider), text(model)

    def _call(self, values: dict[str, Json], message: dict[str, Json]) -> Logged:
        provider = text(message.get("provider")) or self.context.get("provider", "")
        if provider != OPENROUTER:
            raise Skipped(ANOTHER_PROVIDER)
        usage = part(message, "usage")
        written_at = message.get("timestamp")
        at_s = moment_s(values.get("timestamp")) if written_at is None else moment_s(written_at, unit=1000)
        identity = generation_id(message.get("responseId"))
        read, written = count(usage.get("cacheRead")), count(usage.get("cacheWrite"))
        prompt, completion = total(count(usage.get("input")), read, written), count(usage.get("output"))
        model = text(message.get("responseModel")) or text(message.get("model")) or self.context.get("model", "")
        # Tokens belong to it, for old versions gave messages ids of a few signs.
        key = f"{text(values.get('id'), 100)}:{written_at or at_s}:{prompt}:{completion}"
        cost = usage.get("cost")
        return Logged(
            identity or key,
            at_s,
            model,
            identity,
            self.context.get("session", ""),
            self.context.get("project", ""),
            self.agent,
            prompt,
            completion,
            read,
            written,
            amount(cost.get("total") if isinstance(cost, dict) else cost),
        )
