"""What the environment says about the way to OpenRouter: proxies."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from openrouter_usage.settings import BaseUrl


def proxies_for(base_url: BaseUrl) -> dict[str, str]:
    """Give the proxies for an address, by scheme; nothing for this machine goes through one: it would see the key."""
    return {} if base_url.is_loopback else dict(requests.utils.get_environ_proxies(base_url.url))


def proxy_hosts(base_url: BaseUrl) -> list[str]:
    """Name the hosts of the proxies that are used for an address, without the login that may stand before them."""
    proxies = proxies_for(base_url)
    # The order in which requests looks for one.
    used = [proxies[name] for name in (urlsplit(base_url.url).scheme, "all") if proxies.get(name)][:1]
    return [_host(proxy) for proxy in used]


def _host(proxy: str) -> str:
    try:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return f"{parts.hostname or 'without a name'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "that is no URL"
