"""The gateway under budgets: what is refused and how, what is held, and that nothing passes a cap."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gatewaying import HELLO, MODEL, Running, running, shared, wait_until
from tests.running import ROOT
from tests.sandbox import INFERENCE_KEY, Account, Reply, Sandbox
from tests.sandbox.reply import Stream
from tests.storm.audit import audit
from tests.test_gateway import MESSAGES, RESPONSES


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared_generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from shared(tmp_path_factory.mktemp("generous"), "--no-keys", "--max-cost", "1")


@pytest.fixture
def gateway(shared_gateway: Running) -> Running:
    """A gateway that other tests of this module use too; each sets its own budget in the settings."""
    return shared_gateway.afresh()


@pytest.fixture
def generous(shared_generous: Running) -> Running:
    """The same with --max-cost."""
    return shared_generous.afresh()


def daily(gateway: Running, usd: str) -> None:
    """Set the machine's budget, as `budget set` writes it."""
    folder = gateway.home / ".openrouter"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({"budget": {"daily": usd}}))
    (folder / "settings.json").chmod(0o600)


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/chat/completions", {**HELLO, "max_tokens": 100_000}, ("error", "message")),
        ("/chat/completions", {**HELLO, "max_tokens": 100_000, "stream": True}, ("error", "message")),
        ("/messages?beta=true", {**MESSAGES, "max_tokens": 100_000}, ("error", "message")),
        ("/responses", {**RESPONSES, "max_output_tokens": 100_000}, ("error", "message")),
    ],
)
def test_a_call_over_budget_is_refused_with_402_in_its_own_shape(
    path: str, body: dict[str, Any], place: tuple[str, str], gateway: Running
) -> None:
    daily(gateway, "0.01")
    got = gateway.post(f"/api/v1{path}", body)
    assert (got.status, got.headers["x-should-retry"]) == (402, "false") and "retry-after" not in got.headers
    assert b"shorter answer (max_tokens)" in got.body and b"--max" not in got.body
    message = got.json[place[0]][place[1]]
    assert "daily budget of $0.01" in message and "spent" in message and "held" in message and "asked" in message
    assert "midnight UTC" in message
    assert got.json.get("type") == ("error" if "messages" in path else None)
    assert gateway.sandbox.received("POST *") == []


def test_codex_which_repeats_a_402_gets_400(gateway: Running) -> None:
    """Its release 0.171 makes a call that got 402 five times more, and one that got 400 never again."""
    daily(gateway, "0")
    got = gateway.post("/api/v1/responses", RESPONSES, User_Agent="codex_exec/0.171.0 (Linux; x86_64)")
    assert got.status == 400 and "daily budget of $0.00" in got.json["error"]["message"]


def test_real_clients_ask_once_when_a_budget_refuses(home: Path, sandbox: Sandbox) -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    with running(home, sandbox, env={"OPENROUTER_DAILY_LIMIT": "0"}) as gateway:
        with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key=INFERENCE_KEY) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                client.chat.completions.create(**HELLO)
            assert refused.value.status_code == 402
        other = anthropic.Anthropic(base_url=f"{gateway.url}/api", auth_token=INFERENCE_KEY, api_key=None)
        with other, pytest.raises(anthropic.APIStatusError, match="daily budget"):
            other.messages.create(**MESSAGES)
    assert gateway.err.count(b"refused") == 2


def test_limits_are_inserted_and_every_other_byte_stays(gateway: Running) -> None:
    raw = b'{ "model" : "openai/gpt-5.2",\n "messages":[{"role":"user","content":"\\u0068i  \\/"}], "z":1.50 }'
    daily(gateway, "5")
    assert gateway.post(body=raw).status == 200
    sent = gateway.sandbox.received("POST /chat/completions")[0].body
    body = json.loads(sent)
    assert sent.endswith(raw[1:])
    assert body["max_tokens"] == 128_000 or body["max_tokens"] > 1_000
    assert set(body["provider"]["max_price"]) == {"prompt", "completion", "request"}


def test_a_budget_set_while_it_runs_holds_at_once(gateway: Running) -> None:
    assert gateway.post().status == 200
    gateway.tracker("budget", "set", "--daily", "0")
    assert gateway.post().status == 402
    gateway.tracker("budget", "clear")
    assert gateway.post().status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/audio/speech", {"model": MODEL, "input": "Hi", "voice": "alloy"}),
        ("/images", {"model": MODEL, "prompt": "a cat"}),
        ("/rerank", {"model": MODEL, "query": "a", "documents": ["a"]}),
        ("/chat/completions", {**HELLO, "plugins": [{"id": "web"}]}),
        ("/chat/completions", {**HELLO, "model": f"{MODEL}:online"}),
        ("/chat/completions", {**HELLO, "messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}),
        ("/responses", {**RESPONSES, "tools": [{"type": "web_search"}]}),
        ("/responses", {**RESPONSES, "tools": [{"type": "namespace", "tools": [{"type": "web_search"}]}]}),
        ("/responses", {**RESPONSES, "previous_response_id": "resp_1"}),
        ("/messages", {**MESSAGES, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("/messages", {**MESSAGES, "speed": "fast"}),
        ("/messages", {**MESSAGES, "messages": [{"role": "user", "content": [{"type": "document"}]}]}),
    ],
)
def test_what_cannot_be_bounded_is_refused_unless_an_amount_is_given(
    path: str, body: dict[str, Any], gateway: Running, generous: Running
) -> None:
    daily(gateway, "5")
    got = gateway.post(f"/api/v1{path}", body)
    assert got.status == 402 and got.headers["x-should-retry"] == "false" and "max-cost" in got.json["error"]["message"]
    assert gateway.sandbox.received("POST *") == []
    daily(generous, "5")
    generous.post(f"/api/v1{path}", body)
    assert len(generous.sandbox.received("POST *")) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/messages", {**MESSAGES, "tools": [{"name": "bash", "input_schema": {}}, {"type": "bash_20250124", "name": "b"}]}),
        ("/messages", {**MESSAGES, "messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image", "source": {}}]}]}]}),
        ("/chat/completions", {**HELLO, "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}),
        ("/responses", {**RESPONSES, "input": [{"type": "function_call_output", "call_id": "1", "output": "ok"}],
                        "tools": [{"type": "function", "name": "shell"}, {"type": "custom", "name": "patch"},
                                  {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]}),
        ("/completions", {"model": MODEL, "prompt": ["a", "b"], "max_tokens": 5}),
        ("/embeddings", {"model": "openai/text-embedding-3-small", "input": ["a"]}),
    ],
)  # fmt: skip
def test_what_agents_send_is_bounded(path: str, body: dict[str, Any], gateway: Running) -> None:
    daily(gateway, "10")
    assert gateway.post(f"/api/v1{path}", body).status == 200
    gateway.wait_for_entries(1)
    gateway.agree()


@pytest.mark.parametrize("twice", ['"max_tokens":1', '"provider":{"max_price":{"prompt":1,"prompt":1000}}',
                                   '"tools":[{"type":"function","type":"web_search"}]'])  # fmt: skip
def test_a_name_that_stands_twice_is_refused_under_a_budget(twice: str, gateway: Running) -> None:
    raw = b'{"model":"openai/gpt-5.2","max_tokens":10,"messages":[{"role":"user","content":"hi"}],' + twice.encode() + b"}"
    daily(gateway, "5")
    got = gateway.post(body=raw)
    assert got.status == 400 and "twice" in got.json["error"]["message"] and gateway.sandbox.received("POST *") == []


def test_a_ledger_that_cannot_be_written_refuses_under_a_budget_and_is_told_without_one(
    home: Path, sandbox: Sandbox
) -> None:
    (home / ".openrouter").mkdir()
    (home / ".openrouter" / "usage.jsonl").mkdir()
    with running(home, sandbox, env={"OPENROUTER_DAILY_LIMIT": "5"}) as gateway:
        got = gateway.post()
        assert got.status == 402 and got.headers["x-should-retry"] == "false" and "ledger" in got.json["error"]["message"]
        assert sandbox.received("POST *") == []
    with running(home, sandbox, "--no-keys", "--quiet") as gateway:
        assert gateway.post().status == 200
        wait_until(lambda: list(home.glob("openrouter-usage-*/*.jsonl")))
        gateway.stop()
        assert "⚠".encode() in gateway.err
    (home / ".openrouter" / "usage.jsonl").rmdir()
    with running(home, sandbox) as gateway:
        gateway.post()
        gateway.wait_for_entries(2)
        gateway.agree()


def test_a_budget_that_cannot_be_read_lets_nothing_pass(gateway: Running) -> None:
    daily(gateway, "5")
    (gateway.home / ".openrouter" / "settings.json").write_text("{")
    assert gateway.post().status == 402 and gateway.sandbox.received("POST *") == []


# -- gateway keys ----------------------------------------------------------------------------------------------------


def token_of(gateway: Any, *argv: str) -> str:
    ran = gateway.tracker("gateway", "key", "add", *argv, "--json")
    assert ran.code == 0, ran.err
    return str(ran.data["token"])


def test_a_client_with_a_gateway_key_never_sees_the_real_one(home: Path, sandbox: Sandbox) -> None:
    with running(home, sandbox, "--port", "0") as gateway:
        token = token_of(gateway, "laptop", "--tag", "project=site")
        file = home / ".openrouter" / "gateway-keys.json"
        assert token.startswith("gw-") and token.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": "", "x_api_key": token}):
            assert gateway.post(**headers).status == 200
        sent = sandbox.received("POST /chat/completions")
        assert {request.headers["Authorization"] for request in sent} == {f"Bearer {INFERENCE_KEY}"}
        assert all("x-api-key" not in request.headers for request in sent)
        assert gateway.wait_for_entries(2)[0]["tags"] == {"client": "laptop", "project": "site"}
        listed = gateway.tracker("gateway", "key", "list")
        assert "laptop" in listed.out and token not in listed.out
        assert "only removed with --yes" in gateway.tracker("gateway", "key", "remove", "laptop").error_line
        assert "no gateway key is named nobody" in gateway.tracker("gateway", "key", "remove", "nobody").error_line
        assert gateway.tracker("gateway", "key", "remove", "laptop", "--yes").code == 0
        got = gateway.post(Authorization=f"Bearer {token}")
        assert got.status == 401 and len(sandbox.received("POST *")) == 2
    # Who starts it first, and who makes a key first, is told of the other.
    assert b"no client has a token yet -- run: cost_tracker.py gateway key add NAME\n" in gateway.err
    assert "cost_tracker.py gateway setup CLIENT" in gateway.tracker("gateway", "key", "add", "other").out


def test_nobody_else_gets_in(home: Path, sandbox: Sandbox) -> None:
    with running(home, sandbox, "--port", "0") as gateway:
        for token, path in itertools.product(("", "gw-wrong", INFERENCE_KEY), ("/api/v1/chat/completions", "/api/v1/messages")):
            got = gateway.post(path, Authorization=f"Bearer {token}")
            assert got.status == 401 and got.headers["x-should-retry"] == "false"
            assert gateway.ask("GET", "/api/v1/key", Authorization=f"Bearer {token}").status == 401
    assert sandbox.requests == []


def test_a_client_has_a_budget_of_its_own(home: Path, sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply("Hi", cost=Decimal("0.02"))
    with running(home, sandbox, "--port", "0") as gateway:
        small = token_of(gateway, "small", "--daily", "0.03")
        large = token_of(gateway, "large")
        assert gateway.post(Authorization=f"Bearer {small}").status == 200
        assert gateway.post(Authorization=f"Bearer {small}").status == 200
        gateway.wait_for_entries(2)
        got = gateway.post(Authorization=f"Bearer {small}")
        assert got.status == 402 and "small" in got.json["error"]["message"]
        assert gateway.post(Authorization=f"Bearer {large}").status == 200
    with running(home, sandbox, "--port", "0") as again:
        assert again.post(Authorization=f"Bearer {small}").status == 402


def test_without_a_real_key_there_is_no_gateway_of_keys(home: Path, sandbox: Sandbox) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/gateway.py"), "--port", "0"], capture_output=True, text=True, timeout=60,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 2 and "OPENROUTER_API_KEY" in done.stderr


# -- many at once ----------------------------------------------------------------------------------------------------

CLIENT = """
import json, sys, threading, urllib.request
url, key, streams, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
body = {"model": "openai/gpt-5.2", "stream": True, "max_tokens": 400, "messages": [{"role": "user", "content": "Go"}]}
def work():
    for _ in range(rounds):
        request = urllib.request.Request(url + "/api/v1/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer " + key})
        try:
            urllib.request.urlopen(request, timeout=100).read()
        except Exception:
            pass
threads = [threading.Thread(target=work, daemon=True) for _ in range(streams)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def test_no_cap_is_passed_by_many_clients_that_are_killed_and_a_gateway_that_is(home: Path) -> None:
    """8 processes of 4 streams each, every third killed, and the gateway killed and started again in the middle."""
    cap = Decimal("0.40")
    account = Account.simple(reply=Reply("word " * 60, cost=Decimal("0.005"), stream=Stream(token_delay_s=0.004)))
    with Sandbox(account) as sandbox:
        gateway = running(home, sandbox, "--no-keys", "--quiet", env={"OPENROUTER_DAILY_LIMIT": str(cap)})
        with gateway as first:
            command = [sys.executable, "-c", CLIENT, first.url, INFERENCE_KEY, "4", "8"]
            clients = [subprocess.Popen(command, env={"PATH": os.environ["PATH"]}) for _ in range(8)]
            # No time is asserted here: on a busy machine eight interpreters take long to start.
            wait_until(lambda: len(account.generations) > 16)
            for client in clients[::3]:
                client.send_signal(signal.SIGKILL)
            first.kill()
            with running(home, sandbox, "--no-keys", "--quiet", env=first.env, port=first.port) as second:
                for client in clients:
                    client.wait(100)
                wait_until(lambda: not account.in_flight)
                second.stop()
            first.settle()
            found = audit(first.tracker.ledger)
            # A call that began before its id was written, when the gateway was killed, is held for good.
            lost = {name: amount for name, amount in found.held.items() if not found.generations[name]}
            assert set(found.held) == set(lost)
            booked = {call.id: call.cost for call in account.generations.values() if call.id in found.settled}
            assert found.settled == booked
            missing = [call for call in account.generations.values() if call.id not in found.settled]
            assert len(missing) <= len(lost)
            assert found.most <= cap and account.bill_high_water <= cap and account.bill <= cap
            assert all(ends <= 1 for ends in found.ends.values())
            assert account.bill > cap / 8


def test_two_hundred_streams_at_once_are_all_booked(home: Path) -> None:
    account = Account.simple(reply=Reply("a b c d", stream=Stream(token_delay_s=0.2)))
    with Sandbox(account) as sandbox, running(home, sandbox, "--no-keys", "--quiet") as gateway:
        command = [sys.executable, "-c", CLIENT, gateway.url, INFERENCE_KEY, "200", "1"]
        subprocess.run(command, timeout=110, check=True)
        gateway.wait_for_entries(200)
        gateway.agree()
