"""What the gateway remembers of conversations, for budgets of the policy `measured`: lengths and hashes, no content.

An agent sends its whole conversation with every step. What was billed for the same beginning, and the bytes that are
new, say more about the next bill than the bytes of the whole.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.figures.learning import COLD, HEAD, WARM, Learned, learned_from
from openrouter_usage.files import make_private_folder, read_own, replace_file
from openrouter_usage.gateway import paths
from openrouter_usage.money import Json, dumps, loads
from openrouter_usage.openrouter.answers.generation import CallUsage

# Providers keep a prompt's beginning for five minutes; what is nearly that old may be gone.
CACHE_LASTS = timedelta(minutes=4)
_MOST_THREADS, _MOST_HEADS, _MOST_KINDS = 512, 512, 256
# Conversations of one session that go on beside each other, such as those of subagents that do not name themselves.
_BESIDE = 8
_MOST_MESSAGES = 4_096
_LARGEST_FILE = 1024 * 1024
_MARK = re.compile(r',?"cache_control": ?(?:null|\{[^{}]*\})')
_SAID = {paths.RESPONSES: "input"}
# These say how to answer; they are not put before the model.
_NOT_SAID = frozenset(
    ("model", "models", "max_tokens", "max_completion_tokens", "max_output_tokens", "provider", "stream", "usage",
     "metadata", "session_id", "user", "temperature", "stream_options", "prompt_cache_key")
)  # fmt: skip


class Thread(NamedTuple):
    """A conversation as it was sent last: hashes of its messages, and the tokens that were billed for all of it."""

    head: bytes
    messages: tuple[bytes, ...]
    tokens: int
    at: datetime


class Spoken(NamedTuple):
    """One request: the hash and length in bytes of all that is said beside the messages, and of each message."""

    head: bytes
    head_bytes: int
    messages: tuple[bytes, ...]
    sizes: tuple[int, ...]


@dataclass
class Recalled:
    """What is known of a request's beginning, and what will be learned from its bill.

    `prefix_tokens` were billed for the beginning, None where it is not known; `fresh_bytes` come after it.
    """

    kind: tuple[str, str]
    thread: tuple[str, ...]
    spoken: Spoken
    now: datetime
    prefix_tokens: int | None = None
    fresh_bytes: int = 0
    # So many of the messages are known.
    common: int = 0
    state: str = ""
    learned: Learned = field(default_factory=Learned)


class Memory:
    """The conversations that go on now, and what calls of each client and model have needed so far."""

    def __init__(self, path: Path | None = None) -> None:
        """Begin with what was learned before, if there is a file of it; nothing of a conversation is ever kept."""
        self._path = path
        self._key = secrets.token_bytes(16)  # so that nobody can try texts against a hash
        self._threads: OrderedDict[tuple[str, ...], list[Thread]] = OrderedDict()
        self._heads: OrderedDict[tuple[str, str, bytes], tuple[int, datetime]] = OrderedDict()
        self._learned: OrderedDict[tuple[str, str], Learned] = OrderedDict()
        self._is_new = False
        self._load()

    def recall(
        self, shape: str, body: Mapping[str, Json], *, client: str, session: str, agent: str, model: str, now: datetime
    ) -> Recalled:
        """Find the longest known beginning of a request."""
        spoken = self._spoken(shape, body)
        kind, thread = (client, model), (client, model, session, agent)
        found = Recalled(kind, thread, spoken, now, learned=self._learned.get(kind, Learned()))
        best = -1
        for known in tuple(self._threads.get(thread, ())):
            common = _common(known.messages, spoken.messages)
            if known.head == spoken.head and common > best and common > 0:
                found.common = best = common
                found.prefix_tokens, found.fresh_bytes = known.tokens, sum(spoken.sizes[common:])
                found.state = WARM if now - known.at < CACHE_LASTS else COLD
        head = self._heads.get((*kind, spoken.head))
        if found.prefix_tokens is None and head is not None:
            found.prefix_tokens, found.fresh_bytes, found.state = head[0], sum(spoken.sizes), HEAD
        return found

    def learn(self, recalled: Recalled, usage: CallUsage) -> None:
        """Learn from what a call was billed; an answer without figures teaches nothing."""
        if usage.cost is None or not usage.prompt_tokens:
            return
        learned = self._learned.setdefault(recalled.kind, Learned())
        self._learned.move_to_end(recalled.kind)
        learned.note_answer(usage.completion_tokens)
        if recalled.prefix_tokens is not None:
            prefix = min(recalled.prefix_tokens, usage.prompt_tokens)
            learned.note_prefix(recalled.state, prefix, usage.cached_tokens or 0)
        spoken = recalled.spoken
        thread = Thread(spoken.head, spoken.messages[:_MOST_MESSAGES], usage.prompt_tokens, recalled.now)
        kept = self._threads.setdefault(recalled.thread, [])
        self._threads.move_to_end(recalled.thread)
        # What continues a conversation takes its place.
        kept[:] = [each for each in kept if each.messages != thread.messages[: len(each.messages)]][-_BESIDE + 1 :]
        kept.append(thread)
        head = (*recalled.kind, spoken.head)
        least = min(usage.prompt_tokens, self._heads[head][0] if head in self._heads else usage.prompt_tokens)
        self._heads[head] = (least, recalled.now)
        self._heads.move_to_end(head)
        for table, most in ((self._threads, _MOST_THREADS), (self._heads, _MOST_HEADS), (self._learned, _MOST_KINDS)):
            while len(table) > most:
                table.popitem(last=False)
        self._is_new = True

    def _spoken(self, shape: str, body: Mapping[str, Json]) -> Spoken:
        name = _SAID.get(shape, "messages")
        said = body.get(name)
        messages = said if isinstance(said, list) else [said]
        rest = {key: value for key, value in body.items() if key != name and key not in _NOT_SAID}
        head, head_bytes = self._hashed(rest)
        pairs = [self._hashed(message) for message in messages]
        return Spoken(head, head_bytes, tuple(mark for mark, _ in pairs), tuple(size for _, size in pairs))

    def _hashed(self, value: Json | Mapping[str, Json]) -> tuple[bytes, int]:
        text = json.dumps(value, ensure_ascii=False, default=str)
        # Where a provider shall begin to keep the prompt moves along with the conversation, and says nothing.
        plain = _MARK.sub("", text) if '"cache_control"' in text else text
        data = plain.encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=8, key=self._key).digest(), len(data) + 1

    # -- what was learned, on the disk: counts by client and model ---------------------------------------------------

    def _load(self) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError, ValueError):
            kept = loads(read_own(self._path, _LARGEST_FILE))
            rows = kept.get("learned") if isinstance(kept, dict) else None
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, dict) and isinstance(row.get("client"), str) and isinstance(row.get("model"), str):
                    self._learned[str(row["client"]), str(row["model"])] = learned_from(row.get("counts"))

    def save(self) -> None:
        """Keep what was learned; when that fails it is learned again."""
        if self._path is None or not self._is_new:
            return
        self._is_new = False
        rows: list[Json] = [
            {"client": client, "model": model, "counts": each.as_json()}
            for (client, model), each in list(self._learned.items())
        ]
        with contextlib.suppress(OSError):
            make_private_folder(self._path.parent)
            replace_file(self._path, [dumps({"learned": rows}) + "\n"])


def learned_beside(ledger: Path) -> Path:
    """Return the path of the counts, which lie beside the ledger."""
    return ledger.with_name(ledger.name + ".learned")


def _common(known: tuple[bytes, ...], asked: tuple[bytes, ...]) -> int:
    """Return how many messages two conversations begin with alike."""
    for number, (one, other) in enumerate(zip(known, asked, strict=False)):
        if one != other:
            return number
    return min(len(known), len(asked))
