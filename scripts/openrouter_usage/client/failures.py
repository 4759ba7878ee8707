"""Says in our own words how a request failed; what libraries say may quote a proxy's password."""

from __future__ import annotations

import ssl

import requests
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError
from urllib3.exceptions import ProtocolError as BrokenConnection
from urllib3.exceptions import TimeoutError as SocketTimeout

from openrouter_usage.client.connection import ForbiddenAddress
from openrouter_usage.errors import OpenRouterUsageError, SettingsError, Unreachable

RAISED = (requests.RequestException, HTTPError, OSError)
_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    LocationValueError,
    UnicodeError,
)


class ConnectionFailed(Unreachable):
    """A failure that may pass: nobody answered, or the answer broke off."""


def failure(error: Exception, *, host: str, proxy: str, path: str, has_sent: bool) -> OpenRouterUsageError:
    """Return the error for a request that had no whole answer; `proxy` is the proxy's host, "" without one.

    Only where a byte of the request was sent may it have arrived.
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
            f"the proxy {proxy} cannot be used to reach {host}, and nothing was sent: its address is malformed, "
            "or of a kind that this program does not speak",
            hint="set HTTPS_PROXY to an address like http://proxy.example:8080, or unset it",
            code="proxy",
        )
    return SettingsError(
        f"{host} is not a host name that can be looked up, and nothing was sent",
        hint="check OPENROUTER_BASE_URL, or the address of the webhook",
    )


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
    if isinstance(cause, ForbiddenAddress):
        return "it leads to a link-local or metadata address, to which no alert is sent"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, (SocketTimeout, TimeoutError)):
        return "no answer in time"
    if isinstance(cause, NewConnectionError):
        return "no connection could be made"
    if isinstance(cause, (ConnectionError, BrokenConnection)):
        return "the connection broke before the answer was complete"
    return f"the connection failed ({name})"
