"""Says in our own words how a request failed; what libraries say may quote a proxy's password."""

from __future__ import annotations

import ssl

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.exceptions import ProtocolError as BrokenConnection
from urllib3.exceptions import TimeoutError as SocketTimeout

from openrouter_usage.errors import Unreachable

RAISED = (requests.RequestException, HTTPError, OSError)


class ConnectionFailed(Unreachable):
    """A failure that may pass: nobody answered, or the answer broke off."""


def failure(error: Exception, *, host: str, proxy_host: str, path: str) -> Unreachable:
    """Give the error for a request that had no whole answer; it knows whether the request may have arrived."""
    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        found = Unreachable(
            f"the TLS certificate of {host} is not trusted, so no key was sent",
            hint="check the clock; behind a company proxy set REQUESTS_CA_BUNDLE to its certificate",
            code="tls",
        )
    elif isinstance(error, requests.exceptions.ProxyError):
        found = Unreachable(
            f"the proxy {proxy_host} did not let the request through to {host}",
            hint="check HTTPS_PROXY and NO_PROXY, and whether the proxy wants a login",
            code="proxy",
        )
    else:
        found = ConnectionFailed(f"{host}: {_told(cause)} ({path})", hint="check the network connection")
    found.may_have_arrived = not _never_left(error, cause)
    return found


def _never_left(error: Exception, cause: BaseException) -> bool:
    """Tell whether the failure came before the first byte of the request was sent."""
    if isinstance(error, (requests.exceptions.ProxyError, requests.exceptions.ConnectTimeout)):
        return True
    if isinstance(
        cause, (ssl.SSLCertVerificationError, NewConnectionError, ConnectTimeoutError, ConnectionRefusedError)
    ):
        return True
    return type(cause).__name__ in ("gaierror", "NameResolutionError")


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
