"""aider's analytics log, which it writes if asked to: one JSON line per event, without an id; pure."""

from __future__ import annotations

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    LineReader,
    Logged,
    Skipped,
    amount,
    count,
    moment_s,
    part,
    record,
    text,
)

_PREFIX = "openrouter/"


class Lines(LineReader):
    """Reads the lines of one log; a line tells all there is to know."""

    markers = (b"message_send",)

    def read(self, line: bytes) -> Logged | None:
        """Return the call that a line tells of, None for any other event; Skipped for one that is not understood."""
        values = record(line)
        if values.get("event") != "message_send":
            return None
        sent = part(values, "properties")
        model = text(sent.get("main_model"))
        if not model.startswith(_PREFIX):
            raise Skipped(ANOTHER_PROVIDER)
        prompt, completion = count(sent.get("prompt_tokens")), count(sent.get("completion_tokens"))
        at_s = moment_s(values.get("time"))
        # The running total of a session tells two messages of one second apart.
        key = f"{text(values.get('user_id'), 100)}:{at_s}:{prompt}:{completion}:{text(str(sent.get('total_cost')), 40)}"
        return Logged(
            key,
            at_s,
            model,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=amount(sent.get("cost")),
        )
