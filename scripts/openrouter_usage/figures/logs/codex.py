"""Codex's rollouts: cumulative and last token counts, without an id and without a cost; pure.

A count is repeated when nothing was used, and a forked or spawned session begins with a burst of its parent's events,
all stamped with the moment of the fork.
"""

from __future__ import annotations

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    OPENROUTER,
    LineReader,
    Logged,
    Skipped,
    count,
    moment_s,
    part,
    project_of,
    record,
    text,
)
from openrouter_usage.money import Json

REPLAYED = "copied from another session"
_PARENTS = ("parent_thread_id", "forked_from_id", "parent_session_id")
_BURST_S = 1
_COUNTS = ("input_tokens", "cached_input_tokens", "output_tokens")


class Lines(LineReader):
    """Reads the lines of one rollout in their order; `context` is what further lines need to know."""

    markers = (b"session_meta", b"turn_context", b"token_count")

    def read(self, line: bytes) -> Logged | None:
        """Return the call that a line tells of, None for any other line; Skipped for one that is not understood."""
        values = record(line)
        payload = part(values, "payload")
        kind = values.get("type")
        if kind == "session_meta":
            self._begin(values, payload)
        elif kind == "turn_context":
            self.context["model"] = text(payload.get("model")) or self.context.get("model", "")
        elif kind == "event_msg" and payload.get("type") == "token_count":
            return self._call(values, payload)
        return None

    def _begin(self, values: dict[str, Json], payload: dict[str, Json]) -> None:
        if "session" in self.context:
            return  # a fork has its parent's header below its own
        self.context["session"] = text(payload.get("id"))
        self.context["project"] = project_of(payload.get("cwd"))
        self.context["provider"] = text(payload.get("model_provider")).lower()
        source = part(part(payload, "source"), "subagent")
        if any(payload.get(name) for name in _PARENTS) or source.get("thread_spawn"):
            self.context["forked_s"] = moment_s(values.get("timestamp"))

    def _call(self, values: dict[str, Json], payload: dict[str, Json]) -> Logged | None:
        info = part(payload, "info")
        sums, last = part(info, "total_token_usage"), part(info, "last_token_usage")
        if not sums and not last:
            return None  # a count of limits alone
        at_s = moment_s(values.get("timestamp"))
        now = [count(sums.get(name)) for name in _COUNTS]
        before = self.context.get("sums", [0] * len(_COUNTS))
        is_same = bool(sums) and now == before
        if sums:
            self.context["sums"] = now
        if is_same:
            return None
        if at_s <= self.context.get("forked_s", -1) + _BURST_S:
            raise Skipped(REPLAYED)
        if OPENROUTER not in self.context.get("provider", ""):
            raise Skipped(ANOTHER_PROVIDER)
        used = [count(last.get(name)) for name in _COUNTS] if last else _grown(before, now)
        session = self.context.get("session", "")
        key = f"{session}:{':'.join(map(str, now))}" if sums else f"{session}:{at_s}:{':'.join(map(str, used))}"
        return Logged(
            key,
            at_s,
            self.context.get("model", ""),
            session=session,
            project=self.context.get("project", ""),
            prompt_tokens=used[0],
            cached_tokens=min(used[1], used[0]),
            completion_tokens=used[2],
        )


def _grown(before: list[int], now: list[int]) -> list[int]:
    """Return by how much sums have grown; where one fell they began anew, because the conversation was compacted."""
    if any(new < old for old, new in zip(before, now, strict=True)):
        return now
    return [new - old for old, new in zip(before, now, strict=True)]
