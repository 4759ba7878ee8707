"""Sends HTTP requests with requests, under a deadline, and says exactly how each one ended."""

from __future__ import annotations

import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple, Protocol

import requests
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError
from urllib3.exceptions import ProtocolError as BrokenConnection
from urllib3.exceptions import TimeoutError as SocketTimeout

from openrouter_usage.errors import BadAnswer, OpenRouterUsageError, SettingsError, TimedOut, Unreachable, note_arrival
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import VERSION, BaseUrl
from openrouter_usage.openrouter.connection import Adapter, ForbiddenAddress, Lifeline
from openrouter_usage.openrouter.network import SharedContext, proxies_for, proxy_host
from openrouter_usage.openrouter.retry import (
    RETRIED_STATUSES,
    RateLimit,
    parse_http_date,
    parse_retry_after,
    read_rate_limit,
    wait_before_retry,
)
from openrouter_usage.period import UTC
from openrouter_usage.redaction import scrubbed, scrubbed_bytes
from openrouter_usage.text import safe

# -- Failed requests in our own words, because libraries may quote a proxy's password.

RAISED = (requests.RequestException, HTTPError, OSError)
_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    LocationValueError,
    UnicodeError,
)


class ConnectionFailed(Unreachable):
    """A failure that may be temporary: nobody answered, or the answer broke off."""


def failure(error: Exception, *, host: str, proxy: str, path: str, has_sent: bool) -> OpenRouterUsageError:
    """Return the error for a request without a whole answer; `proxy` is the proxy's host, "" without a proxy.

    The request may have arrived only if a byte of it was sent.
    """
    found = _found(error, host=host, proxy=proxy, about=f" ({path})" if path else "")
    found.may_have_arrived = has_sent
    return found


def _found(error: Exception, *, host: str, proxy: str, about: str) -> OpenRouterUsageError:
    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"the TLS certificate of {host} is not trusted, so no key was sent",
            hint="check the clock; behind a company proxy set REQUESTS_CA_BUNDLE to its certificate",
            code="tls",
        )
    if isinstance(error, (requests.exceptions.InvalidProxyURL, *_NO_ADDRESS)):
        return _no_address(host, proxy)
    if isinstance(error, requests.exceptions.ProxyError):
        return Unreachable(
            f"the proxy {proxy or 'that is configured'} did not let the request through to {host}",
            hint="check HTTPS_PROXY and NO_PROXY, and whether the proxy wants a login",
            code="proxy",
        )
    return ConnectionFailed(f"{host}: {_told(cause)}{about}", hint="check the network connection")


def _no_address(host: str, proxy: str) -> SettingsError:
    """Return the error for an address that nothing can be sent to: a proxy's, or else OpenRouter's own."""
    if proxy:
        return SettingsError(
            f"nothing was sent to {host}, because the address of the proxy {proxy} is malformed "
            "or of a kind that this program does not support",
            hint="set HTTPS_PROXY to an address like http://proxy.example:8080, or unset it",
            code="proxy",
        )
    return SettingsError(
        f"{host} is not a valid host name, so nothing was sent",
        hint="check OPENROUTER_BASE_URL, or the address of the webhook",
    )


def _root(error: BaseException) -> BaseException:
    """Return the root cause of an error of requests."""
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
    if name == "IncompleteRead":  # both http.client and urllib3 have one
        return "the answer is incomplete because the connection ended early"
    if isinstance(cause, ForbiddenAddress):
        return "the name leads to a link-local or metadata address, to which no alert is sent"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, (SocketTimeout, TimeoutError)):
        return "no answer in time"
    if isinstance(cause, NewConnectionError):
        return "no connection could be made"
    if isinstance(cause, (ConnectionError, BrokenConnection)):
        return "the connection broke before the answer was complete"
    return f"the connection failed ({name})"


# -- Bodies of answers, read and decompressed up to a size cap.

LARGEST_BODY = 64 * 1024 * 1024
_CHUNK = 64 * 1024


class _Raw(Protocol):
    """The part of an urllib3 response that is used here."""

    def stream(self, amt: int, decode_content: bool) -> Iterator[bytes]: ...


def read_body(raw: _Raw, encoding: str, *, largest: int = LARGEST_BODY) -> bytes:
    """Return a whole body; BadAnswer for one that is larger than the cap or oddly compressed.

    Decompressed here and not by urllib3, because a few kilobytes of zeros can unpack to gigabytes.
    """
    unpack = _unpacker(encoding.strip().lower())
    parts: list[bytes] = []
    size = 0
    for chunk in raw.stream(_CHUNK, decode_content=False):
        part = unpack(chunk, largest - size + 1)
        size += len(part)
        if size > largest:
            raise BadAnswer(f"the answer is larger than {largest // 1024 // 1024} MiB and was not read to the end")
        parts.append(part)
    return b"".join(parts)


def read_pieces(raw: Any, *, largest: int = LARGEST_BODY) -> Iterator[bytes]:
    """Yield a body as it arrives; BadAnswer for one that is larger than the cap."""
    size = 0
    # read1 returns what is there; urllib3 before 2 has only chunks, which do as well for a stream.
    pieces = iter(lambda: raw.read1(_CHUNK, decode_content=False), b"") if hasattr(raw, "read1") else raw.read_chunked()
    for piece in pieces:
        size += len(piece)
        if size > largest:
            raise BadAnswer(f"the stream is longer than {largest // 1024 // 1024} MiB and was not read to the end")
        yield piece


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # gzip or zlib, told apart by the header

    def __call__(self, chunk: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(chunk, most)
        except zlib.error:
            raise BadAnswer("the answer is damaged and cannot be decompressed") from None


def _as_it_is(chunk: bytes, most: int) -> bytes:
    return chunk


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    if encoding in ("", "identity"):
        return _as_it_is
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Gzip()
    raise BadAnswer("the answer is compressed in a way that was not requested")


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
    """An answer whose head has arrived; its body is read whole or in pieces, and the answer must be closed."""

    def __init__(self, response: requests.Response, lifeline: Lifeline, translated: Callable[[Exception], Exception]):
        """Keep an answer of requests, the lifeline that can cut it off, and the function that translates its errors."""
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
        body = scrubbed_bytes(body)  # otherwise a secret that a server repeats would be shown and stored
        now, served_at = datetime.now(UTC), parse_http_date(headers.get("Date"))
        retry_after_s = parse_retry_after(headers.get("Retry-After"), now)
        ahead_s = (served_at - now).total_seconds() if served_at else None
        limit = RateLimit()
        if self.status == 429:
            limit = read_rate_limit(headers, body, served_at or now)
            # Where the answer has both, only the later one can work.
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
        """Return the connection to the pool after the body was read to the end, or close it."""
        self._lifeline.release()
        self._response.close()

    def close(self) -> None:
        """Close the connection at once, whatever is still on its way, also from another thread."""
        self._lifeline.cut()
        self.release()

    def abandon(self) -> None:
        """Close only this process's copy of the connection, which another process may go on using."""
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
        # With trust_env a ~/.netrc entry would replace the Bearer header; proxies are set below.
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = Adapter(tls or SharedContext())
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        self._proxies = proxies_for(base_url)

    @property
    def elsewhere(self) -> str:
        """The address that is asked, "" for OpenRouter's own."""
        return "" if self._base_url.is_official else self._base_url.url

    def get(self, request: Request) -> Answer:
        """Send a request that changes nothing, with retries; Unreachable when no try was answered."""
        deadline = time.monotonic() + self.timeout_s
        attempt = 1
        while True:
            # A wait may end late, and a socket accepts no timeout of zero.
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
        """Send a request once; ConnectionFailed, TimedOut or BadAnswer without a whole answer."""
        opened = self.open(request, timeout_s, read_s=READ_S)
        try:
            return opened.whole(request.key)
        finally:
            opened.release()

    def open(self, request: Request, timeout_s: float, *, read_s: float, streamed: bool = False) -> OpenAnswer:
        """Send a request and read the head of the answer; `timeout_s` bounds the body as well."""
        try:
            lifeline = Lifeline(timeout_s, self._forbids)
        except BaseException as error:
            note_arrival(error, False)  # no thread is available, or ^C
            raise

        def translated(error: Exception) -> Exception:
            lifeline.release()
            # A read from a connection that was cut can fail in any way.
            if lifeline.expired:
                late: OpenRouterUsageError = self._late(request, timeout_s)
                late.may_have_arrived = lifeline.has_sent
                return late
            # A wrong address may raise a ValueError, or a TypeError (a proxy with a login and no host); neither is
            # a bug while nothing has been sent.
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
                    # A little longer than the lifeline, so that the deadline is reported when both are due.
                    timeout=(min(CONNECT_S, timeout_s), min(read_s, timeout_s + 1)),
                )
        except (*RAISED, AttributeError, ValueError, TypeError) as error:
            raise translated(error) from None
        except BaseException as error:
            # ^C: nobody will read the answer, so the server should stop sending it.
            lifeline.cut()
            lifeline.release()
            note_arrival(error, lifeline.has_sent)
            raise
        return OpenAnswer(response, lifeline, translated)

    def _prepared(self, request: Request, *, streamed: bool) -> requests.PreparedRequest:
        # A stream is not decompressed, which would delay what has arrived.
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
            hint="try again, or allow more time with --timeout",
        )

    @property
    def _host(self) -> str:
        return safe(self._base_url.host)
