"""Claude Code's transcripts: one JSON line per content block, several of them for one answer; pure.

Through OpenRouter the id of a message is that of the generation. All lines of one answer repeat its usage, in which the
output grows, so the largest output counts. Copies of a line in resumed, forked and subagent files have the same id.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from openrouter_usage.figures.logs.logged import (
    ANOTHER_PROVIDER,
    NOT_JSON,
    LineReader,
    Logged,
    Skipped,
    count,
    generation_id,
    moment_s,
    part,
    project_of,
    tag,
    text,
    total,
)

# What a look at the bytes of a line tells: quotes in texts are escaped, so these are names of fields.
_ID, _USAGE, _OUTPUT = b'"id":"gen-', b'"usage":', b'"output_tokens":'
_LONGEST_COUNT = 13
# Not `json.loads`, which finds out the encoding of each line first.
_decode = json.JSONDecoder().decode


class Lines(LineReader):
    """Reads the lines of one transcript; a line tells all there is to know, so nothing is carried on."""

    def __init__(self, path: str, context: dict[str, Any]) -> None:
        """Begin at any line."""
        super().__init__(path, context)
        self._largest: dict[bytes, int] = {}

    def pick(self, lines: list[bytes], skipped: Counter[str]) -> list[bytes]:
        """Return lines of answers through OpenRouter, of one answer those alone in which its output has grown."""
        told = [line for line in self.whole(lines, skipped) if b'"usage"' in line]
        ours = [line for line in told if b"gen-" in line]
        if len(ours) < len(told):
            skipped[ANOTHER_PROVIDER] += sum(1 for line in told if b"gen-" not in line and b'"assistant"' in line)
        # The largest output stands last, so backwards the others need not be read.
        return [line for line in reversed(ours) if self._has_grown(line)]

    def _has_grown(self, line: bytes) -> bool:
        start = line.find(_ID)
        at = line.find(_OUTPUT, line.find(_USAGE))
        if start < 0 or at < 0:
            return True  # written in another way, and to be read in earnest
        at += len(_OUTPUT)
        digits = line[at : at + _LONGEST_COUNT].split(b",", 1)[0].split(b"}", 1)[0]
        if not digits.isdigit():
            return True
        identity, tokens = line[start : line.find(b'"', start + len(_ID))], int(digits)
        if tokens <= self._largest.get(identity, -1):
            return False
        self._largest[identity] = tokens
        return True

    def read(self, line: bytes) -> Logged | None:
        """Return the call that a line tells of, None for any other line; Skipped for one that is not understood."""
        try:
            # No amounts are read here, so numbers need not be exact; this reads hundreds of thousands of lines.
            values = _decode(line.decode())
        except (ValueError, RecursionError):
            raise Skipped(NOT_JSON) from None
        if not isinstance(values, dict) or values.get("type") != "assistant":
            return None
        message = part(values, "message")
        identity = generation_id(message.get("id"))
        if not identity:
            raise Skipped(ANOTHER_PROVIDER)
        usage = part(message, "usage")
        read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
        return Logged(
            identity,
            moment_s(values.get("timestamp")),
            text(message.get("model")),
            identity,
            text(values.get("sessionId")),
            project_of(values.get("cwd")),
            tag(values.get("agentId")),
            total(count(usage.get("input_tokens")), read, written),
            count(usage.get("output_tokens")),
            read,
            written,
        )
