"""Reads the body of an answer up to a cap, decompressing it without ever holding more than that."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from openrouter_usage.errors import BadAnswer

LARGEST_BODY = 64 * 1024 * 1024
_CHUNK = 64 * 1024


class _Raw(Protocol):
    """The part of an urllib3 response that is used here."""

    def stream(self, amt: int, decode_content: bool) -> Iterator[bytes]: ...


def read_body(raw: _Raw, encoding: str, *, largest: int = LARGEST_BODY) -> bytes:
    """Read a whole body; BadAnswer when it is larger than the cap or oddly compressed.

    Decompressed here and not by urllib3, because a few kilobytes of zeros can unpack to gigabytes.
    """
    unpack = _unpacker(encoding.strip().lower())
    parts: list[bytes] = []
    size = 0
    for chunk in raw.stream(_CHUNK, decode_content=False):
        part = unpack(chunk, largest - size + 1)
        size += len(part)
        if size > largest:
            raise BadAnswer(f"the answer is larger than {largest // 1024 // 1024} MiB and was not read to its end")
        parts.append(part)
    return b"".join(parts)


def read_pieces(raw: Any, *, largest: int = LARGEST_BODY) -> Iterator[bytes]:
    """Read a body as it arrives; BadAnswer when it is larger than the cap."""
    size = 0
    # read1 gives what is there; urllib3 before 2 has only chunks, which of a stream are as good.
    pieces = iter(lambda: raw.read1(_CHUNK, decode_content=False), b"") if hasattr(raw, "read1") else raw.read_chunked()
    for piece in pieces:
        size += len(piece)
        if size > largest:
            raise BadAnswer(f"the stream is longer than {largest // 1024 // 1024} MiB and was not read to its end")
        yield piece


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # gzip or zlib, told apart by the header

    def __call__(self, chunk: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(chunk, most)
        except zlib.error:
            raise BadAnswer("the answer is damaged: its compression cannot be undone") from None


def _as_it_is(chunk: bytes, most: int) -> bytes:
    return chunk


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    if encoding in ("", "identity"):
        return _as_it_is
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Gzip()
    raise BadAnswer("the answer is compressed in a way that was not asked for")
