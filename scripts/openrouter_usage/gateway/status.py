"""Asks the gateway that runs on this machine, if any does, how it stands, and for a link to its page."""

from __future__ import annotations

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.files import read_own
from openrouter_usage.gateway import keys
from openrouter_usage.money import Json, loads


def ask_status() -> dict[str, Json] | None:
    """Return what the gateway tells that wrote down where it runs; None when none answers."""
    answer = _ask("GET", "/status")
    return answer if answer is not None and "in_flight" in answer else None


def ask_page() -> str | None:
    """Return a link to the gateway's page that works once; None when no gateway answers."""
    answer = _ask("POST", "/page")
    return str(answer["url"]) if answer is not None and "url" in answer else None


def _ask(method: str, path: str) -> dict[str, Json] | None:
    import http.client
    from urllib.parse import urlsplit

    try:
        kept = loads(read_own(keys.folder() / "gateway.json", 64 * 1024))
        if not isinstance(kept, dict):
            return None
        parts = urlsplit(str(kept.get("url")))
        # Nowhere but on this machine: the file only says on which port.
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=5)
        connection.request(method, path, headers={"Authorization": f"Bearer {kept.get('token')}"})
        answer = loads(connection.getresponse().read(64 * 1024))
        connection.close()
    except (OSError, ValueError, http.client.HTTPException, OpenRouterUsageError):
        return None
    return answer if isinstance(answer, dict) else None
