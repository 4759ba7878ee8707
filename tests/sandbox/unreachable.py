"""Addresses where nobody answers."""

from __future__ import annotations

import contextlib
import socket


class Unreachable:
    """A port that refuses connections, or with `silent` one whose queue is full, so that connecting never ends."""

    def __init__(self, *, silent: bool = False) -> None:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._waiting: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        if silent:
            self._listening.listen(0)
            self._fill()

    def _fill(self) -> None:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self.port))
            self._waiting.append(sock)

    def __enter__(self) -> Unreachable:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in [*self._waiting, self._listening]:
            sock.close()
