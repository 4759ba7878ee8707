"""Finds out in the background what calls cost that ended before they said so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from openrouter_usage.errors import NotFound, OpenRouterUsageError, Unbelievable
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import BaseUrl
from openrouter_usage.openrouter.answers.generation import Generation
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.openrouter.network import SharedContext
from openrouter_usage.openrouter.transport import Transport

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
_TRIES = 60
_AT_ONCE = 8
_TIMEOUT_S = 30.0
Found = Generation | Unbelievable


class LookUps:
    """Asks GET /generation, again and again with growing pauses, until OpenRouter knows the call."""

    def __init__(self, base_url: BaseUrl) -> None:
        """Begin with nothing to look up."""
        self._transport = Transport(base_url, timeout_s=_TIMEOUT_S, tls=SharedContext())
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Count the calls that are being looked up."""
        return len(self._tasks)

    def begin(self, generation: str, key: ApiKey, found: Callable[[Found], Awaitable[None]]) -> None:
        """Look a call up with the key that made it, and tell `found` once it is known."""
        task = asyncio.create_task(self._look_up(generation, key, found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, generation: str, key: ApiKey, found: Callable[[Found], Awaitable[None]]) -> None:
        client, wait_s = OpenRouter(self._transport, key), FIRST_WAIT_S
        for _ in range(_TRIES):
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            try:
                async with self._few:
                    known = await asyncio.to_thread(client.generation, generation)
            except Unbelievable as error:
                await found(error)
                return
            except NotFound:
                continue
            except OpenRouterUsageError:
                continue  # not reachable now; what is never found stays held, for `settle`
            await found(known)
            return

    async def close(self) -> None:
        """Stop asking: what is not known is held, with its id, and `settle` finds it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
