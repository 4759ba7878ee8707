"""A gateway within a program of one's own: `with Gateway(session="x") as url:`."""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from openrouter_usage.entry import LARGEST_COST, LONGEST_NAME
from openrouter_usage.errors import InvalidValue, SettingsError, of_missing_part
from openrouter_usage.money import usd
from openrouter_usage.tracker.session import current_session

if TYPE_CHECKING:
    import asyncio

PREFIX = "gw-"


class Gateway:
    """Serves on a free port of this machine while the block runs; the block's value is the base URL for clients.

    Clients use their own OpenRouter key. With `stored_key`, calls are made with the key of the environment or the
    credentials file instead, and clients are given `api_key`. A CostSession around the block counts the calls.
    `max_cost` in USD is held under a budget for a call that cannot be bounded. Raises SettingsError without the
    package aiohttp, MissingKey without a stored key. Anthropic's clients take `anthropic_url`.
    """

    def __init__(
        self,
        *,
        session: str = "",
        stored_key: bool = False,
        max_cost: object = None,
        usage_file: str | Path | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare a gateway; `session` is by default that of the CostSession around it, `log` gets a line per call."""
        if len(session) > LONGEST_NAME:
            raise InvalidValue(f"session is a text of at most {LONGEST_NAME:,} characters")
        self._session = session
        # Other users of this machine can reach the port too, and must not spend with the stored key.
        self._token = PREFIX + secrets.token_urlsafe(32) if stored_key else ""
        self._max_cost: Decimal | None = None if max_cost is None else usd(max_cost)
        if self._max_cost is not None and not 0 <= self._max_cost <= LARGEST_COST:
            raise InvalidValue(f"max_cost is an amount from 0 to {LARGEST_COST:,} USD")
        self._usage_file = usage_file
        self._log = log
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._address = self._around = ""

    @property
    def url(self) -> str:
        """The base URL for clients of OpenAI's shape."""
        return f"{self._prefix}/api/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic's clients."""
        return f"{self._prefix}/api"

    @property
    def api_key(self) -> str:
        """What a client presents in place of a key with `stored_key`, "" without; worth nothing elsewhere."""
        return self._token

    @property
    def _prefix(self) -> str:
        session = self._session or self._around
        return f"{self._address}/s/{quote(session, safe='')}" if session else self._address

    def __enter__(self) -> str:
        """Start to serve, and return the base URL."""
        try:
            import aiohttp  # noqa: F401  # told here, and not as a failure of a thread

            import openrouter_usage.gateway.server  # noqa: F401
        except ModuleNotFoundError as missing:
            raise of_missing_part(missing) or SettingsError(
                "the Python package aiohttp is missing", hint="pip install aiohttp", code="missing_package"
            ) from None
        self._ready.clear()
        self._error = None
        self._around = current_session()[:LONGEST_NAME]
        # In the context of the block: what is tracked around it, such as a CostSession, gets to know the calls.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._serve,), name="gateway", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        error: BaseException | None = self.__dict__["_error"]  # which the thread has set meanwhile
        if error is not None:
            self._thread.join()
            raise error
        return self.url

    def __exit__(self, *_: object) -> None:
        """Let running calls end, record them, and stop."""
        if self._loop is not None and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        import asyncio

        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        import asyncio

        from openrouter_usage.gateway.keys import OneKey
        from openrouter_usage.gateway.log import Log
        from openrouter_usage.gateway.server import Options, Server
        from openrouter_usage.home.settings import ledger_file

        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        log = Log(self._log or _nowhere, quiet=self._log is None)
        path = ledger_file({"OPENROUTER_USAGE_FILE": str(self._usage_file)}) if self._usage_file else None
        options = Options(port=0, has_keys=bool(self._token), max_cost=self._max_cost, announces=False)
        try:
            server = Server(options, log, ledger=path, keys=OneKey(self._token) if self._token else None)
            self._address = await server.start()
            self._ready.set()
            try:
                await self._ending.wait()
            finally:
                await server.stop()
        finally:
            log.end()


def _nowhere(line: str) -> None:
    pass
