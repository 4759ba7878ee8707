"""Runs gateway.py for the tests as a process of its own, beside the sandbox, and compares its books with the bill."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.booking import Tracker
from tests.running import HANG_GUARD_S, ROOT
from tests.sandbox import INFERENCE_KEY, Account, Sandbox
from tests.storm.audit import audit

GATEWAY = ROOT / "scripts" / "gateway.py"
MODEL = "openai/gpt-5.2"
HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 100}


@dataclass
class Got:
    """An answer as its bytes came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body, parse_float=Decimal)


@dataclass
class Running:
    """A gateway that runs; `stop` ends it in order, `kill` does not."""

    home: Path
    sandbox: Sandbox
    env: dict[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ("--no-keys",)
    port: int = 0
    key: str = INFERENCE_KEY
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    token: str = ""
    err: bytes = b""
    envelope: dict[str, Any] = field(default_factory=dict)

    @property
    def tracker(self) -> Tracker:
        """cost_tracker.py in the same home."""
        return Tracker(self.home, self.sandbox.url, {"TMPDIR": str(self.home)})

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the gateway."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        base = {"HOME": str(self.home), "TMPDIR": str(self.home), "PATH": os.environ["PATH"]}
        own = {"OPENROUTER_BASE_URL": self.sandbox.url, "OPENROUTER_API_KEY": INFERENCE_KEY}
        return {**base, **own, **kept, **self.env}

    def start(self) -> Running:
        """Start it and wait until it listens."""
        command = [sys.executable, str(GATEWAY), "--port", str(self.port), *self.argv]
        self.process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if "--json" in self.argv:
            while line and not line.endswith("\n}\n"):
                line += self.process.stdout.readline().decode() or self._end()[1].decode()
            self.envelope = json.loads(line)
            self.url = self.envelope["data"]["url"]
        else:
            assert line.startswith("listening on http://127.0.0.1:"), (line, self._end())
            self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def _end(self) -> tuple[int, bytes]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=HANG_GUARD_S)
        self.err += err
        assert INFERENCE_KEY.encode() not in out + err, "a key in the output"
        assert b"Traceback" not in err, err
        return self.process.returncode, err

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self._end()[0]

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self._end()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Got:
        """Send one request with a connection of its own, and read the whole answer."""
        return ask(self.url, method, path, body, **{"Authorization": f"Bearer {self.key}", **headers})

    def post(self, path: str = "/api/v1/chat/completions", body: Any = None, **headers: str) -> Got:
        """Send a call."""
        return self.ask("POST", path, HELLO if body is None else body, **headers)

    def afresh(self) -> Running:
        """Begin another test with the same process: a new account, no requests, no ledger, no budget, no keys."""
        self.sandbox.behave()
        # Read once: a second gateway in this home, which some tests begin, takes the file with it when it ends.
        self.token = self.token or json.loads((self.home / ".openrouter" / "gateway.json").read_text())["token"]
        # The end of an answer comes before its line, which must not come into the next test's ledger.
        wait_until(lambda: self.ask("GET", "/status", Authorization=f"Bearer {self.token}").json["in_flight"] == 0)
        self.sandbox.account, self.sandbox.delay_s = Account.simple(), 0.0
        self.sandbox.requests.clear()
        for path in (*self.home.glob(".openrouter/*"), *self.home.glob("openrouter-usage-*/*")):
            if path.is_file() and path.name != "gateway.json":
                path.unlink(missing_ok=True)
        return self

    def settle(self) -> None:
        """Look up what is not known yet, until nothing is left that has an id."""
        wait_until(lambda: not self.sandbox.account.in_flight)
        done = self.tracker("settle", "--json")
        assert done.code == 0, done.err

    def agree(self) -> None:
        """Every call of the bill is in the ledger at its price, and no other; nothing is held any more."""
        account = self.sandbox.account
        wait_until(lambda: not account.in_flight)
        found = audit(self.tracker.ledger)
        assert found.settled == {call.id: call.cost for call in account.generations.values()}
        assert (found.spent, found.held, found.damaged) == (account.bill, {}, 0)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The calls in the ledger, in its order."""
        lines = map(json.loads, self.tracker.ledger.read_bytes().splitlines()) if self.tracker.ledger.exists() else []
        return [values for values in lines if "kind" not in values]

    def wait_for_entries(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many calls are booked: the end of an answer comes before its line."""
        wait_until(lambda: len(self.entries) >= count)
        return self.entries


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> Got:
    """Send one request, and read the whole answer; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    usual = {"Content-Type": "application/json"} if data is not None else {}
    host = url.partition("//")[2].partition("/")[0]
    connection = http.client.HTTPConnection(host, timeout=HANG_GUARD_S)
    with contextlib.closing(connection):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=data, headers={**usual, **named})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, found, answer.read())


@contextlib.contextmanager
def running(home: Path, sandbox: Sandbox, *argv: str, env: Mapping[str, str] | None = None, **more: Any) -> Iterator[Running]:
    """A gateway that is stopped at the end, and has to have ended well."""
    gateway = Running(home, sandbox, dict(env or {}), argv or ("--no-keys",), **more).start()
    try:
        yield gateway
    except BaseException:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.kill()
            _, err = gateway.process.communicate()
            sys.stderr.write(err.decode("utf-8", "replace"))
        raise
    if gateway.process is not None and gateway.process.poll() is None:
        assert gateway.stop() == 0


def wait_until(holds: Any, timeout_s: float = HANG_GUARD_S) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "still waiting"
        time.sleep(0.02)


def shared(folder: Path, *argv: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A gateway with a sandbox of its own, for the tests of a module: starting one takes longer than most of them."""
    home = folder / "home"
    home.mkdir()
    with Sandbox(Account.simple()) as sandbox, running(home, sandbox, *argv, env=env) as found:
        yield found


def with_short_waits(home: Path) -> Path:
    """A folder whose `sitecustomize` shortens the waits of the gateway: no test waits for a minute."""
    folder = home / "short"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'openrouter_usage.gateway.server':\n"
        "            from openrouter_usage.gateway import waits\n"
        "            waits.IDLE_S = waits.SLOWEST_REQUEST_S = 1.0\n"
        "            waits.GRACE_S = 0.2; waits.ALERTS_S = 0.5\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    return folder
