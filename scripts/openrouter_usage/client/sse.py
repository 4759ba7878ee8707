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
    rest: list[bytes] = []
    size = 0
    after_cr = False
    for piece in pieces:
        # An LF right after a CR is the second half of a CRLF that was cut in two.
        text = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r") or (after_cr and not piece)
        *whole, last = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield b"".join([*rest, line]).decode("utf-8", "replace").removeprefix("\ufeff")
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > LONGEST_EVENT:
            raise BadAnswer("the stream has a line of more than 16 MiB")
