"""A local server that remembers what it was asked and misbehaves on demand."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

from . import tls as certificates
from .answer import Answer
from .call import Received
from .faults import Fault
from .listener import Listener
from .wire import Wire

Self = TypeVar("Self", bound="Host")


class Host:
    """What the sandbox and the webhook receiver have in common; use it as a context manager, or call `stop()`."""

    prefix = ""

    def __init__(self, *, tls: bool | str = False, delay_s: float = 0.0, port: int = 0) -> None:
        self.delay_s = delay_s
        self.requests: list[Received] = []
        self.connections = 0
        self.crashes: list[BaseException] = []
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self._faults: dict[str, deque[Fault] | Fault] = {}
        self.certificate = certificates.Certificate("good" if tls is True else str(tls)) if tls else None
        self.ca_file = self.certificate.ca_file if self.certificate else None
        self._listener = Listener(self, port)
        self.port: int = self._listener.server_address[1]
        self.url = f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}{self.prefix}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None and self.crashes:
            raise AssertionError("the sandbox itself failed") from self.crashes[0]

    def stop(self) -> None:
        """Closes every connection, stalled ones too, and the port."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.close_connections()
        if self.certificate:
            self.certificate.remove()

    def answer(self, request: Received, wire: Wire) -> Answer:
        """What a healthy host answers."""
        raise NotImplementedError

    def date(self) -> datetime:
        """The time in the Date header."""
        return datetime.now(timezone.utc)

    # -- misbehaviour ----------------------------------------------------------------------------------------------

    def misbehave(self, path: str, *faults: Fault, times: int | None = None) -> None:
        """Spoils the next requests of a path ("/key", "POST /keys", "/keys/*", "*"), one fault each.

        One fault without `times` stays for ever; several run once, or `times` times over.
        """
        with self.changed:
            self._faults[path] = faults[0] if len(faults) == 1 and times is None else deque(faults * (times or 1))

    def behave(self, path: str | None = None) -> None:
        """Ends the misbehaviour of one path, or of all."""
        with self.changed:
            for known in [path] if path else list(self._faults):
                self._faults.pop(known, None)

    def accept(self, wire: Wire) -> None:
        """Counts a new connection, and spoils it at once when a fault says so."""
        with self.changed:
            self.connections += 1
        fault = self._take(None)
        if fault and fault.before:
            fault.before(wire)

    def _take(self, request: Received | None) -> Fault | None:
        """The fault for a request; None stands for a connection that has not said anything yet."""
        with self.changed:
            for path in sorted(self._faults, key=lambda path: path == "*"):
                queue = self._faults[path]
                following = queue if isinstance(queue, Fault) else next(iter(queue), None)
                fits = path == "*" if request is None else _matches(path, request)
                if following and fits and following.on_accept == (request is None):
                    if not isinstance(queue, Fault):
                        queue.popleft()
                    return following
        return None

    def perform(self, request: Received, wire: Wire) -> None:
        """Answers one request, well or badly."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        fault = self._take(request) or Fault.none()
        wire.sleep(self.delay_s)
        if fault.before:
            fault.before(wire)
        answer = self.answer(request, wire) if fault.effect else Answer()
        if fault.edit:
            answer = fault.edit(wire, answer)
        request.status = answer.status
        (fault.send or Wire.transmit)(wire, answer)
        with self.changed:
            request.finished = True
            self.changed.notify_all()

    # -- what has been asked ---------------------------------------------------------------------------------------

    def received(self, path: str | None = None) -> list[Received]:
        """The requests for a path ("/key" or "GET /key"), in order of arrival; all without one."""
        with self.changed:
            return [request for request in self.requests if path is None or _matches(path, request)]

    def calls(self, path: str) -> int:
        """How many requests came for a path."""
        return len(self.received(path))

    def wait_for(self, path: str, count: int = 1, *, timeout: float = 30.0) -> list[Received]:
        """Blocks until so many requests for a path have arrived, and returns them."""
        self.wait_until(lambda: self.calls(path) >= count, timeout=timeout)
        return self.received(path)

    def wait_until(self, holds: Callable[[], bool], *, timeout: float = 30.0) -> None:
        """Blocks until something holds, such as a bill that a broken connection has settled."""
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"still waiting after {timeout} s")
            with self.changed:
                self.changed.wait(0.01)


def _matches(path: str, request: Received) -> bool:
    method, _, wanted = path.rpartition(" ")
    return method in ("", request.method) and fnmatch.fnmatchcase(request.path, wanted)
