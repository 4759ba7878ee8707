"""Reads the logs of other programs, from where they were read before: files of lines, databases, lists of messages."""

from __future__ import annotations

import functools
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from openrouter_usage.figures.logs.logged import NEWER, LineReader, Logged, Skipped
from openrouter_usage.jobs.log_book import Read, context_of
from openrouter_usage.jobs.log_stores import EXPORT, LINES, MESSAGE, PACKED, TASK, Store

_BLOCK = 1024 * 1024
_LONGEST_LINE = 64 * 1024 * 1024
_LARGEST_FILE = 256 * 1024 * 1024
_LARGEST_UNPACKED = 1024 * 1024 * 1024
_MARKED = 64
_LONGEST_ID = 1_000
UNREADABLE, TOO_LONG = "a file that cannot be read", "longer than 64 MiB"
NO_ZSTD = "compressed with zstd, which Python 3.14 or the package zstandard can read"
TOO_LARGE = "a file larger than 256 MiB"
# Kept as the context of what is read anew, from its beginning, once it can be unpacked.
_WITHOUT_ZSTD = '"without zstd"'
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Found(NamedTuple):
    """What a file told since it was read before; `are_sums` where each is the sum of a whole session."""

    calls: Iterable[Logged]
    skipped: Counter[str]
    read: Read
    from_start: bool
    are_sums: bool = False


def is_known(store: Store, read: Read | None) -> bool:
    """Check whether a file, and what a database keeps beside it, is as it was when it was read before."""
    if read is None or (read.context == _WITHOUT_ZSTD and _unpacker() is not None):
        return False
    status = store.status
    same = (read.device, read.inode, read.size, read.mtime_ns)
    return same == (status.st_dev, status.st_ino, status.st_size + _wal_size(store), status.st_mtime_ns)


def read_store(store: Store, read: Read | None) -> Found:
    """Read what is new in a file; a file that cannot be read is skipped with the reason, and read again next time."""
    kind = store.kind
    try:
        if kind == LINES:
            return _read_lines(store, read)
        context = context_of(read)
        from_start = not context
        found, skipped = _WHOLE[kind](store, context)
        calls = _largest(found)
        told = _WITHOUT_ZSTD if skipped[NO_ZSTD] else json.dumps(context) if context else ""
        return Found(calls, skipped, _as_it_is(store, told), from_start, kind in ("goose", "hermes"))
    except Skipped as why:
        return _failed(store, read, str(why))
    except (OSError, MemoryError):
        return _failed(store, read, UNREADABLE)


def _as_it_is(store: Store, context: str) -> Read:
    status = store.status
    return Read(status.st_dev, status.st_ino, status.st_size + _wal_size(store), status.st_mtime_ns, 0, 0, context)


def _failed(store: Store, read: Read | None, why: str) -> Found:
    if why == NO_ZSTD:
        return Found((), Counter({why: 1}), _as_it_is(store, _WITHOUT_ZSTD), True)
    # Sizes that no file has let it be read again next time.
    known = read or Read(0, 0, -1, 0, 0, 0, "")
    return Found((), Counter({why: 1}), known._replace(size=-1), True)


def _wal_size(store: Store) -> int:
    """Return the size of what a database keeps beside its main file, 0 for any other file."""
    if not store.path.endswith((".sqlite", ".db")):
        return 0
    try:
        wal = os.stat(f"{store.path}-wal")
    except OSError:
        return 0
    # Its time belongs to it, because a log that begins anew keeps its size.
    return wal.st_size + wal.st_mtime_ns


def lines_of(client: str, path: str, context: dict[str, Any]) -> LineReader:
    """Return the reader of a client's lines."""
    made: LineReader = import_module(f"openrouter_usage.figures.logs.{client.replace('-', '_')}").Lines(path, context)
    return made


def _largest(found: Iterable[Logged]) -> list[Logged]:
    """Return each call of one file once, with its largest output."""
    by_key: dict[str, Logged] = {}
    for call in found:
        known = by_key.get(call.key)
        if known is None or call.completion_tokens > known.completion_tokens:
            by_key[call.key] = call
    return list(by_key.values())


# -- Files of lines, which are appended to.


def _read_lines(store: Store, read: Read | None) -> Found:
    status = store.status
    with open(store.path, "rb") as file:
        offset = _offset(file, status, read)
        from_start = offset == 0
        lines = lines_of(store.client, store.path, {} if from_start else context_of(read))
        skipped: Counter[str] = Counter()
        by_key: dict[str, Logged] = {}
        file.seek(offset)
        for some, end in _blocks(file, offset, skipped):
            offset = end
            for call in _calls_in(lines, some, skipped):
                known = by_key.get(call.key)
                if known is None or call.completion_tokens > known.completion_tokens:
                    by_key[call.key] = call
        mark = _mark(file, offset)
    told = json.dumps(lines.context) if lines.context else ""
    place = Read(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, offset, mark, told)
    return Found(by_key.values(), skipped, place, from_start)


def _offset(file: Any, status: os.stat_result, read: Read | None) -> int:
    """Return where to go on reading: at the beginning of a file that was replaced, shortened or written anew."""
    if read is None or (read.device, read.inode) != (status.st_dev, status.st_ino) or read.offset > status.st_size:
        return 0
    return read.offset if _mark(file, read.offset) == read.mark else 0


def _mark(file: Any, offset: int) -> int:
    file.seek(max(0, offset - _MARKED))
    return zlib.crc32(file.read(min(offset, _MARKED)))


def _blocks(file: Any, offset: int, skipped: Counter[str]) -> Iterator[tuple[list[bytes], int]]:
    """Yield some whole lines at a time with the offset after them; a torn last line is left for the next time."""
    rest, is_cut = b"", False
    while block := file.read(_BLOCK):
        rest += block
        if b"\n" in block:
            *lines, last = rest.split(b"\n")
            offset += len(rest) - len(last)
            # The first one may be the end of a line that was too long.
            yield lines[1:] if is_cut else lines, offset
            rest, is_cut = last, False
        elif len(rest) > _LONGEST_LINE:
            skipped[TOO_LONG] += 0 if is_cut else 1
            offset, rest, is_cut = offset + len(rest), b"", True
    if rest and not is_cut and rest.endswith(b"}"):
        try:
            json.loads(rest)
        except (ValueError, RecursionError):
            return
        yield [rest], offset + len(rest)  # a whole line that lacks its end


# -- Files that are read whole.


def _read_packed(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    if _unpacker() is None:
        raise Skipped(NO_ZSTD)  # before a large file is read
    data = _unpacked(_text(store.path))
    return _of_lines(lines_of(store.client, store.path, {}), data.split(b"\n"))


def _of_lines(lines: LineReader, found: list[bytes]) -> tuple[Iterator[Logged], Counter[str]]:
    skipped: Counter[str] = Counter()
    calls = list(_calls_in(lines, found, skipped))
    return iter(calls), skipped


def _calls_in(lines: LineReader, found: list[bytes], skipped: Counter[str]) -> Iterator[Logged]:
    """Yield the calls that some lines tell of, and count in `skipped` why others are not counted."""
    for line in lines.pick(found, skipped):
        try:
            call = lines.read(line)
        except Skipped as why:
            skipped[str(why)] += 1
            continue
        if call is not None:
            yield call


def _unpacked(data: bytes) -> bytes:
    """Return what zstd compressed; Skipped without a way to do that, and for what is damaged or far too large."""
    unpack = _unpacker()
    if unpack is None:
        raise Skipped(NO_ZSTD)
    try:
        return unpack(data)
    except (ValueError, EOFError):
        raise Skipped("compressed data that is damaged") from None


@functools.cache
def _unpacker() -> Callable[[bytes], bytes] | None:
    """Return what unpacks zstd: Python's own from 3.14 on, or the package's; None where there is neither."""
    for name in ("compression.zstd", "zstandard"):
        try:
            found = import_module(name)
        except ModuleNotFoundError:
            continue

        def unpack(data: bytes, zstd: Any = found) -> bytes:
            try:
                made = zstd.ZstdDecompressor()
                if not hasattr(made, "read_to_iter"):
                    return bytes(made.decompress(data, _LARGEST_UNPACKED))
                pieces, size = [], 0
                for piece in made.read_to_iter(io.BytesIO(data)):  # the package
                    pieces.append(piece)
                    size += len(piece)
                    if size > _LARGEST_UNPACKED:
                        break
                return b"".join(pieces)
            except zstd.ZstdError as error:
                raise ValueError(str(error)) from None

        return unpack
    return None


def _text(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise Skipped(TOO_LARGE)
    return data


def _read_message(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    from openrouter_usage.figures.logs import opencode

    return _each([_text(store.path)], opencode.read)


def _read_task(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    from openrouter_usage.figures.logs import cline

    folder, _ = os.path.split(store.path)
    task = os.path.basename(folder)
    histories = (
        os.path.join(folder, "history_item.json"),
        os.path.join(os.path.dirname(os.path.dirname(folder)), "state", "taskHistory.json"),
    )
    item: dict[str, Any] = {}
    for path in histories:
        try:
            item = item or cline.read_history(_text(path)).get(task, {})
        except (OSError, Skipped):
            continue
    skipped: Counter[str] = Counter()
    calls = []
    for found in cline.read_messages(_text(store.path), task, item):
        if isinstance(found, Skipped):
            skipped[str(found)] += 1
        else:
            calls.append(found)
    return iter(calls), skipped


def _read_export(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    from openrouter_usage.figures.logs import litellm

    return _each(litellm.rows(_text(store.path).decode("utf-8", "replace")), litellm.read)


def _each(found: Iterable[Any], read: Callable[[Any], Logged | None]) -> tuple[Iterator[Logged], Counter[str]]:
    skipped: Counter[str] = Counter()
    calls = []
    for record in found:
        if isinstance(record, Skipped):
            skipped[str(record)] += 1
            continue
        try:
            call = read(record)
        except Skipped as why:
            skipped[str(why)] += 1
            continue
        calls += [call] if call else []
    return iter(calls), skipped


# -- Databases.

_SESSIONS_OF_OPENCLAW = "SELECT DISTINCT session_id FROM transcript_events ORDER BY session_id"
_EVENTS_OF_OPENCLAW = "SELECT * FROM transcript_events WHERE session_id IS ? AND seq > ? ORDER BY seq"
_ARCHIVES_OF_OPENCLAW = "SELECT * FROM session_transcript_archives"
_MESSAGES_OF_OPENCODE = {
    "message": "SELECT session_id, data FROM message",
    "session_message": "SELECT session_id, data FROM session_message",  # of newer versions
}


def _read_openclaw(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    """Read the events after the last one that was read of each session, in their order."""
    from openrouter_usage.jobs.foreign_sqlite import columns, opened, rows

    calls: list[Logged] = []
    skipped: Counter[str] = Counter()
    is_first = not context
    with opened(store.path) as db:
        if not {"session_id", "seq", "event_json"} <= columns(db, "transcript_events"):
            raise Skipped(NEWER)
        for (session,) in db.execute(_SESSIONS_OF_OPENCLAW).fetchall():
            last, carried = context.get(str(session), (-1, {}))
            lines = lines_of("openclaw", store.path, carried)
            lines.context.setdefault("session", str(session)[:_LONGEST_ID])
            for row in rows(db, _EVENTS_OF_OPENCLAW, (session, last)):
                seq = row["seq"]
                last = seq if isinstance(seq, int) else last
                _take(lines, functools.partial(_event, row), calls, skipped)
            context[str(session)] = (last, lines.context)
        if columns(db, "session_transcript_archives"):
            # They are read anew each time, and so counted only the first time.
            told = skipped if is_first else Counter[str]()
            for row in rows(db, _ARCHIVES_OF_OPENCLAW):
                session = row.get("session_id")
                lines = lines_of("openclaw", store.path, {"session": session} if isinstance(session, str) else {})
                for value in row.values():  # whatever the column is called
                    if isinstance(value, bytes) and value.startswith(_ZSTD_MAGIC):
                        _take(lines, functools.partial(_archived, value), calls, told)
    return iter(calls), skipped


def _take(lines: LineReader, get: Callable[[], list[bytes]], calls: list[Logged], skipped: Counter[str]) -> None:
    try:
        found, why = _of_lines(lines, get())
    except Skipped as problem:
        skipped[str(problem)] += 1
        return
    calls += found
    skipped.update(why)


def _archived(value: bytes) -> list[bytes]:
    return _unpacked(value).split(b"\n")


def _event(row: dict[str, object]) -> list[bytes]:
    event, zipped = row["event_json"], row.get("event_zstd")
    if isinstance(event, str):
        return [event.encode("utf-8", "replace")]
    if isinstance(event, bytes):
        return [event]
    if isinstance(zipped, bytes):
        return [_unpacked(zipped)]
    raise Skipped(NEWER)


def _read_opencode(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    from openrouter_usage.figures.logs import opencode
    from openrouter_usage.jobs.foreign_sqlite import columns, opened

    with opened(store.path) as db:
        tables = [table for table in _MESSAGES_OF_OPENCODE if {"session_id", "data"} <= columns(db, table)]
        if not tables:
            raise Skipped(NEWER)
        folders: dict[Any, Any] = {}
        if {"id", "directory"} <= columns(db, "session"):
            folders = dict(db.execute("SELECT id, directory FROM session"))
        calls, skipped = [], Counter[str]()
        for table in tables:
            # The whole table, because messages are rewritten while they grow; the same one is the same key.
            for session, data in db.execute(_MESSAGES_OF_OPENCODE[table]):
                try:
                    text = data if isinstance(data, (str, bytes)) else ""
                    call = opencode.read(text, session=session, folder=folders.get(session, ""))
                except Skipped as why:
                    skipped[str(why)] += 1
                    continue
                calls += [call] if call else []
    return iter(calls), skipped


def _read_sums(store: Store, context: dict[str, Any]) -> tuple[Iterator[Logged], Counter[str]]:
    from openrouter_usage.jobs.foreign_sqlite import columns, opened, rows

    program = import_module(f"openrouter_usage.figures.logs.{store.kind}")
    with opened(store.path) as db:
        if not columns(db, "sessions") >= program.NEEDED:
            raise Skipped(NEWER)
        return _each(list(rows(db, "SELECT * FROM sessions")), program.read)


_WHOLE: dict[str, Callable[[Store, dict[str, Any]], tuple[Iterator[Logged], Counter[str]]]] = {
    PACKED: _read_packed,
    MESSAGE: _read_message,
    TASK: _read_task,
    EXPORT: _read_export,
    "openclaw": _read_openclaw,
    "opencode": _read_opencode,
    "goose": _read_sums,
    "hermes": _read_sums,
}
