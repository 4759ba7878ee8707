"""What the environment says about the way to OpenRouter: proxies."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import requests

from openrouter_usage.redaction import PASSWORD, protect
from openrouter_usage.settings import BaseUrl

_LEAST_PASSWORD = 8


def proxies_for(base_url: BaseUrl) -> dict[str, str]:
    """Return the proxies for an address, by scheme; nothing for this machine goes through one: it would see the key."""
    proxies = {} if base_url.is_loopback else dict(requests.utils.get_environ_proxies(base_url.url))
    for proxy in proxies.values():
        _protect_login(proxy)
    return proxies


def _protect_login(proxy: str) -> None:
    """Keep a proxy's password out of everything that is shown; a short one is a word like others."""
    login = proxy.rpartition("@")[0].rpartition("//")[2]
    password = login.partition(":")[2]
    for secret in (login, password, unquote(password)):
        if len(secret) >= _LEAST_PASSWORD:
            protect(secret, PASSWORD)


def proxy_hosts(base_url: BaseUrl) -> list[str]:
    """Name the hosts of the proxies that are used for an address, without the login that may stand before them."""
    proxy = _used(proxies_for(base_url), base_url)
    return [_host(proxy, with_port=True) or "that is no URL"] if proxy else []


def proxy_host(proxies: Mapping[str, str], base_url: BaseUrl) -> str:
    """Name the host of the proxy that is used for an address, "" without one, and without its login."""
    proxy = _used(proxies, base_url)
    return _host(proxy) or "that is configured" if proxy else ""


def _used(proxies: Mapping[str, str], base_url: BaseUrl) -> str:
    # The order in which requests looks for one.
    return next((proxies[name] for name in (urlsplit(base_url.url).scheme, "all") if proxies.get(name)), "")


def _host(proxy: str, *, with_port: bool = False) -> str:
    """Return the host in a proxy's address, "" for one that cannot be read."""
    try:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = parts.hostname or "without a name", parts.port
    except ValueError:
        return ""
    return f"{host}:{port}" if with_port and port else host
