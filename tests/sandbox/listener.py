"""The listening socket, and how requests are read off it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import traceback
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from .call import Headers, Received
from .wire import Gone, Wire

if TYPE_CHECKING:
    from .host import Host


class Listener(ThreadingHTTPServer):
    """A thread per connection, none of which outlives the host."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serves one connection, unless a fault spoils it before a word is said."""
        self.host.accept(Wire(request, self.host.stopping, ""))
        if self.host.certificate:
            request = self.host.certificate.context.wrap_socket(request, server_side=True)
        self.open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.open.discard(request)
            self.shutdown_request(request)

    def close_connections(self) -> None:
        """Wakes every thread that still reads or writes."""
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps errors of our own; broken connections are the business of a fault server."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (Gone, OSError, ssl.SSLError)):
            self.host.crashes.append(error)
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """Reads requests off one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def play(self) -> None:
        """Answers the request that has just been parsed."""
        host = self.server.host
        url = urlsplit(self.path)
        headers = Headers({name.lower(): value for name, value in self.headers.items()})
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        path = self.path if self.command == "CONNECT" else url.path.removeprefix(host.prefix)
        request = Received(self.command, path, query, headers)
        request.body = self.read_body(headers)
        date = format_datetime(host.date(), usegmt=True)
        try:
            host.perform(request, Wire(self.connection, host.stopping, date))
        except Gone:
            self.close_connection = True

    # CONNECT too: a client that is told to use a proxy may be told to use a sandbox.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = play

    def read_body(self, headers: Headers) -> bytes:
        """The body, whichever way its length is given."""
        if "chunked" not in headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the tests look at what the host has received."""
