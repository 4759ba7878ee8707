"""The gateway's server: takes requests of this machine, hands each to a call, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets as tokens
import time
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from openrouter_usage.budgets import Budget
from openrouter_usage.entry import Entry
from openrouter_usage.errors import LedgerError, MissingKey, OpenRouterUsageError, SettingsError
from openrouter_usage.figures.page import Live
from openrouter_usage.figures.repeats import Repeats
from openrouter_usage.files import make_private_folder, replace_file
from openrouter_usage.gateway import caps, waits
from openrouter_usage.gateway.booking import Page, Room
from openrouter_usage.gateway.denial import refuse
from openrouter_usage.gateway.forward import ProxiedCall, quietly
from openrouter_usage.gateway.headers import stranger
from openrouter_usage.gateway.keys import KeyRing, every_budget, folder
from openrouter_usage.gateway.log import Log
from openrouter_usage.gateway.lookups import LookUps
from openrouter_usage.gateway.memory import Memory, learned_beside
from openrouter_usage.gateway.page import OwnPage
from openrouter_usage.gateway.paths import SPENDING, find_route
from openrouter_usage.gateway.writer import Writer
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import Settings, load_settings
from openrouter_usage.jobs.alert import check_budgets
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.money import ZERO, Json, add, dumps
from openrouter_usage.openrouter.network import SharedContext, proxies_for
from openrouter_usage.period import iso
from openrouter_usage.tracker.booking import settle_all
from openrouter_usage.tracker.record import utc_now

DEFAULT_PORT = 8788
_MOST_FLIGHTS = 50
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Options(NamedTuple):
    """How a gateway runs: where it listens, and whether clients use gateway keys or OpenRouter keys of their own."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    has_keys: bool = True
    max_cost: Decimal | None = None
    announces: bool = True


class Server:
    """One gateway; its parts are used by the calls that go through it."""

    def __init__(
        self,
        options: Options,
        log: Log,
        settings: Settings | None = None,
        ledger: Path | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        """Check the set-up: SettingsError for an address or a key that cannot be used."""
        self.options = options
        self.log = log
        self.settings = settings or load_settings()
        if options.host not in ("127.0.0.1", "::1", "localhost") and not options.has_keys:
            raise SettingsError(
                f"--host {options.host} is open to other machines, and --no-keys lets anybody in",
                hint="leave one of the two out",
                code="usage",
            )
        self.key = self._own_key() if options.has_keys else None
        self.base_url = self.settings.base_url.url
        self.max_cost = options.max_cost
        self.ledger = open_ledger(ledger, lock_timeout_s=waits.LOCK_S, notice=log.say)
        self.keys, self.budgets = keys or KeyRing(), caps.BudgetsNow()
        self._repeats, self.room = Repeats(), Room()
        self.memory = Memory(learned_beside(self.ledger.path))
        self.left: Decimal | None = None
        self.videos: dict[str, tuple[Page, str]] = {}
        self.url = ""
        self._since, self._calls, self._spent = utc_now(), 0, ZERO
        self._running: dict[asyncio.Task[web.StreamResponse], ProxiedCall] = {}
        self._busy: dict[object, float] = {}
        self._is_ending, self._has_news = False, True
        self._token = tokens.token_urlsafe(24)
        self._own_page = OwnPage(self.settings, ledger, self._live)
        self._hosts = LOOPBACK if options.host in ("127.0.0.1", "::1", "localhost") else (*LOOPBACK, options.host)

    def _own_key(self) -> ApiKey:
        key = self.settings.credentials.api_key
        if key is None:
            raise MissingKey(
                "the gateway needs OPENROUTER_API_KEY, in the environment or in ~/.openrouter/credentials.env",
                hint="set it, or run with --no-keys, and clients bring their own",
            )
        return key

    async def start(self) -> str:
        """Begin to listen and return the address; SettingsError when the port is taken."""
        loop = asyncio.get_running_loop()
        self.budgets.read()  # a budget that cannot be read is told now, not at the first call
        self.prices, self.lookups = caps.PricesNow(self.settings), LookUps(self.settings.base_url)
        self.writer: Writer[object] = Writer(self.ledger, loop, self._look_at_budget)
        proxies = proxies_for(self.settings.base_url)
        scheme = urlsplit(self.base_url).scheme
        self.proxy = proxies.get(scheme) or proxies.get("all") or ""
        self._tls = SharedContext()
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls.get() if scheme == "https" else False)
        timeout = aiohttp.ClientTimeout(
            total=waits.LONGEST_CALL_S, sock_connect=waits.CONNECT_S, sock_read=waits.SILENCE_S
        )
        self.upstream = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=65_536,
            max_field_size=65_536,
        )
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=_silent(),
            auto_decompress=False,
            keepalive_timeout=waits.IDLE_S,
            lingering_time=1.0,
            max_field_size=16_384,
            max_line_size=16_384,
        )
        try:
            self._listener = await loop.create_server(
                self._server, self.options.host, self.options.port, reuse_address=os.name == "posix"
            )
        except (OSError, OverflowError) as error:
            await self._close()
            raise SettingsError(
                f"the gateway cannot listen on {self.options.host}:{self.options.port}: "
                f"{getattr(error, 'strerror', None) or error}",
                hint="another may be running (gateway status); --port 0 takes a free one",
            ) from None
        port = self._listener.sockets[0].getsockname()[1]
        self.url = str(URL.build(scheme="http", host=self.options.host, port=port))
        self._watchdog = asyncio.create_task(self._watch())
        logging.getLogger("openrouter_usage").addHandler(self.log)
        if self.options.announces:
            await asyncio.to_thread(self._announce)
        if self.key is not None and self.options.announces:
            self._settling = asyncio.create_task(asyncio.to_thread(self._settle_old))
        return self.url

    def _announce(self) -> None:
        """Write down where the gateway runs, for `gateway status`; nothing depends on it."""
        with contextlib.suppress(OSError, OpenRouterUsageError):
            make_private_folder(folder())
            told: Json = {"url": self.url, "pid": os.getpid(), "since": iso(self._since), "token": self._token}
            replace_file(run_file(), [dumps(told) + "\n"])

    def _settle_old(self) -> None:
        """Look up the calls that a gateway before this one left open."""
        try:
            settle_all(self.ledger, utc_now())
        except OpenRouterUsageError as error:
            self.log.say(f"⚠ calls of before are still unsettled: {error.message}")

    # -- requests ------------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy[request.protocol] = 0.0
        try:
            return await self._answered(request)
        finally:
            self._busy[request.protocol] = time.monotonic()

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path, _, query = request.path_qs.partition("?")
        raw_path = request.raw_path.partition("?")[0]
        why = stranger(request.headers, hosts=self._hosts)
        shape = next((shape for path, shape in SPENDING.items() if raw_path.endswith(path)), "")
        if why:
            return self._refused(shape, 403, why)
        if raw_path == "/page" and request.method == "POST":
            return self._page_link(request)
        if raw_path == "/" and request.method == "GET":
            # For the page the name has to be this machine's, whatever else the gateway listens on.
            own = None if stranger(request.headers, hosts=LOOPBACK) else await self._own_page.answer(request)
            if own is not None:
                return own
        if raw_path in ("/", "/api", "/healthz") and request.method in ("GET", "HEAD"):
            return web.json_response({"ok": True, "name": "openrouter-usage gateway"})
        if raw_path == "/status" and request.method == "GET":
            return self._status(request)
        if self._is_ending:
            return self._refused(shape, 503, "the gateway is ending, and takes no new calls")
        route = find_route(request.method, raw_path)
        if route.refused:
            return self._refused(shape, route.status, route.refused)
        call = ProxiedCall(self, request, route, query)
        task = asyncio.create_task(call.run())
        self._running[task] = call
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            call.leave()
            raise

    def _done(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._running.pop(task, None)
        self._has_news = True
        if not task.cancelled() and task.exception() is not None:
            self.log.say(f"⚠ a bug: {task.exception()!r}")

    def _refused(self, shape: str, status: int, why: str) -> web.StreamResponse:
        no = refuse(shape, status, why)
        response = web.Response(status=no.status, body=no.body, headers=dict(no.headers))
        response.force_close()  # a body may follow, which nobody reads
        return response

    def _is_of_user(self, request: web.BaseRequest) -> bool:
        """Check whether a request has the token that only the user of this machine can read."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(token.encode(), self._token.encode())

    def _status(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self._is_of_user(request):
            return self._refused("", 401, "only `gateway status` asks for this")
        told: Json = {
            "url": self.url,
            "since": iso(self._since),
            "in_flight": len(self._running),
            "calls": self._calls,
            "spent_usd": self._spent,
            "looking_up": len(self.lookups),
        }
        return web.Response(body=dumps(told).encode(), content_type="application/json")

    def _page_link(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the address of the page with a code that lets one browser in, once."""
        if not self._is_of_user(request):
            return self._refused("", 401, "only `gateway page` asks for this")
        is_loopback = self.options.host in ("127.0.0.1", "::1", "localhost")
        url = self.url if is_loopback else str(URL(self.url).with_host("127.0.0.1"))
        told: Json = {"url": f"{url.rstrip('/')}/?once={self._own_page.new_code()}"}
        return web.Response(body=dumps(told).encode(), content_type="application/json")

    def _live(self) -> Live:
        """Return what the gateway knows of itself now; called on the loop, where nothing changes meanwhile."""
        flights = sorted((call.glance() for call in self._running.values()), key=lambda each: -each.seconds)
        return Live(
            self._since, self._calls, self._spent, len(self.lookups), tuple(flights[:_MOST_FLIGHTS]), len(flights)
        )

    def refuse_repeated(self, budgets: Iterable[Budget], text: bytes) -> None:
        """Raise Repeated for a request that was made too often within a minute; only its hash is kept, in memory."""
        wanted = [budget for budget in budgets if budget.repeats is not None]
        if wanted:
            self._repeats.check(wanted, sha256(text).digest(), utc_now())

    def count(self, entry: Entry) -> None:
        """Count a recorded call."""
        self._calls += 1
        self._spent = add(self._spent, entry.cost or ZERO)

    def _look_at_budget(self) -> None:
        """See what is left, in the writer's thread, where the ledger is open anyway."""
        now_in_force = self.budgets.last
        if now_in_force and not self.log.is_quiet:  # only the lines of calls tell it
            with contextlib.suppress(LedgerError):
                self.left = caps.left(now_in_force, self.ledger)
        else:
            self.left = None

    async def _watch(self) -> None:
        """Close connections on which nothing happens, as a request whose head never ends is none; send alerts."""
        seen: dict[object, float] = {}
        alerted = -waits.ALERTS_S
        while True:
            await asyncio.sleep(waits.IDLE_S / 6)
            await asyncio.to_thread(self.memory.save)
            moment, known = time.monotonic(), self._server.connections
            if self._has_news and self.options.announces and moment - alerted >= waits.ALERTS_S:
                self._has_news, alerted = False, moment
                await asyncio.to_thread(self._alert)
            seen = {each: seen.get(each, moment) for each in known}
            self._busy = {each: at for each, at in self._busy.items() if each in seen}
            for each in known:
                last = self._busy.get(each)
                if last != 0.0 and moment - (last or seen[each]) > waits.IDLE_S:
                    each.force_close()

    def _alert(self) -> None:
        """Send what the saved alert on budgets has to say; no call depends on it."""
        try:
            outcome = check_budgets(self.settings, every_budget(), utc_now())
        except OpenRouterUsageError as error:
            self.log.say(f"⚠ no alert is sent: {error.message}")
            return
        if outcome and outcome.error:
            self.log.say(f"⚠ {outcome.error.message}")
            self._has_news = True  # it stays due

    # -- the end -------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Take no new calls, give the running ones a while, and book everything."""
        self._is_ending = True
        self._listener.close()
        if self._running:
            await asyncio.wait(list(self._running), timeout=waits.FAREWELL_S)
        for call in list(self._running.values()):
            call.cut_now()
        if self._running:
            await asyncio.wait(list(self._running), timeout=waits.FAREWELL_S)
        for task in list(self._running):
            task.cancel()
            await quietly(task)
        self._watchdog.cancel()
        await self._server.shutdown(1.0)
        await self._close()
        if self.options.announces:
            with contextlib.suppress(OSError, OpenRouterUsageError):
                run_file().unlink(missing_ok=True)

    async def _close(self) -> None:
        await self.lookups.close()
        await self.writer.close()
        await asyncio.to_thread(self.memory.save)
        await self.upstream.close()
        self.ledger.close()
        logging.getLogger("openrouter_usage").removeHandler(self.log)


def run_file() -> Path:
    """Name the file that says where a gateway runs."""
    return folder() / "gateway.json"


def _silent() -> logging.Logger:
    """Return a logger that tells nobody: what aiohttp says of a malformed head repeats it, with the key in it."""
    logger = logging.Logger("gateway")
    logger.addHandler(logging.NullHandler())
    return logger


def raise_file_limit() -> None:
    """Allow as many open files as the system does: each call takes two."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536) if most > 0 else 65_536, most))
