"""The way to OpenRouter: the proxies that the environment names, and one TLS context for all connections."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import requests

from openrouter_usage.errors import SettingsError
from openrouter_usage.home.settings import BaseUrl
from openrouter_usage.redaction import PASSWORD, protect
from openrouter_usage.text import safe

# -- Proxies that the environment names.

_LEAST_PASSWORD = 8


def proxies_for(base_url: BaseUrl) -> dict[str, str]:
    """Return the proxies for an address, by scheme; none for this machine, because a proxy would see the key."""
    proxies = {} if base_url.is_loopback else dict(requests.utils.get_environ_proxies(base_url.url))
    for proxy in proxies.values():
        _protect_login(proxy)
    return proxies


def _protect_login(proxy: str) -> None:
    """Keep a proxy's password out of all output; a short one may be a plain word and is not protected."""
    login = proxy.rpartition("@")[0].rpartition("//")[2]
    password = login.partition(":")[2]
    for secret in (login, password, unquote(password)):
        if len(secret) >= _LEAST_PASSWORD:
            protect(secret, PASSWORD)


def proxy_hosts(base_url: BaseUrl) -> list[str]:
    """Return the hosts of the proxies that are used for an address, without any login."""
    proxy = _used(proxies_for(base_url), base_url)
    return [_host(proxy, with_port=True) or "that is not a URL"] if proxy else []


def proxy_host(proxies: Mapping[str, str], base_url: BaseUrl) -> str:
    """Return the host of the proxy that is used for an address, without any login; "" without a proxy."""
    proxy = _used(proxies, base_url)
    return _host(proxy) or "that is configured" if proxy else ""


def _used(proxies: Mapping[str, str], base_url: BaseUrl) -> str:
    # The order in which requests looks for a proxy.
    return next((proxies[name] for name in (urlsplit(base_url.url).scheme, "all") if proxies.get(name)), "")


def _host(proxy: str, *, with_port: bool = False) -> str:
    """Return the host in a proxy's address, "" for one that cannot be read."""
    try:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = parts.hostname or "without a name", parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if with_port and port else host


# -- One TLS context for all connections, built while `requests` is being imported.

# The same variables in the same order as in requests and curl.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class SharedContext:
    """A verifying TLS context; reading the certificate bundle releases the GIL, so it costs no wall time."""

    def __init__(self) -> None:
        """Start reading the bundle in a separate thread."""
        self._context: ssl.SSLContext | None = None
        self._error: OSError | ModuleNotFoundError | None = None
        # Not a daemon: a process that ends while OpenSSL reads certificates ends with a segmentation fault.
        self._thread = threading.Thread(target=self._make)
        try:
            # In an exit handler nobody waits for threads any more, and the process would end while the bundle is read.
            if not threading.main_thread().is_alive():
                raise RuntimeError
            self._thread.start()
        except RuntimeError:  # no thread can start here: their number is limited, or Python is ending
            self._make()

    def get(self) -> ssl.SSLContext:
        """Wait for the context; SettingsError when the bundle cannot be read, ModuleNotFoundError without certifi."""
        if self._thread.ident is not None:
            self._thread.join()
        if isinstance(self._error, ModuleNotFoundError):
            raise self._error
        if self._context is None:
            raise SettingsError(
                f"the TLS certificates in {safe(ca_bundle(), 300)} cannot be read",
                hint=f"unset {' and '.join(CA_VARIABLES)}, or set them to a file of PEM certificates",
            ) from self._error
        return self._context

    def _make(self) -> None:
        try:
            bundle = ca_bundle()
            folder = os.path.isdir(bundle)
            self._context = ssl.create_default_context(
                cafile=None if folder else bundle, capath=bundle if folder else None
            )
        except (OSError, ModuleNotFoundError) as error:
            self._error = error


def named_bundle() -> str:
    """Return the file or folder of trusted certificates that the environment names; "" for none."""
    return next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), "")


def ca_bundle() -> str:
    """Return the file or folder of trusted certificates."""
    found = named_bundle()
    if found:
        return found
    import certifi

    return certifi.where()
