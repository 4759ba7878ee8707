"""A place for alerts to arrive: it plays Slack's incoming webhooks and PagerDuty's events."""

from __future__ import annotations

import json
from typing import Any

from .answer import Answer
from .call import Received
from .faults import Fault
from .host import Host
from .wire import Wire

SLACK_PATH = "/services/T0SANDBOX/B0SANDBOX/not-a-secret"
PAGERDUTY_PATH = "/v2/enqueue"


class Webhook(Host):
    """A receiver; it fails, redirects and hangs by `misbehave` like the sandbox does."""

    @property
    def slack_url(self) -> str:
        """Where Slack-like posts go."""
        return self.url + SLACK_PATH

    @property
    def pagerduty_url(self) -> str:
        """Where PagerDuty events go."""
        return self.url + PAGERDUTY_PATH

    def fail(self, times: int | None = None, status: int = 500) -> None:
        """Answers so many posts, or all, with an error."""
        self.misbehave("*", Fault.status(status, "html"), times=times)

    def messages(self) -> list[Any]:
        """The JSON of every post that has been taken, in order."""
        return [request.json() for request in self.received() if request.status in (200, 202)]

    def answer(self, request: Received, wire: Wire) -> Answer:
        """Takes what is well-formed and says no to the rest, in the words of the service."""
        try:
            event = json.loads(request.body)
        except ValueError:
            event = None
        return _pagerduty(event) if request.path == PAGERDUTY_PATH else _slack(event)


def _slack(message: Any) -> Answer:
    if not isinstance(message, dict):
        return Answer(status=400, body=b"invalid_payload", content_type="text/plain")
    if not (message.get("text") or message.get("blocks") or message.get("attachments")):
        return Answer(status=400, body=b"no_text", content_type="text/plain")
    return Answer(body=b"ok", content_type="text/plain")


def _pagerduty(event: Any) -> Answer:
    errors = _event_errors(event if isinstance(event, dict) else {})
    if errors:
        return Answer({"status": "invalid event", "message": "Event object is invalid", "errors": errors}, 400)
    name = event.get("dedup_key") or "a-new-incident"
    return Answer({"status": "success", "message": "Event processed", "dedup_key": name}, 202)


def _event_errors(event: dict[str, Any]) -> list[str]:
    errors = [f"'{name}' is missing or blank" for name in ("routing_key", "event_action") if not event.get(name)]
    if event.get("event_action") != "trigger":
        return errors
    payload = event.get("payload") or {}
    errors += [f"'payload.{name}' is missing or blank" for name in ("summary", "source") if not payload.get(name)]
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        errors.append("'payload.severity' is invalid (must be one of: critical, error, warning, info)")
    return errors
