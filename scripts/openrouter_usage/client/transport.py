"""Sends HTTP requests with requests, under a deadline, and says exactly how each one ended."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import ProtocolError as BrokenConnection
from urllib3.exceptions import TimeoutError as SocketTimeout

from openrouter_usage.client.body import read_body
from openrouter_usage.client.connection import Adapter, Lifeline
from openrouter_usage.client.retry import RETRIED_STATUSES, parse_http_date, parse_retry_after, wait_before_retry
from openrouter_usage.client.tls import SharedContext
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import TimedOut, Unreachable
from openrouter_usage.period import UTC
from openrouter_usage.settings import BaseUrl
from openrouter_usage.text import safe
from openrouter_usage.version import VERSION

CONNECT_S = 5.0
READ_S = 20.0


class Request(NamedTuple):
    """What is asked of OpenRouter; `path` begins with a slash, `body` is JSON text."""

    method: str
    path: str
    key: ApiKey | None
    params: tuple[tuple[str, str], ...] = ()
    body: str | None = None


class Answer(NamedTuple):
    """What came back, whole; `clock_ahead_s` is how far the server's clock is before ours, in seconds."""

    status: int
    body: bytes
    retry_after_s: float | None
    clock_ahead_s: float | None


class ConnectionFailed(Unreachable):
    """A failure that may pass: nobody answered, or the answer broke off."""


class Transport:
    """Connections to one base URL; safe to use from several threads."""

    def __init__(
        self,
        base_url: BaseUrl,
        *,
        timeout_s: float = 30.0,
        tls: SharedContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to talk to `base_url`; `timeout_s` bounds one call with its retries and waits."""
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._session = session = requests.Session()
        # With trust_env a ~/.netrc entry would replace the Bearer header; proxies are taken up below.
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = Adapter(tls or SharedContext())
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # Nothing for this machine goes through a proxy: plain http would show it the key.
        self._proxies = {} if base_url.is_loopback else requests.utils.get_environ_proxies(base_url.url)

    def get(self, request: Request) -> Answer:
        """Send a request that changes nothing, again where that can help; Unreachable when no try was answered."""
        deadline = time.monotonic() + self._timeout_s
        attempt = 1
        while True:
            # A wait may end late, and a socket takes no timeout of nothing.
            answer, failure = self._attempt(request, max(0.001, deadline - time.monotonic()))
            if answer and answer.status not in RETRIED_STATUSES:
                return answer
            status, asked_s = (answer.status, answer.retry_after_s) if answer else (None, None)
            wait_s = wait_before_retry(attempt, status, asked_s, random.random())
            if wait_s is None or time.monotonic() + wait_s >= deadline:
                break
            self._sleep(wait_s)
            attempt += 1
        if answer is None:
            raise failure or ConnectionFailed("no answer")
        return answer

    def _attempt(self, request: Request, timeout_s: float) -> tuple[Answer | None, ConnectionFailed | None]:
        try:
            return self.send(request, timeout_s), None
        except ConnectionFailed as error:
            return None, error

    def send(self, request: Request, timeout_s: float) -> Answer:
        """Send a request once; ConnectionFailed, TimedOut or BadAnswer when no whole answer came."""
        with Lifeline(timeout_s) as lifeline:
            try:
                return self._exchange(request, timeout_s)
            except (requests.RequestException, HTTPError, OSError, AttributeError, ValueError) as error:
                # A cut connection can fail in any of these ways, in the reader's hands.
                if lifeline.expired:
                    raise TimedOut(
                        f"{self._host} sent no complete answer to {request.path} within {timeout_s:.0f} s",
                        hint="try again, or give it longer with --timeout",
                    ) from None
                raise self._failure(request, error) from None

    def _exchange(self, request: Request, timeout_s: float) -> Answer:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"openrouter-usage/{VERSION}"}
        if request.key:
            headers["Authorization"] = f"Bearer {request.key.secret}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        prepared = requests.Request(
            request.method, self._base_url.url + request.path, headers=headers, params=request.params, data=request.body
        ).prepare()
        with self._session.send(
            prepared,
            stream=True,
            allow_redirects=False,
            proxies=self._proxies,
            timeout=(min(CONNECT_S, timeout_s), min(READ_S, timeout_s)),
        ) as response:
            body = read_body(response.raw, response.headers.get("Content-Encoding", ""))
            if request.key:  # a server that repeats it would have it shown, and kept
                body = body.replace(request.key.secret.encode(), b"[key]")
            now, served_at = datetime.now(UTC), parse_http_date(response.headers.get("Date"))
            return Answer(
                response.status_code,
                body,
                parse_retry_after(response.headers.get("Retry-After"), now),
                (served_at - now).total_seconds() if served_at else None,
            )

    @property
    def _host(self) -> str:
        return safe(self._base_url.host)

    def _failure(self, request: Request, error: Exception) -> Exception:
        """Say in our own words what went wrong; theirs may quote a proxy's password."""
        if not isinstance(error, (requests.RequestException, HTTPError, OSError)):
            return error
        cause = _root(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(
                f"the TLS certificate of {self._host} is not trusted, so no key was sent",
                hint="check the clock; behind a company proxy set REQUESTS_CA_BUNDLE to its certificate",
                code="tls",
            )
        if isinstance(error, requests.exceptions.ProxyError):
            return Unreachable(
                f"the proxy {self._proxy_host} did not let the request through to {self._host}",
                hint="check HTTPS_PROXY and NO_PROXY, and whether the proxy wants a login",
                code="proxy",
            )
        return ConnectionFailed(f"{self._host}: {_told(cause)} ({request.path})", hint="check the network connection")

    @property
    def _proxy_host(self) -> str:
        parts = urlsplit(self._proxies.get("https") or self._proxies.get("http") or "")
        return safe(parts.hostname or "that is configured")


def _root(error: BaseException) -> BaseException:
    """Follow an error of requests down to the one that began it."""
    for _ in range(8):
        reason = getattr(error, "reason", None)
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        deeper = reason if isinstance(reason, BaseException) else inner or error.__cause__
        if deeper is None:
            break
        error = deeper
    return error


def _told(cause: BaseException) -> str:
    name = type(cause).__name__
    if name in ("gaierror", "NameResolutionError"):
        return "the name cannot be resolved"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection could be made"
    if name == "IncompleteRead":  # there is one of http.client and one of urllib3
        return "incomplete answer, the connection ended early"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, (SocketTimeout, TimeoutError)):
        return "no answer in time"
    if isinstance(cause, NewConnectionError):
        return "no connection could be made"
    if isinstance(cause, (ConnectionError, BrokenConnection)):
        return "the connection broke before the answer was complete"
    return f"the connection failed ({name})"
