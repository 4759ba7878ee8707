"""Follows the pieces of one stream, and records each call in it once, however the stream ends."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

from openrouter_usage.answers.call import CallUsage
from openrouter_usage.tracker.observe import Seen, adds_nothing, answers_in
from openrouter_usage.tracker.tracked import TrackedCall, kind_of
from openrouter_usage.tracker.written import guarded


class Watch:
    """What is known of a stream so far; a stream may be of several calls, one after the other or mixed."""

    def __init__(
        self,
        call: TrackedCall,
        *,
        generation: str = "",
        is_proven: bool = False,
        what: str = "",
        may_be_silent: bool = False,
    ) -> None:
        """Begin with what is known before the stream: the generation's id, and whether OpenRouter itself answers.

        `what` names the stream for those who look for its cost in vain; one that `may_be_silent` tells of no call.
        """
        self._call = call
        self._generation = generation
        self._is_proven = is_proven or bool(generation)
        self._what, self._may_be_silent = what, may_be_silent
        self._current: CallUsage | None = None
        self._others: dict[str, CallUsage] = {}
        self._bare: CallUsage | None = None
        self._has_recorded = False
        self._since_s, self._until_s = call.began_s, 0.0
        self._ending, self._process = threading.Lock(), os.getpid()
        if may_be_silent:
            call.is_accounted_for()

    def take(self, value: object, *, is_whole: bool = False, is_sum: bool = False) -> None:
        """Look at a piece of the stream, or at its sum; what is no answer, nor part of one, is passed over."""
        self._until_s = time.monotonic()
        nothing: list[Seen] = []
        if not self._what:
            self._what = f"a stream of {kind_of(value).removeprefix('a ')}"
        for seen in guarded(lambda: [] if adds_nothing(value, self._current) else answers_in(value), nothing):
            self._take(seen, is_whole=(is_whole or seen.is_whole) and not is_sum)

    def _take(self, seen: Seen, *, is_whole: bool) -> None:
        call, current = seen.call, self._current
        if seen.is_bare:
            self._bare = call
        elif is_whole:
            self._record(call, streamed=None)
        elif current is None or call.id in ("", current.id) or not current.id:
            self._current = current.merged(call) if current else call
        else:
            if current.has_usage:
                self._record(current)
            else:
                self._others[current.id] = current
            before = self._others.pop(call.id, None)
            self._current = before.merged(call) if before else call

    def finish(self, *, has_failed: bool = False) -> None:
        """Record what has not been, once; a call whose usage did not arrive has an unknown cost."""
        # A process that was forked off meanwhile ends its copy of the stream, not the call.
        if self._process == os.getpid() and self._ending.acquire(blocking=False):
            self._finish(has_failed)

    def _finish(self, has_failed: bool) -> None:
        for call in [*self._others.values(), *([self._current] if self._current else [])]:
            self._record(call)
        if not self._has_recorded and self._bare is not None:
            self._record(self._bare, is_bare=True)
        elif not self._has_recorded and self._generation:
            self._record(CallUsage())
        elif not self._has_recorded and not has_failed and not self._may_be_silent:
            self._call.is_untracked(self._what or "a stream that ended at once")

    def _record(self, call: CallUsage, *, streamed: bool | None = True, is_bare: bool = False) -> None:
        self._has_recorded = True
        call = call if call.id else replace(call, id=self._generation)
        until_s = self._until_s or None
        times = {"since_s": self._since_s, "until_s": until_s}
        guarded(
            lambda: self._call.record(call, is_bare=is_bare, is_proven=self._is_proven, streamed=streamed, **times),
            None,
        )
        self._since_s = self._until_s or self._since_s
