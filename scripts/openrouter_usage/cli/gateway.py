"""gateway.py: starts the gateway and serves until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from datetime import datetime

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import EXIT_CODES, Parser, checked, complain, whole_number, with_version, write
from openrouter_usage.home.settings import cap
from openrouter_usage.period import UTC
from openrouter_usage.render.envelope import envelope

PROGRAM = as_called("gateway.py")
_DESCRIPTION = """A local proxy through which any program calls OpenRouter: every call is recorded in the ledger with
OpenRouter's own cost, and held to the budget. Point a client's base URL at http://127.0.0.1:8788/api/v1; for the
settings of each client: cost_tracker.py gateway setup CLIENT"""
_EXAMPLES = """examples:
  gateway.py                          clients use tokens of: cost_tracker.py gateway key add NAME
  gateway.py --no-keys --port 0       clients use their own OpenRouter keys; any free port

"""


def parser() -> Parser:
    """Describe the arguments."""
    found = with_version(Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLES + EXIT_CODES))
    found.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    found.add_argument("--port", type=whole_number(0, 65_535), default=8788, help="0 takes a free one (8788)")
    found.add_argument("--no-keys", action="store_true", help="pass the clients' own keys on, and know no tokens")
    found.add_argument(
        "--max-cost",
        type=checked(lambda text: cap(text, "--max-cost")),
        metavar="USD",
        help="what is held under a budget for a call that nobody can bound, such as speech",
    )
    found.add_argument("-q", "--quiet", action="store_true", help="no line for each call")
    found.add_argument("--json", action="store_true", help="tell the address as a JSON envelope")
    return found


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or ^C; 0 when everything is recorded."""
    options = parser().parse_args(list(argv))
    from openrouter_usage.gateway.keys import load_keys
    from openrouter_usage.gateway.log import Log
    from openrouter_usage.gateway.server import Options, Server, raise_file_limit

    log = Log(_to_stderr, quiet=options.quiet)
    raise_file_limit()
    wanted = Options(host=options.host, port=options.port, has_keys=not options.no_keys, max_cost=options.max_cost)
    server = Server(wanted, log)

    async def serve() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: ^C raises KeyboardInterrupt instead
                loop.add_signal_handler(number, ended.set)
        url = await server.start()
        try:
            write(_told(url, as_json=options.json))
            if wanted.has_keys and not load_keys():
                complain(PROGRAM, "no client has a token yet", as_called("run: cost_tracker.py gateway key add NAME"))
            await ended.wait()
        finally:
            await server.stop()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass
    finally:
        log.end()
    return 0


def _told(url: str, *, as_json: bool) -> str:
    return envelope("gateway", datetime.now(UTC), {"url": url}) if as_json else f"listening on {url}\n"


def _to_stderr(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(line)
        sys.stderr.flush()
