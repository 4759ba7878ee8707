"""Connections that can be cut from another thread, and that share one TLS context."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from openrouter_usage.openrouter.network import SharedContext

_running = threading.local()


class Lifeline:
    """Cuts the connection of a request when its time is up.

    A timeout of the socket begins again with every byte, so a server that drips could hold a reader
    for ever; only a watchdog outside the read ends that.
    """

    def __init__(self, seconds: float, forbids: Callable[[str], bool] | None = None) -> None:
        """Start the time until the cut; `forbids` says of an address whether nothing may be sent there."""
        self.forbids = forbids
        self.expired = False
        # Whether a byte of the request itself has been handed to the network: what comes before (names, TLS, a
        # proxy's tunnel) costs nothing, and what comes after may be billed whatever the error looks like.
        self.has_sent = False
        self._connections: list[_Cuttable] = []
        # Re-entrant: the garbage collector may end a stream in the thread that is cutting that stream.
        self._lock = threading.RLock()
        self._timer = threading.Timer(max(0.0, seconds), self.cut)
        self._timer.daemon = True
        # Where no thread can start (their number is limited, Python is ending), the socket's own timeouts have to do.
        with contextlib.suppress(RuntimeError):
            self._timer.start()

    def __enter__(self) -> Lifeline:
        """Register every connection that this thread opens or reuses from here on."""
        _running.lifeline = self
        return self

    def __exit__(self, *_: object) -> None:
        """Register no further connection; those registered stay so until `release`."""
        _running.lifeline = None

    def release(self) -> None:
        """Release the connections: the answer is there, or nobody waits for it any more."""
        self._timer.cancel()

    def hold(self, connection: _Cuttable) -> None:
        """Register a connection to be cut when the time is up; cut it at once if the time is up already."""
        with self._lock:
            self._connections.append(connection)
        if self.expired:
            connection.cut()

    def cut(self) -> None:
        """Cut the registered connections now; readers learn that the time was up."""
        with self._lock:
            self.expired = True
        for connection in self._connections:
            connection.cut()


class ForbiddenAddress(OSError):
    """A connection led to an address to which nothing may be sent."""


class _Cuttable:
    """Makes the socket of an urllib3 connection closable while another thread reads from it."""

    sock: socket.socket | None
    auto_open: int
    _last_sock: socket.socket | None = None
    _is_tunnelling = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, registered with the lifeline of this thread."""
        lifeline = getattr(_running, "lifeline", None)
        if lifeline is not None:
            lifeline.hold(self)
        super().request(*args, **kwargs)  # type: ignore[misc]  # the mixin stands before a connection

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]  # the mixin stands before a connection
        lifeline = getattr(_running, "lifeline", None)
        # Checked once connected: the name may resolve to another address than a moment ago.
        if lifeline is not None and lifeline.forbids is not None and lifeline.forbids(str(sock.getpeername()[0])):
            sock.close()
            raise ForbiddenAddress(0, "nothing is sent to this address")
        return sock

    def send(self, data: Any) -> None:
        """Send bytes of a request, and remember that they were sent; asking a proxy for a tunnel does not count."""
        if self.sock is None and self.auto_open:
            self.connect()  # type: ignore[attr-defined]  # of the connection; what fails in here has sent nothing
        lifeline = getattr(_running, "lifeline", None)
        if lifeline is not None and not self._is_tunnelling:
            lifeline.has_sent = True
        super().send(data)  # type: ignore[misc]  # the mixin stands before a connection

    def _tunnel(self) -> None:
        self._is_tunnelling = True
        try:
            super()._tunnel()  # type: ignore[misc]  # the mixin stands before a connection
        finally:
            self._is_tunnelling = False

    def getresponse(self) -> Any:
        """Read the head of the answer; keep the socket of a closing answer, which http.client forgets."""
        self._last_sock = self.sock
        return super().getresponse()  # type: ignore[misc]  # the mixin stands before a connection

    def cut(self) -> None:
        """Shut down the socket, which ends a blocked read at once."""
        for sock in (self.sock, self._last_sock):
            if sock is not None:
                # Not SSLSocket.shutdown, which drops the TLS state that the reader still uses. An OSError
                # means that the socket is closed already, which is what was wanted.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Plain(_Cuttable, HTTPConnection):
    pass


class _Secure(_Cuttable, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class Adapter(HTTPAdapter):
    """The adapter of requests with cuttable connections and one TLS context, read once for all threads."""

    def __init__(self, tls: SharedContext) -> None:
        """Keep the context until the first TLS connection asks for it."""
        self._tls = tls
        super().__init__(max_retries=0, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pool for direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Create the pool for connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Use the shared context for every TLS connection, always verifying."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        secure = host["scheme"] == "https"
        return host, {"cert_reqs": "CERT_REQUIRED", "ssl_context": self._tls.get()} if secure else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Require a valid certificate; the bundle is in the context, and naming it here would read it again."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = None
        conn.ca_cert_dir = None
