"""Sends HTTP requests with requests, under a deadline, and says exactly how each one ended."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from typing import NamedTuple

import requests

from openrouter_usage.client.body import read_body, read_pieces
from openrouter_usage.client.connection import Adapter, Lifeline
from openrouter_usage.client.failures import RAISED, ConnectionFailed, failure
from openrouter_usage.client.retry import (
    RETRIED_STATUSES,
    RateLimit,
    parse_http_date,
    parse_retry_after,
    read_rate_limit,
    wait_before_retry,
)
from openrouter_usage.client.surroundings import proxies_for, proxy_host
from openrouter_usage.client.tls import SharedContext
from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import OpenRouterUsageError, TimedOut, note_arrival
from openrouter_usage.period import UTC
from openrouter_usage.redaction import scrubbed, scrubbed_bytes
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
    retry_after_s: float | None = None
    clock_ahead_s: float | None = None
    generation: str = ""
    limit: RateLimit = RateLimit()


class OpenAnswer:
    """An answer whose head is there; its body is read whole or piece by piece, and it has to be closed."""

    def __init__(self, response: requests.Response, lifeline: Lifeline, translated: Callable[[Exception], Exception]):
        """Hold an answer of requests, what cuts it off in time, and what turns its errors into ours."""
        self._response = response
        self._lifeline = lifeline
        self._translated = translated
        self.status = response.status_code
        self.generation = scrubbed(safe(response.headers.get("X-Generation-Id", ""), 200))

    def whole(self, key: ApiKey | None) -> Answer:
        """Read the body to its end."""
        headers = self._response.headers
        with self._translating():
            body = read_body(self._response.raw, headers.get("Content-Encoding", ""))
        body = scrubbed_bytes(body)  # a server that repeats a secret would have it shown, and kept
        now, served_at = datetime.now(UTC), parse_http_date(headers.get("Date"))
        retry_after_s = parse_retry_after(headers.get("Retry-After"), now)
        ahead_s = (served_at - now).total_seconds() if served_at else None
        limit = RateLimit()
        if self.status == 429:
            limit = read_rate_limit(headers, body, served_at or now)
            # Where both are told, the later one is when it may work: sooner would be in vain.
            waits = [wait for wait in (retry_after_s, limit.wait_s(served_at or now)) if wait is not None]
            retry_after_s = max(waits, default=None)
        return Answer(self.status, body, retry_after_s, ahead_s, self.generation, limit)

    def pieces(self) -> Iterator[bytes]:
        """Read the body as it comes."""
        pieces = read_pieces(self._response.raw)
        while True:
            with self._translating():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def release(self) -> None:
        """Give the connection back after the body was read to its end, or close it."""
        self._lifeline.release()
        self._response.close()

    def close(self) -> None:
        """Close the connection at once, whatever is still on its way, also from another thread."""
        self._lifeline.cut()
        self.release()

    def abandon(self) -> None:
        """Close this process's copy of the connection alone: another process, or nobody, goes on using it."""
        self._response.close()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (*RAISED, AttributeError, ValueError) as error:
            raise self._translated(error) from None


class Transport:
    """Connections to one base URL; safe to use from several threads."""

    def __init__(
        self,
        base_url: BaseUrl,
        *,
        timeout_s: float = 30.0,
        tls: SharedContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
        forbids: Callable[[str], bool] | None = None,
    ) -> None:
        """Prepare to talk to `base_url`; `timeout_s` bounds one call with its retries and waits.

        `forbids` says of an address that was connected to whether nothing may be sent there.
        """
        self._forbids = forbids
        self._base_url = base_url
        self.timeout_s = timeout_s
        self.sleep = sleep
        self._session = session = requests.Session()
        # With trust_env a ~/.netrc entry would replace the Bearer header; proxies are taken up below.
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = Adapter(tls or SharedContext())
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        self._proxies = proxies_for(base_url)

    @property
    def elsewhere(self) -> str:
        """The address that is asked, "" where that is OpenRouter's own."""
        return "" if self._base_url.is_official else self._base_url.url

    def get(self, request: Request) -> Answer:
        """Send a request that changes nothing, again where that can help; Unreachable when no try was answered."""
        deadline = time.monotonic() + self.timeout_s
        attempt = 1
        while True:
            # A wait may end late, and a socket takes no timeout of nothing.
            answer, failed = self._attempt(request, max(0.001, deadline - time.monotonic()))
            if answer and answer.status not in RETRIED_STATUSES:
                return answer
            status, asked_s = (answer.status, answer.retry_after_s) if answer else (None, None)
            wait_s = wait_before_retry(attempt, status, asked_s, random.random())
            if wait_s is None or time.monotonic() + wait_s >= deadline:
                break
            self.sleep(wait_s)
            attempt += 1
        if answer is None:
            raise failed or ConnectionFailed("no answer")
        return answer

    def _attempt(self, request: Request, timeout_s: float) -> tuple[Answer | None, ConnectionFailed | None]:
        try:
            return self.send(request, timeout_s), None
        except ConnectionFailed as error:
            return None, error

    def send(self, request: Request, timeout_s: float) -> Answer:
        """Send a request once; ConnectionFailed, TimedOut or BadAnswer when no whole answer came."""
        opened = self.open(request, timeout_s, read_s=READ_S)
        try:
            return opened.whole(request.key)
        finally:
            opened.release()

    def open(self, request: Request, timeout_s: float, *, read_s: float, streamed: bool = False) -> OpenAnswer:
        """Send a request and read the head of its answer; `timeout_s` bounds its body as well."""
        try:
            lifeline = Lifeline(timeout_s, self._forbids)
        except BaseException as error:
            note_arrival(error, False)  # no thread to be had, or ^C
            raise

        def translated(error: Exception) -> Exception:
            lifeline.release()
            # A connection that was cut can fail in any way, in the reader's hands.
            if lifeline.expired:
                late: OpenRouterUsageError = self._late(request, timeout_s)
                late.may_have_arrived = lifeline.has_sent
                return late
            # What an address can be wrong in is a ValueError now and then, a TypeError for a proxy with a login and no
            # host, and no bug while nothing has been sent.
            is_address = isinstance(error, (ValueError, TypeError)) and not lifeline.has_sent
            if not isinstance(error, RAISED) and not is_address:
                return error
            proxy = safe(proxy_host(self._proxies, self._base_url))
            return failure(error, host=self._host, proxy=proxy, path=request.path, has_sent=lifeline.has_sent)

        try:
            with lifeline:
                response = self._session.send(
                    self._prepared(request, streamed=streamed),
                    stream=True,
                    allow_redirects=False,
                    proxies=self._proxies,
                    # A little longer than the lifeline: when both are due, the deadline is what is told.
                    timeout=(min(CONNECT_S, timeout_s), min(read_s, timeout_s + 1)),
                )
        except (*RAISED, AttributeError, ValueError, TypeError) as error:
            raise translated(error) from None
        except BaseException as error:
            # ^C: nobody will read the answer, so nobody is to go on sending it.
            lifeline.cut()
            lifeline.release()
            note_arrival(error, lifeline.has_sent)
            raise
        return OpenAnswer(response, lifeline, translated)

    def _prepared(self, request: Request, *, streamed: bool) -> requests.PreparedRequest:
        # A stream comes as it is: unpacking would hold back what has arrived.
        encoding = "identity" if streamed else "gzip"
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": encoding,
            "User-Agent": f"openrouter-usage/{VERSION}",
        }
        if request.key:
            headers["Authorization"] = f"Bearer {request.key.secret}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        url = self._base_url.url + request.path
        return requests.Request(
            request.method, url, headers=headers, params=request.params, data=request.body
        ).prepare()

    def _late(self, request: Request, timeout_s: float) -> TimedOut:
        to = f" to {request.path}" if request.path else ""
        return TimedOut(
            f"{self._host} sent no complete answer{to} within {timeout_s:.0f} s",
            hint="try again, or give it longer with --timeout",
        )

    @property
    def _host(self) -> str:
        return safe(self._base_url.host)
