"""Time what the gateway adds to a call, beside direct calls, a bare aiohttp pass-through, and LiteLLM's proxy.

All in one run, against an upstream that answers at once, so that only what stands between is timed. Ratios are what to
look at. LiteLLM is measured where its package is installed in this Python, or in the one of --litellm-python.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-or-v1-benchmark-0000000000000000"
MODEL = "openai/gpt-5.2"
PROMPT = "x" * 20_000
USAGE = '{"prompt_tokens":5000,"completion_tokens":20,"total_tokens":5020,"cost":0.00123,"is_byok":false}'


def _upstream(gap_s: float) -> web.Application:
    """Play OpenRouter: a whole answer, or a stream of 20 chunks with gaps."""
    count = 0

    async def chat(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        body = json.loads(await request.read())
        identity = f"gen-{int(time.time())}-{count:020d}"
        headers = {"X-Generation-Id": identity}
        if not body.get("stream"):
            choice = '{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hi"}}'
            text = f'{{"id":"{identity}","model":"{MODEL}","provider":"P","object":"chat.completion","created":1,'
            text += f'"choices":[{choice}],"usage":{USAGE}}}'
            return web.Response(text=text, content_type="application/json", headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        gap = float(request.headers.get("X-Gap", gap_s))
        begin = f'data: {{"id":"{identity}","model":"{MODEL}","object":"chat.completion.chunk","created":1,"choices":'
        for _ in range(20):
            await response.write(f'{begin}[{{"index":0,"delta":{{"content":"word "}}}}]}}\n\n'.encode())
            if gap:
                await asyncio.sleep(gap)
        await response.write(f'{begin}[],"usage":{USAGE}}}\n\ndata: [DONE]\n\n'.encode())
        return response

    async def models(request: web.Request) -> web.Response:
        pricing = {"prompt": "0.00000175", "completion": "0.000014"}
        row = {"id": MODEL, "canonical_slug": MODEL, "name": MODEL, "context_length": 400_000, "pricing": pricing}
        return web.json_response({"data": [row]})

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/api/v1/chat/completions", chat)
    app.router.add_get("/api/v1/models", models)
    return app


def _bare(upstream: str) -> web.Application:
    """Pass everything through, and look at nothing."""
    sessions: list[aiohttp.ClientSession] = []

    async def begin(app: web.Application) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        sessions.append(aiohttp.ClientSession(auto_decompress=False, connector=connector))

    async def passed(request: web.Request) -> web.StreamResponse:
        data = await request.read()
        kept = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")
        }
        async with sessions[0].request(request.method, upstream + request.path, data=data, headers=kept) as answer:
            headers = {n: v for n, v in answer.headers.items() if n.lower() not in ("transfer-encoding", "connection")}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response

    app = web.Application(client_max_size=2**26)
    app.on_startup.append(begin)
    app.router.add_route("*", "/{path:.*}", passed)
    return app


def _serve(kind: str, upstream: str) -> None:
    app = _upstream(0.0) if kind == "upstream" else _bare(upstream)

    async def run() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()

    asyncio.run(run())


class Server:
    """A server in a process of its own."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.api = f"{self.url}/api"

    @property
    def peak_mb(self) -> float:
        """The most memory it has had."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def _litellm(python: str, upstream: str, folder: Path) -> Server | None:
    """Start LiteLLM's proxy with one worker and no database; None where it is not installed."""
    try:
        subprocess.run([python, "-c", "import litellm.proxy.proxy_cli"], check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError):
        return None
    params = {"model": f"openai/{MODEL}", "api_base": f"{upstream}/api/v1", "api_key": KEY}
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": params}]}))
    port = "18788"
    run = "from litellm.proxy.proxy_cli import run_server; run_server()"
    command = [python, "-c", run, "--config", str(config), "--host", "127.0.0.1", "--port", port, "--num_workers", "1"]
    server = Server.__new__(Server)
    # It starts for nobody without a key, and asks for its price list over the network unless it is told not to.
    own = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    server.process = subprocess.Popen(
        command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    server.url = server.api = f"http://127.0.0.1:{port}"
    return server


async def _call(session: aiohttp.ClientSession, url: str, *, stream: bool, gap_s: float = 0.0) -> tuple[float, float]:
    """Make a call; seconds to the first byte and to the last."""
    body = {"model": MODEL, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"Authorization": f"Bearer {KEY}", "X-Gap": str(gap_s)}
    began = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        first = 0.0
        async for _ in answer.content.iter_any():
            first = first or time.perf_counter() - began
        if answer.status != 200:
            raise SystemExit(f"{url} answered {answer.status}")
    return first, time.perf_counter() - began


async def _one(url: str, calls: int) -> list[float]:
    async with aiohttp.ClientSession() as session:
        return [(await _call(session, url, stream=False))[1] for _ in range(calls)]


async def _many(url: str, clients: int, calls: int) -> float:
    """Calls a second of so many clients at once."""
    left = calls

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await _call(session, url, stream=False)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(work(session) for _ in range(clients)))
        return calls / (time.perf_counter() - began)


async def _paced(url: str, clients: int, rounds: int) -> list[float]:
    """Seconds to the first byte of streams at once, whose chunks come every 10 ms."""
    found: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(rounds):
            calls = (_call(session, url, stream=True, gap_s=0.01) for _ in range(clients))
            found += [first for first, _ in await asyncio.gather(*calls)]
    return found


def bare_append_s(path: Path, count: int) -> float:
    """Seconds of one open, append, fsync and close of a line."""
    began = time.perf_counter()
    for _ in range(count):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, b"x" * 300 + b"\n")
        os.fsync(handle)
        os.close(handle)
    return (time.perf_counter() - began) / count


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    """Print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--litellm-python", default=sys.executable)
    parser.add_argument("--serve", choices=("upstream", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--upstream", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve, options.upstream)
        return
    with tempfile.TemporaryDirectory() as name:
        _run(options, Path(name))


def _run(options: argparse.Namespace, folder: Path) -> None:
    here = [sys.executable, "-m", "benchmarks.gateway", "--serve"]
    upstream = Server([*here, "upstream"], {})
    servers: dict[str, Any] = {"direct": upstream, "bare": Server([*here, "bare", "--upstream", upstream.url], {})}
    for label, env in (("gateway", {}), ("gateway, budget", {"OPENROUTER_DAILY_LIMIT": "100000"})):
        home = folder / label.replace(", ", "-")
        home.mkdir()
        own = {"HOME": str(home), "TMPDIR": str(home), "OPENROUTER_BASE_URL": f"{upstream.url}/api/v1", **env}
        command = [sys.executable, str(ROOT / "scripts/gateway.py"), "--port", "0", "--no-keys", "--quiet"]
        servers[label] = Server(command, own)
    litellm = _litellm(options.litellm_python, upstream.url, folder)
    if litellm is not None:
        servers["LiteLLM"] = litellm
    try:
        _measure(options, servers, folder)
    finally:
        for server in servers.values():
            server.stop()


def _until_ready(url: str) -> None:
    for _ in range(400):
        try:
            asyncio.run(_one(url, 1))
            return
        except (aiohttp.ClientError, OSError, SystemExit):
            time.sleep(0.5)


def _measure(options: argparse.Namespace, servers: dict[str, Any], folder: Path) -> None:
    singles: dict[str, list[float]] = {label: [] for label in servers}
    rates: dict[str, list[float]] = {label: [] for label in servers}
    firsts: dict[str, list[float]] = {label: [] for label in servers}
    appends: list[float] = []
    for server in servers.values():
        _until_ready(server.api)
        asyncio.run(_many(server.api, 32, 64))
    for number in range(options.rounds):
        appends.append(bare_append_s(folder / "appended", 50))
        for label, server in servers.items():
            slow = label == "LiteLLM"
            singles[label] += asyncio.run(_one(server.api, 20 if slow else 60))
            rates[label].append(asyncio.run(_many(server.api, 32, 96 if slow else 640)))
            if not slow or number < 3:
                firsts[label] += asyncio.run(_paced(server.api, 32, 1))
    print(
        f"{'':<16}{'1 client: p50 ms':>18}{'32: calls/s':>14}{'32 streams, first byte p50/p99 ms':>36}{'peak MB':>10}"
    )
    for label, server in servers.items():
        first = firsts[label]
        print(
            f"{label:<16}{statistics.median(singles[label]) * 1000:>18.2f}{statistics.median(rates[label]):>14,.0f}"
            f"{f'{_percentile(first, 50) * 1000:.1f} / {_percentile(first, 99) * 1000:.1f}':>36}{server.peak_mb:>10.0f}"
        )
    direct = statistics.median(singles["direct"])
    bare = statistics.median(singles["bare"]) - direct
    synced = statistics.median(appends)
    goal = 3 * bare + 2 * synced
    print(f"\ntwo bare synced appends: {2 * synced * 1000:.2f} ms; the bare pass-through adds {bare * 1000:.2f} ms")
    for label in ("gateway", "gateway, budget"):
        added = statistics.median(singles[label]) - direct
        print(f"{label}: adds {added * 1000:.2f} ms with one client; {added / goal:.2f} of its goal")
        for percent, most in ((50, 1.5), (99, 2)):
            ratio = _percentile(firsts[label], percent) / _percentile(firsts["bare"], percent)
            print(f"{label}: first byte of 32 paced streams, p{percent}: {ratio:.2f} x bare (goal {most})")
        print(f"{label}: {statistics.median(rates[label]) / statistics.median(rates['bare']):.2f} x the bare calls/s")
        if "LiteLLM" in rates:
            ratio = statistics.median(rates[label]) / statistics.median(rates["LiteLLM"])
            print(f"{label}: {ratio:.1f} x LiteLLM's calls/s at 32 (goal 12)")
    server = servers["gateway, budget"]
    asyncio.run(_paced(server.api, 200, 1))
    print(f"gateway, budget: {server.peak_mb:.0f} MB after 200 streams at once (goal 120)")


if __name__ == "__main__":
    main()
