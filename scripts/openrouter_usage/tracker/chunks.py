"""A streamed call: gives its chunks, and ends it in the books once, however the reading ends."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from openrouter_usage.answers.call import CallUsage, read_call
from openrouter_usage.client.sse import DONE, events
from openrouter_usage.client.transport import OpenAnswer
from openrouter_usage.credentials import scrubbed
from openrouter_usage.errors import BadAnswer, OpenRouterUsageError
from openrouter_usage.exactjson import Json, loads
from openrouter_usage.tracker.written import is_locking


class ChunkStream:
    """Iterates over the chunks of an answer as JSON objects; also a context manager.

    Raises Unreachable when OpenRouter reports an error midway, and when the stream ends before it is complete.
    """

    def __init__(
        self,
        opened: OpenAnswer,
        *,
        named: Callable[[str], None],
        ended: Callable[[CallUsage], None],
        complaint: Callable[[Json], OpenRouterUsageError | None],
        failed: Callable[[OpenRouterUsageError], None],
    ) -> None:
        """Read from `opened`; tell the generation's id when it is known, and the usage once at the end.

        `complaint` finds the error that a chunk tells of, and `failed` may add to one before it is raised.
        """
        self._is_closed = False
        self._opened = opened
        self._events = events(opened.pieces())
        self._usage = CallUsage(id=opened.generation)
        self._named = named
        self._ended = ended
        self._find_complaint = complaint
        self._failed = failed
        self._complaint: OpenRouterUsageError | None = None
        try:
            named(opened.generation)
        except BaseException:
            self.close()  # nobody has this stream yet who could
            raise

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the stream itself."""
        return self

    def __next__(self) -> dict[str, Any]:
        """Give the next chunk."""
        if self._is_closed:
            raise StopIteration
        try:
            return self._next()
        except OpenRouterUsageError as error:
            self.close()
            self._failed(error)
            raise
        except BaseException:
            # Also when ^C comes: the connection is ended and the call booked before anything else.
            self.close()
            raise

    def _next(self) -> dict[str, Any]:
        if self._complaint is not None:
            raise self._complaint
        text = next(self._events, None)
        if text is None:
            raise BadAnswer("the stream ended before it was complete", hint="the text so far may be cut short")
        if text.strip() == DONE:
            raise StopIteration
        try:
            # A server that repeats the key would have it shown.
            text = scrubbed(text)
            chunk = loads(text)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise BadAnswer("the stream has a chunk that is no JSON object", hint="a proxy may stand in between")
        self._usage = self._usage.merged(read_call(chunk))
        self._named(self._usage.id)
        # The chunk that carries an error is given first: it may hold the last words, and its caller may look.
        self._complaint = self._find_complaint(chunk)
        value: dict[str, Any] = json.loads(text)
        return value

    def close(self) -> None:
        """End the connection and book the call; once, whoever calls it."""
        if not self._is_closed:
            self._is_closed = True
            self._opened.close()
            self._ended(self._usage)

    def __enter__(self) -> ChunkStream:
        """Give the stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()

    def __del__(self) -> None:
        """Close a stream that nobody read to its end."""
        if not getattr(self, "_is_closed", True):
            self._close_somewhere()

    def _close_somewhere(self) -> None:
        if not is_locking():
            self.close()
            return
        # The garbage collector came while this thread was at work on the ledger: it has to end that first.
        with contextlib.suppress(RuntimeError):  # at the end of the process no thread begins; `settle` finds out
            threading.Thread(target=self.close).start()
