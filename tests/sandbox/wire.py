"""One connection as seen from the server: sending, stalling, and breaking it on purpose."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping

from .answer import Answer, phrase


class Gone(Exception):
    """The connection is over: reset by us, left by the client, or the sandbox stops."""


class Wire:
    """The socket of one request."""

    def __init__(self, sock: socket.socket, stopping: threading.Event, date: str) -> None:
        self.sock = sock
        self.stopping = stopping
        self.date = date
        self.sent = 0
        self.reset_at: int | None = None

    def send(self, data: bytes) -> None:
        """Sends all of the data, or resets where a fault has put the limit."""
        if self.reset_at is not None and self.sent + len(data) >= self.reset_at:
            self.sock.sendall(data[: self.reset_at - self.sent])
            self.reset()
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error
        self.sent += len(data)

    def sleep(self, seconds: float) -> None:
        """Waits, but not longer than the sandbox lives."""
        if seconds and self.stopping.wait(seconds):
            raise Gone

    def wait(self, seconds: float) -> None:
        """Waits like `sleep`, and notices when the client leaves."""
        until = time.monotonic() + seconds
        while not self.client_gone():
            left = until - time.monotonic()
            if left <= 0:
                return
            self.sleep(min(left, 0.05))
        raise Gone

    def hang(self) -> None:
        """Says nothing until the client gives up or the sandbox stops."""
        while not self.client_gone() and not self.stopping.wait(0.05):
            pass
        raise Gone

    def client_gone(self) -> bool:
        """True once the client has closed its end."""
        try:
            if not select.select([self.sock], [], [], 0)[0]:
                return False
            return socket.socket.recv(self.sock, 1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):
            return True

    def reset(self) -> None:
        """Breaks the connection with a TCP RST, which only a close without lingering sends."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(linger_format(), 1, 0))
            socket.close(self.sock.detach())
        raise Gone

    def close(self) -> None:
        """Ends the connection politely, in the middle of whatever was being said."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        raise Gone

    def head(self, answer: Answer, framing: Mapping[str, str]) -> bytes:
        """Status line and headers; an answer's own header replaces the usual one of that name."""
        usual = {"Date": self.date, "Server": "cloudflare", "Content-Type": answer.content_type, **framing}
        taken = {name.lower() for name in answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in usual.items() if name.lower() not in taken]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def transmit(self, answer: Answer) -> None:
        """Sends an answer as a healthy server does."""
        if answer.pieces is None:
            body = answer.encoded()
            self.send(self.head(answer, {"Content-Length": str(len(body))}) + body)
        elif "Content-Length" in answer.headers:
            self.send(self.head(answer, {}))
            for piece in answer.pieces:
                self.send(piece)
        else:
            self.send_chunks(answer, answer.pieces)

    def send_chunks(self, answer: Answer, pieces: Iterable[bytes]) -> None:
        """Sends each piece as a chunk of its own; however that ends, the pieces are told."""
        with contextlib.closing(iter(pieces)) as rest:  # type: ignore[type-var]
            self.send(self.head(answer, {"Transfer-Encoding": "chunked"}))
            for piece in rest:
                self.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.send(b"0\r\n\r\n")


def linger_format() -> str:
    """The C layout of `struct linger`, which has shorter fields on Windows."""
    return "hh" if sys.platform == "win32" else "ii"
