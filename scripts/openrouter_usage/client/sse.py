"""Reads server-sent events from bytes that may be cut anywhere; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openrouter_usage.errors import BadAnswer

DONE = "[DONE]"
LONGEST_EVENT = 16 * 1024 * 1024


def events(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give the data of each event; comments, other fields and blank lines are passed over.

    An event that is not ended by a blank line did not arrive whole, and is not given.
    """
    data: list[str] = []
    for line in lines(pieces):
        if not line:
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give the lines of a stream, ended by LF, CRLF or CR; they are cut as bytes, so no character is torn."""
    rest = b""
    for piece in pieces:
        text = rest + piece
        # A CR at the very end may be the first half of a CRLF that was cut in two.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = text.split(b"\n")
        rest += held
        if len(rest) > LONGEST_EVENT:
            raise BadAnswer("the stream has a line of more than 16 MiB")
        for line in whole:
            yield line.decode("utf-8", "replace").removeprefix("\ufeff")
