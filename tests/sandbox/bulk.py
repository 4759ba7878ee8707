"""Bodies that are far larger than anybody wants to read."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator

MEGABYTE = 1024 * 1024
PADDED_START, PADDED_END = b'{"data":{},"padding":"', b'"}'


def length(megabytes: int) -> int:
    """The length of the padded text in bytes."""
    return megabytes * MEGABYTE + len(PADDED_START + PADDED_END)


def padded(megabytes: int) -> Iterator[bytes]:
    """A JSON text with so much padding, in pieces of a megabyte."""
    yield PADDED_START
    for _ in range(megabytes):
        yield b" " * MEGABYTE
    yield PADDED_END


@functools.lru_cache(maxsize=4)
def bomb(megabytes: int) -> bytes:
    """Valid gzip of a valid JSON text; a flushed block of spaces can be repeated without compressing it again."""
    spaces = b" " * MEGABYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(PADDED_START) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(PADDED_END) + packer.flush()
    check = 0
    for piece in padded(megabytes):
        check = zlib.crc32(piece, check)
    trailer = check.to_bytes(4, "little") + (length(megabytes) % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + start + block * megabytes + end + trailer
