"""The sandbox itself: a server that plays OpenRouter for one account."""

from __future__ import annotations

from datetime import datetime, timezone

from . import routes
from .account import Account
from .answer import Answer
from .call import Call, Received
from .host import Host
from .wire import Wire


class Sandbox(Host):
    """A local OpenRouter; use it as a context manager, or call `stop()`."""

    prefix = "/api/v1"

    def __init__(
        self, account: Account | None = None, *, tls: bool | str = False, delay_s: float = 0.0, port: int = 0
    ) -> None:
        self.account = account if account is not None else Account.simple()
        super().__init__(tls=tls, delay_s=delay_s, port=port)

    def answer(self, request: Received, wire: Wire) -> Answer:
        """What OpenRouter answers."""
        return routes.run(Call(self.account, request, wire))

    def date(self) -> datetime:
        """The account's clock is the server's clock."""
        return self.account.now().astimezone(timezone.utc)
