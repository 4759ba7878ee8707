"""One call on its way through: read, bounded, held, sent, forwarded as it comes, and recorded whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from openrouter_usage.budgets import Budget
from openrouter_usage.called import as_called
from openrouter_usage.entry import Entry
from openrouter_usage.errors import (
    InvalidValue,
    OpenRouterUsageError,
    Refused,
    SettingsError,
    Unbelievable,
    Unreachable,
)
from openrouter_usage.figures.model_names import without_prefix
from openrouter_usage.figures.page import Flight
from openrouter_usage.figures.pricing import PriceList
from openrouter_usage.gateway import headers as heads
from openrouter_usage.gateway import paths, waits
from openrouter_usage.gateway.booking import Page, Room
from openrouter_usage.gateway.bound import Bounded, bounded, measured
from openrouter_usage.gateway.caps import BudgetsNow, PricesNow
from openrouter_usage.gateway.clients import Caller, find_caller
from openrouter_usage.gateway.denial import No, refuse, refused_by
from openrouter_usage.gateway.keys import GatewayKey, KeyRing
from openrouter_usage.gateway.log import Log
from openrouter_usage.gateway.lookups import LookUps
from openrouter_usage.gateway.memory import Memory, Recalled
from openrouter_usage.gateway.meter import Meter
from openrouter_usage.gateway.paths import Route
from openrouter_usage.gateway.writer import Writer
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation
from openrouter_usage.openrouter.retry import may_be_billed
from openrouter_usage.text import named as shown_name
from openrouter_usage.tracker.record import utc_now

LARGEST_REQUEST = 64 * 1024 * 1024
LARGE_REQUEST = 256 * 1024
_MODEL_FIELD = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{1,300})')
_EMPTY: dict[str, Json] = {}


class Gateway(Protocol):
    """What a call needs of the gateway that it goes through."""

    key: ApiKey | None
    keys: KeyRing
    budgets: BudgetsNow
    memory: Memory
    room: Room

    def refuse_repeated(self, budgets: Iterable[Budget], text: bytes) -> None:
        """Raise Repeated for a request that was made too often within a minute."""

    prices: PricesNow
    ledger: Ledger
    writer: Writer[object]
    lookups: LookUps
    log: Log
    upstream: aiohttp.ClientSession
    base_url: str
    proxy: str
    max_cost: Decimal | None
    left: Decimal | None
    videos: dict[str, tuple[Page, str]]

    def count(self, entry: Entry) -> None:
        """Count a call that was settled."""


class Refusal(Exception):
    """The call is not sent; the client gets this answer."""

    def __init__(self, no: No) -> None:
        """Keep the answer."""
        super().__init__(no.status)
        self.no = no


class Secrets(NamedTuple):
    """Whom a call is for, and the key it is made with; `replaced` where the client has none of its own."""

    client: GatewayKey | None
    key: ApiKey
    replaced: str | None


class ProxiedCall:
    """One request and its answer; it goes on when the client leaves, until the call is recorded."""

    def __init__(self, server: Gateway, request: web.BaseRequest, route: Route, query: str) -> None:
        """Begin with nothing read."""
        self._server = server
        self._request = request
        self._route = route
        self._query = query
        self._has_left = self._is_cut = False
        self._upstream: aiohttp.ClientResponse | None = None
        self._page: Page | None = None
        self._recalled: Recalled | None = None
        self._client = self._model = ""
        self._repeated: str | None = None
        self._began = time.monotonic()

    def glance(self) -> Flight:
        """Return what is known of the call so far."""
        kind = self._route.shape or self._route.path
        return Flight(self._client, self._model, kind, int(time.monotonic() - self._began))

    def leave(self) -> None:
        """Note that the client has gone: what streams is cut after a short grace, the rest is billed in full anyway."""
        if not self._has_left:
            self._has_left = True
            asyncio.get_running_loop().call_later(waits.GRACE_S, self.cut)

    def cut(self) -> None:
        """End the connection to OpenRouter if the answer is a stream."""
        if self._upstream is not None and self._upstream.content_type == "text/event-stream":
            self._is_cut = True
            self._upstream.close()

    def cut_now(self) -> None:
        """End the connection to OpenRouter, whatever the answer is."""
        self._is_cut = True
        if self._upstream is not None:
            self._upstream.close()

    async def run(self) -> web.StreamResponse:
        """Make the call and return what was answered."""
        try:
            secrets = self._authorized()
            text = await self._read() if self._request.can_read_body else b""
            if self._route.shape:
                text = await self._booked(secrets, text)
            return await self._send(secrets, text)
        except Refusal as refusal:
            return _answer(refusal.no)

    # -- before it is sent ---------------------------------------------------------------------------------------------

    def _no(self, status: int, message: str, *, may_retry: bool = False) -> Refusal:
        return Refusal(refuse(self._route.shape, status, message, may_retry=may_retry))

    def _refused_by(self, error: OpenRouterUsageError) -> Refusal:
        agent = self._request.headers.get("User-Agent", "")
        return Refusal(refused_by(self._route.shape, error, user_agent=agent))

    def _authorized(self) -> Secrets:
        token = heads.bearer(self._request.headers)
        if self._server.key is None:
            if not token:
                raise self._no(401, "no key: the gateway runs with --no-keys and passes the client's own on")
            try:
                return Secrets(None, ApiKey.checked(token, "the key", "the client"), None)
            except SettingsError as error:
                raise self._no(401, error.message) from None
        try:
            client = self._server.keys.find(token)
        except SettingsError as error:
            raise self._refused_by(error) from None
        if client is None:
            raise self._no(
                401,
                as_called("no gateway key, or one that is not known: cost_tracker.py gateway key add NAME makes one"),
            )
        return Secrets(client, self._server.key, self._server.key.secret)

    async def _read(self) -> bytes:
        """Read the body of the request, with an end to its size and to its time."""
        request = self._request
        kind = request.content_type
        is_form = self._route.shape == paths.TRANSCRIPTION and kind == "multipart/form-data"
        if kind != "application/json" and not is_form:
            raise self._no(415, "send the request with the header Content-Type: application/json")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._no(415, "a compressed request cannot be read, and is not passed on unread")
        if (request.content_length or 0) > LARGEST_REQUEST:
            raise self._too_large()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        parts: list[bytes] = []
        size = 0

        # Most requests are there already, and none needs a task of its own to wait in.
        late = None
        if not request.content.is_eof():
            late = asyncio.get_running_loop().call_later(
                waits.SLOWEST_REQUEST_S, request.content.set_exception, asyncio.TimeoutError()
            )
        try:
            async for part in request.content.iter_any():
                size += len(part)
                if size > LARGEST_REQUEST:
                    raise self._too_large()
                parts.append(part)
        except asyncio.TimeoutError:
            raise self._no(408, "the request did not arrive in time") from None
        except (aiohttp.ClientError, web.RequestPayloadError, ConnectionError):
            raise self._no(400, "the request did not arrive in full") from None
        finally:
            if late is not None:
                late.cancel()
        return b"".join(parts)

    async def _booked(self, secrets: Secrets, text: bytes) -> bytes:
        """Open the call's page in the ledger, and return the request as it is sent."""
        body = self._parsed(text)
        client = secrets.client
        key_tags = dict(client.tags) if client else {}
        caller = find_caller(
            self._request.headers,
            body,
            path_session=self._route.session,
            client=client.name if client else "",
            key_tags=key_tags,
        )
        self._client = caller.tags.get("client", "")
        model = body.get("model")
        self._model = without_prefix(model) if isinstance(model, str) else ""
        received = text
        try:
            budgets = self._server.budgets.read()
            if self._server.ledger.is_shared:
                # Asked for here, because the page is made in the event loop, which must not wait for a server.
                await asyncio.to_thread(self._server.ledger.refresh)
            page = self._page = Page(
                self._server.writer,
                self._server.ledger,
                self._server.room,
                model=self._model,
                budgets=(*budgets, client.budget) if client else budgets,
                session=caller.session,
                tags=caller.tags,
            )
            most = likely = None
            try:
                if page.is_bounded:
                    most, likely, text = await self._bounded(client, body, text, caller)
                self._server.refuse_repeated(page.budgets, received)
            except Refused as error:
                await page.remember(error)
                raise
            await page.open(most, measured=likely)
            if self._has_left:  # while it waited for room: nobody is there to read an answer
                await page.release()
                raise self._no(408, "the client left before the call was made")
        except OpenRouterUsageError as error:
            self._server.log.refused(self._client, self._model, error.message)
            raise self._refused_by(error) from None
        return text

    def _too_large(self) -> Refusal:
        return self._no(413, f"a request has at most {LARGEST_REQUEST // 2**20} MiB")

    def _parsed(self, text: bytes) -> Mapping[str, Json]:
        if self._request.content_type == "multipart/form-data":
            named = _MODEL_FIELD.search(text)
            return {"model": named[1].decode("utf-8", "replace")} if named else _EMPTY
        try:
            body = loads(text, pairs=self._noting_what_repeats)
        except ValueError as error:
            raise self._no(400, f"the request is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise self._no(400, "the request is no JSON object")
        return body

    def _noting_what_repeats(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            self._repeated = next(name for name in names if names.count(name) > 1)
        return found

    async def _bounded(
        self, client: GatewayKey | None, body: Mapping[str, Json], text: bytes, caller: Caller
    ) -> tuple[Decimal | None, Decimal | None, bytes]:
        """Return what the call costs at most, what `measured` budgets hold for it, and the request with its limits."""
        if self._repeated is not None:
            # One reader takes the first value and another the last: what is bounded might not be what is charged.
            raise InvalidValue(f"the request has {shown_name(self._repeated[:40])} twice in one object")
        most = client.max_cost if client and client.max_cost is not None else self._server.max_cost
        try:
            prices = await self._server.prices.get()
            found = bounded(self._route.shape, body, text, prices)
            # Nobody knows how many tokens an image makes; with an amount of the user's own that is what is held.
            is_less = found.is_wide and most is not None and most < found.max_cost
            if is_less:
                return most, None, found.text
            return found.max_cost, await self._measured(body, prices, found, caller), found.text
        except (Refused, Unreachable) as error:
            if most is not None:
                return most, None, text
            if isinstance(error, Refused):
                error.hint = "give the client an amount for such calls: gateway key add NAME --max-cost 0.50"
            raise

    async def _measured(
        self, body: Mapping[str, Json], prices: PriceList, found: Bounded, caller: Caller
    ) -> Decimal | None:
        """Return what `measured` budgets hold for the call, None where none of them counts it."""
        page, shape = self._page, self._route.shape
        if page is None or not page.is_measured or shape not in paths.CONVERSATIONS:
            return None

        def recall() -> Recalled:
            tags = caller.tags
            return self._server.memory.recall(
                shape, body, client=tags.get("client", ""), session=caller.session, agent=tags.get("agent", ""),
                model=self._model, now=utc_now(),
            )  # fmt: skip

        # Hashing a large conversation would hold up the streams of others.
        is_large = len(found.text) > LARGE_REQUEST
        self._recalled = await asyncio.to_thread(recall) if is_large else recall()
        return measured(shape, body, prices, found, self._recalled)

    # -- on its way ----------------------------------------------------------------------------------------------------

    async def _send(self, secrets: Secrets, text: bytes) -> web.StreamResponse:
        server, request = self._server, self._request
        url = URL(f"{server.base_url}{self._route.path}" + (f"?{self._query}" if self._query else ""), encoded=True)
        sent = heads.sent_on(
            request.headers.items(), connection=request.headers.get("Connection", ""), secret=secrets.replaced
        )
        try:
            upstream = await server.upstream.request(
                request.method,
                url,
                headers=CIMultiDict(sent),
                data=text if request.method == "POST" else None,
                allow_redirects=False,
                proxy=server.proxy or None,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            await self._never_sent()
            raise self._no(502, f"OpenRouter could not be reached: {_why(error)}", may_retry=True) from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            self._leave_open(CallUsage(), secrets.key, streamed=False, why="the connection broke")
            raise self._no(502, f"the connection to OpenRouter broke: {_why(error)}") from None
        self._upstream = upstream
        if self._has_left:  # before there was anything to cut
            asyncio.get_running_loop().call_later(waits.GRACE_S, self.cut)
        try:
            return await self._forward(upstream, secrets.key)
        finally:
            upstream.close() if self._is_cut else upstream.release()

    async def _forward(self, upstream: aiohttp.ClientResponse, key: ApiKey) -> web.StreamResponse:
        generation = upstream.headers.get("X-Generation-Id", "")[:200]
        meter = Meter(
            generation,
            content_type=upstream.headers.get("Content-Type", ""),
            is_encoded=upstream.headers.get("Content-Encoding", "identity").lower() != "identity",
        )
        passed = heads.answered(upstream.headers.items(), connection=upstream.headers.get("Connection", ""))
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=CIMultiDict(passed))
        is_metered = self._page is not None or bool(self._route.job)
        is_whole = False
        try:
            await self._to_client(response.prepare(self._request))
            # What came with the head goes on before the ledger is told which call it is.
            piece = upstream.content.read_nowait()
            if piece and not self._has_left:
                await self._to_client(response.write(piece))
            # Where the whole answer came with its head, the entry follows at once, and says which call it was.
            if self._page is not None and not upstream.content.is_eof():
                self._page.name(generation)
            if piece and is_metered:
                meter.feed(piece)
            while piece := await upstream.content.readany():
                if not self._has_left:
                    await self._to_client(response.write(piece))
                if is_metered:
                    meter.feed(piece)
                if self._has_left and meter.is_complete and meter.is_stream:
                    break
            is_whole = upstream.content.at_eof()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, asyncio.IncompleteReadError):
            # The client has to see that something is missing: its connection ends without the end of the body.
            if self._request.transport is not None:
                self._request.transport.close()
        if is_metered:
            await self._end(upstream, meter, key, is_whole=is_whole)
        return response

    async def _to_client(self, writing: object) -> None:
        try:
            await writing  # type: ignore[misc]  # a coroutine of the response
        except ConnectionError:
            self.leave()

    # -- at its end ----------------------------------------------------------------------------------------------------

    async def _end(self, upstream: aiohttp.ClientResponse, meter: Meter, key: ApiKey, *, is_whole: bool) -> None:
        """Record the call by what its answer said, or leave it open and ask."""
        if is_whole and meter.waits_for_reading:
            await asyncio.to_thread(meter.finish)
        elif is_whole:
            meter.finish()
        usage, streamed = meter.usage, meter.is_stream
        if self._route.job:
            await self._end_video(usage)
            return
        page = self._page
        assert page is not None  # noqa: S101  # as is_metered has seen
        if self._recalled is not None:
            self._server.memory.learn(self._recalled, usage)
        if usage.cost is not None or usage.told:
            entry = await page.settle(usage, streamed=streamed, latency_ms=self._latency_ms)
            self._tell(entry)
        elif upstream.status >= 300 and not may_be_billed(upstream.status, is_from_openrouter=meter.complains):
            await page.release()
        elif self._route.shape == paths.VIDEOS and usage.id and not usage.id.startswith("gen-"):
            self._server.videos[usage.id] = (page, self._client)
        else:
            self._leave_open(usage, key, streamed=streamed, why="its answer did not say" if is_whole else "it was cut")

    async def _end_video(self, usage: CallUsage) -> None:
        page, client = self._server.videos.get(self._route.job, (None, ""))
        if page is not None and usage.cost is not None:
            del self._server.videos[self._route.job]
            self._client = client
            self._tell(await page.settle(usage, streamed=False, latency_ms=self._latency_ms))

    async def _never_sent(self) -> None:
        if self._page is not None:
            await self._page.release()

    def _leave_open(self, usage: CallUsage, key: ApiKey, *, streamed: bool, why: str) -> None:
        """Leave the hold in the ledger, for the call may have been billed, and find out by its id."""
        page = self._page
        if page is None:
            return
        self._server.log.call_unsettled(self._client, self._model, why)
        page.leave(usage, streamed=streamed)
        if not usage.id:
            return

        async def found(known: Generation | Unbelievable) -> None:
            self._tell(await page.settle_late(known, usage, streamed=streamed))

        self._server.lookups.begin(usage.id, key, found)

    @property
    def _latency_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)

    def _tell(self, entry: Entry) -> None:
        self._server.count(entry)
        self._server.log.call(entry, self._client, self._server.left)


def _why(error: BaseException) -> str:
    inner = getattr(error, "os_error", None)
    return (getattr(inner, "strerror", None) or type(error).__name__) if inner else type(error).__name__


def _answer(no: No) -> web.StreamResponse:
    response = web.Response(status=no.status, body=no.body, headers=CIMultiDict(no.headers.items()))
    if no.status in (408, 413, 415):
        response.force_close()  # what is left of the request is not read
    return response


async def quietly(task: asyncio.Task[object]) -> None:
    """Wait for a task, whatever becomes of it."""
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await task
