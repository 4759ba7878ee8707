"""A proxy on this machine: it lets tunnels through to one place whatever their host, or answers for itself."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import final


@final
class Proxy:
    """An HTTP proxy; without a `target` every request is answered with `answer`."""

    def __init__(self, target: tuple[str, int] | None = None, answer: bytes = b"") -> None:
        self.target = target
        self.answer = answer
        self.heads: list[bytes] = []
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._server, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    @property
    def url(self) -> str:
        """The address as it is put into HTTPS_PROXY."""
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head:
                received = client.recv(65536)
                if not received:
                    return
                head += received
            self.heads.append(head)
            if self.target is None:
                client.sendall(self.answer)
                client.shutdown(socket.SHUT_WR)
                return
            upstream = socket.create_connection(self.target)
            self._open.append(upstream)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=self._pump, args=(upstream, client), daemon=True).start()
            self._pump(client, upstream)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a sandbox."""
    host, port = url.split("/")[2].split(":")
    return host, int(port)
