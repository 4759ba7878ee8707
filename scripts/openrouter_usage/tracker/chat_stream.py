"""A streamed call: its chunks, and its one end in the ledger, however the reading ends.

A stream that is closed, or read to its end, is looked up where its cost is not known. One that nobody ended is only
cut off and left to `settle`: its finalizer may run anywhere, also while Python is being taken down, where a request or
a new thread would wait for ever. In a process that was forked off, a stream is the parent's, and nothing is done to it.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from openrouter_usage.errors import BadAnswer, OpenRouterUsageError, SettingsError
from openrouter_usage.ledger.locks import put_off
from openrouter_usage.money import Json, loads_oddly
from openrouter_usage.openrouter.answers.generation import CallUsage, read_call
from openrouter_usage.openrouter.inference import DONE, events
from openrouter_usage.openrouter.transport import OpenAnswer
from openrouter_usage.redaction import scrubbed
from openrouter_usage.tracker.record import guarded, is_locking

# Held by identity alone: whoever reads a stream holds it, and nothing else does.
_OPEN: weakref.WeakSet[ChunkStream] = weakref.WeakSet()


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
        left: Callable[[CallUsage], None],
        complaint: Callable[[Json], OpenRouterUsageError | None],
        failed: Callable[[OpenRouterUsageError], None],
    ) -> None:
        """Read from `opened`; tell the generation's id when it is known, and the usage once at the end.

        The end is told to `ended`, which may look the call up, or to `left`, which only writes to the disk.
        `complaint` finds the error that a chunk tells of, and `failed` may add to one before it is raised.
        """
        self._is_closed = self._is_left = False
        self._ending, self._process = threading.Lock(), os.getpid()
        self._opened = opened
        self._events = events(opened.pieces())
        self._usage = CallUsage(id=opened.generation)
        self._named = named
        self._ended = ended
        self._left = left
        self._find_complaint = complaint
        self._failed = failed
        self._complaint: OpenRouterUsageError | None = None
        _OPEN.add(self)
        try:
            named(opened.generation)
        except BaseException:
            self.close()  # nobody has this stream yet who could
            raise

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Return the stream itself."""
        return self

    def __next__(self) -> dict[str, Any]:
        """Return the next chunk; SettingsError in a forked process, which would take the chunk from its parent."""
        if self._process != os.getpid():
            raise SettingsError(
                "this stream belongs to the process that opened it, from which this one was forked",
                hint="read it there, or make another call here",
            )
        if self._is_closed:
            raise StopIteration
        try:
            return self._next()
        except OpenRouterUsageError as error:
            if self._is_left:
                # A daemon thread read while the program ended, and has no one left to complain to.
                raise StopIteration from None
            self.close()
            self._failed(error)
            raise
        except BaseException:
            # Also when ^C comes: the connection is ended and the call recorded before anything else.
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
            chunk = loads_oddly(text)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            raise BadAnswer("the stream has a chunk that is not a JSON object", hint="a proxy may stand in between")
        self._usage = self._usage.merged(read_call(chunk))
        self._named(self._usage.id)
        # The chunk that carries an error is given first: it may hold the last words, and its caller may look.
        self._complaint = self._find_complaint(chunk)
        value: dict[str, Any] = json.loads(text)
        return value

    def close(self) -> None:
        """End the connection and record the call; once, whoever calls it, and only where the stream was opened."""
        if sys.is_finalizing() or is_locking():
            self.leave()
        elif self._begins_to_end():
            self._opened.close()
            self._ended(self._usage)

    def leave(self) -> None:
        """End the connection without asking anybody anything: what is not known then is left to `settle`."""
        if not self._begins_to_end():
            return
        self._is_left = True
        if sys.is_finalizing():
            # The hold is on the disk; writing more would need modules that may be gone.
            self._opened.abandon()
            return
        self._opened.close()
        left, usage = self._left, self._usage
        if is_locking():
            # The garbage collector came while this thread was at work on the ledger: that has to end first.
            put_off(lambda: left(usage))
        else:
            left(usage)

    def _begins_to_end(self) -> bool:
        """Check whether it is for this caller, and for nobody else, to end the stream."""
        if self._process != os.getpid() or not self._ending.acquire(blocking=False):
            return False
        self._is_closed = True
        return True

    def __enter__(self) -> ChunkStream:
        """Return the stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the stream."""
        self.close()

    def __del__(self) -> None:
        """Record a stream that nobody read to its end, without asking anybody."""
        if not hasattr(self, "_complaint"):  # its making failed
            return
        if self._process == os.getpid():
            self.leave()
        else:
            self._opened.abandon()


def _leave_all() -> None:
    """Record what is open when the interpreter ends, while everything that this needs is still there."""
    for stream in list(_OPEN):
        guarded(stream.leave, None)


atexit.register(_leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_OPEN.clear)
