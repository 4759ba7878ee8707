"""POST /chat/completions, whole or streamed; sent again only when nothing can have been billed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator

from openrouter_usage.errors import BadAnswer, OpenRouterUsageError, Unreachable, note_arrival
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.openrouter.refusals import read_complaint, refusal
from openrouter_usage.openrouter.retry import may_be_billed, wait_before_resend
from openrouter_usage.openrouter.transport import Answer, ConnectionFailed, OpenAnswer, Request, Transport

# -- Server-sent events, read from bytes that may be cut anywhere; pure.

DONE = "[DONE]"
LONGEST_EVENT = 16 * 1024 * 1024


def events(pieces: Iterable[bytes]) -> Iterator[str]:
    """Return the data of each event; comments, other fields and blank lines are passed over.

    An event that is not ended by a blank line did not arrive whole, and is dropped.
    """
    reader = EventReader()
    for piece in pieces:
        yield from reader.feed(piece)


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Return the lines of a stream."""
    reader = EventReader()
    for piece in pieces:
        yield from reader.lines(piece)


class EventReader:
    """Reads the events of one stream from its pieces as they come, for whoever cannot wait for the next one."""

    def __init__(self) -> None:
        """Begin before the first piece."""
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._data: list[str] = []
        self._data_size = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Return the data of each event that a piece completes; BadAnswer for one of more than 16 MiB."""
        for line in self.lines(piece):
            if not line:
                if self._data:
                    yield "\n".join(self._data)
                self._data, self._data_size = [], 0
            elif line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
                self._data_size += len(line)
                if self._data_size > LONGEST_EVENT:
                    raise BadAnswer("the stream has an event of more than 16 MiB")

    def lines(self, piece: bytes) -> Iterator[str]:
        """Return the lines that a piece completes, ended by LF, CRLF or CR; cut as bytes, so no character is torn."""
        # An LF right after a CR is the second half of a CRLF that was cut in two.
        text = piece[1:] if self._after_cr and piece.startswith(b"\n") else piece
        self._after_cr = piece.endswith(b"\r") or (self._after_cr and not piece)
        *whole, last = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            if self._rest:
                self._rest.append(line)
                line = b"".join(self._rest)  # noqa: PLW2901  # the whole of it
                self._rest, self._size = [], 0
            yield line.decode("utf-8", "replace").removeprefix("\ufeff")
        if last:
            self._rest.append(last)
            self._size += len(last)
        if self._size > LONGEST_EVENT:
            raise BadAnswer("the stream has a line of more than 16 MiB")


# -- Chat calls: POST /chat/completions, sent again only when nothing can have been billed.

CHAT = "/chat/completions"


class Inference:
    """Chat calls of one key; `may_have_arrived` of every failure says whether the call may have cost something."""

    def __init__(self, transport: Transport, key: ApiKey) -> None:
        """Send through `transport` with `key`; its `timeout_s` bounds one call, its retries included."""
        self._transport = transport
        self._key = key

    def chat(self, body: str) -> Answer:
        """Send a chat request and return the whole answer; Denied, BadRequest or Unreachable without an answer."""
        opened = self.open(body, streamed=False)
        try:
            return opened.whole(self._key)
        except OpenRouterUsageError as error:
            error.generation = opened.generation  # the head of the answer named the generation
            raise
        finally:
            opened.release()

    def open(self, body: str, *, streamed: bool) -> OpenAnswer:
        """Send a chat request and return the answer once it begins; errors as with `chat`."""
        deadline = time.monotonic() + self._transport.timeout_s
        request = Request("POST", CHAT, self._key, body=body)
        attempt = 1
        while True:
            left_s = max(0.001, deadline - time.monotonic())
            try:
                # No separate limit for the silence before an answer: models may think until the timeout.
                opened = self._transport.open(request, left_s, read_s=left_s + 1, streamed=streamed)
                if opened.status == 200:
                    return opened
                failed, wait_s = self._refused(opened, attempt)
            except ConnectionFailed as error:
                failed = error
                wait_s = None if error.may_have_arrived else wait_before_resend(attempt, None, None, random.random())
            if wait_s is None or time.monotonic() + wait_s >= deadline:
                raise failed
            self._wait(wait_s)
            attempt += 1

    def _wait(self, seconds: float) -> None:
        try:
            self._transport.sleep(seconds)
        except BaseException as error:
            note_arrival(error, False)  # ^C between two tries: the last one was refused, or never sent
            raise

    def _refused(self, opened: OpenAnswer, attempt: int) -> tuple[OpenRouterUsageError, float | None]:
        """Return the error for a refusal, and how long to wait before sending again, None for never."""
        try:
            answer = opened.whole(self._key)
        except Unreachable:
            # The body was cut off; the status is enough.
            answer = Answer(opened.status, b"")
        finally:
            opened.release()
        complaint = read_complaint(answer.body)
        error = refusal(answer.status, answer.body, CHAT, self._key, answer.limit)
        error.generation = opened.generation
        error.may_have_arrived = may_be_billed(answer.status, bool(complaint.message))
        passes = answer.status == 429 or (answer.status == 503 and complaint.message)
        passes = passes or (answer.status == 402 and complaint.limit_source == "openrouter_in_flight_budget")
        if not passes:
            return error, None
        return error, wait_before_resend(attempt, answer.status, answer.retry_after_s, random.random())
