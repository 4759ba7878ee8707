"""The gateway: every client's calls go through unchanged, and are booked with OpenRouter's own bill."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.gatewaying import GATEWAY, HELLO, MODEL, Running, ask, running, shared
from tests.running import contents
from tests.sandbox import INFERENCE_KEY, Fault, Reply, Sandbox
from tests.sandbox.reply import Stream
from tests.storm.audit import audit

MESSAGES = {"model": "anthropic/claude-sonnet-4.5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
RESPONSES = {"model": MODEL, "input": "Hi", "max_output_tokens": 50}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/chat/completions", HELLO),
    "chat stream": ("/chat/completions", {**HELLO, "stream": True}),
    "messages": ("/messages?beta=true", MESSAGES),
    "messages stream": ("/messages?beta=true", {**MESSAGES, "stream": True}),
    "responses": ("/responses", RESPONSES),
    "responses stream": ("/responses", {**RESPONSES, "stream": True}),
    "completions": ("/completions", {"model": MODEL, "prompt": "Once", "max_tokens": 9}),
    "embeddings": ("/embeddings", {"model": "openai/text-embedding-3-small", "input": ["a", "b"]}),
    "rerank": ("/rerank", {"model": MODEL, "query": "a", "documents": ["a", "b"]}),
    "images": ("/images", {"model": MODEL, "prompt": "a cat"}),
    "chat with a tool": ("/chat/completions", {**HELLO, "stream": True, "tools": [{"type": "function", "function": {"name": "look"}}]}),
    "images stream": ("/images", {"model": MODEL, "prompt": "a cat", "stream": True}),
    "transcription": ("/audio/transcriptions", {"model": MODEL, "input_audio": {"data": "AAAA", "format": "wav"}}),
    "speech": ("/audio/speech", {"model": MODEL, "input": "Hello", "voice": "alloy"}),
}


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def gateway(shared_gateway: Running) -> Running:
    """A gateway that other tests of this module use too, one after the other."""
    return shared_gateway.afresh()


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_booked_with_its_bill(name: str, gateway: Running) -> None:
    path, body = SHAPES[name]
    gateway.sandbox.account.reply = Reply("one two three", cached_tokens=1, cost=Decimal("0.001234567"))
    got = gateway.post(f"/api/v1{path}", body)
    assert got.status == 200
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == ("late" if name == "speech" else "billed")
    assert entry["id"] == got.headers["x-generation-id"]
    gateway.agree()


def test_a_video_is_booked_when_its_poll_tells_the_cost(gateway: Running) -> None:
    job = gateway.post("/api/v1/videos", {"model": MODEL, "prompt": "a cat"}).json["id"]
    gateway.ask("GET", f"/api/v1/videos/{job}")
    (entry,) = gateway.wait_for_entries(1)
    assert Decimal(str(entry["cost"])) == gateway.sandbox.account.bill and entry["id"] == job


@pytest.mark.parametrize("name", SHAPES)
def test_bytes_and_events_are_the_same_with_and_without_the_gateway(name: str, gateway: Running) -> None:
    """Two accounts whose calls have the same ids and times, asked directly and through the gateway."""
    path, body = SHAPES[name]
    reply = Reply("wörter und mehr", stream=Stream(newline="\r\n", piece_bytes=7, comments=3, debug_chunk=True))
    if "tools" in body:
        reply.tool_call, reply.image = TOOL, b"a picture" * 1_000
    hashes, sent = [], []
    for through in (False, True):
        sandbox = gateway.afresh().sandbox
        sandbox.account.reply = reply
        base = gateway.url if through else sandbox.url.removesuffix("/api/v1")
        raw = b'{ "stream" :' + (b"true" if body.get("stream") else b"false") + b", " + _raw(body)
        got = ask(base, "POST", f"/api/v1{path}", raw, Authorization=f"Bearer {INFERENCE_KEY}")
        (generation,) = sandbox.account.generations.values()
        stamp = str(int(generation.created_at.timestamp())).encode()
        known = got.body.replace(generation.id.encode(), b"ID").replace(generation.id[4:].encode(), b"ID")
        hashes.append((got.status, hashlib.sha256(known.replace(stamp, b"AT")).hexdigest(), got.headers["content-type"]))
        sent.append(sandbox.received("POST *")[0].body)
    assert hashes[0] == hashes[1]
    assert sent[0] == sent[1] == raw


def _raw(body: dict[str, Any]) -> bytes:
    """The request in a way of writing that no JSON library would choose."""
    rest = {name: value for name, value in body.items() if name != "stream"}
    return json.dumps(rest, indent=3).encode()[1:].replace(b"a", b"\\u0061")


def test_headers_are_passed_on_and_none_of_the_clients_secrets_beyond_its_key(gateway: Running) -> None:
    gateway.post(
        Cookie="session=1", Accept_Encoding="gzip", Referer="http://x", anthropic_beta="tools-1", X_Anything="yes",
        HTTP_Referer="https://app", X_OpenRouter_Usage_Tag="project=site", Connection="close, X-Hop", X_Hop="1",
    )  # fmt: skip
    headers = gateway.sandbox.received("POST /chat/completions")[0].headers
    assert headers["Accept-Encoding"] == "identity" and headers["anthropic-beta"] == "tools-1"
    assert headers["X-Anything"] == "yes" and headers["HTTP-Referer"] == "https://app"
    for name in ("Cookie", "X-Hop", "Referer", "X-OpenRouter-Usage-Tag"):
        assert name not in headers


def test_stats_group_by_client_session_agent_and_project(gateway: Running) -> None:
    claude = {"User_Agent": "claude-cli/2.1 (external, cli)", "X_Claude_Code_Session_Id": "s-1"}
    gateway.post("/api/v1/messages", MESSAGES, **claude, x_claude_code_agent_id="a-1")
    gateway.post("/s/a%20name/api/v1/chat/completions", User_Agent="codex_cli_rs/0.1", X_Title="My app")
    gateway.post(body={**HELLO, "session_id": "s-2"}, X_OpenRouter_Usage_Tag="project=site, nonsense")
    gateway.wait_for_entries(3)
    wanted = {
        "client": {"claude-code", "codex", "(no client)"},
        "session": {"s-1", "a name", "s-2"},
        "agent": {"a-1", "(no agent)"},
        "project": {"site", "(no project)"},
        "app": {"My_app", "(no app)"},
    }
    for by, names in wanted.items():
        ran = gateway.tracker("stats", "--by", by, "--json")
        assert {row["name"] for row in ran.data["groups"]} == names
        assert ran.data["total"]["cost_usd"] == gateway.sandbox.account.bill


# -- streams that do not end as they should --------------------------------------------------------------------------


def begin(gateway: Running, path: str, body: dict[str, Any]) -> socket.socket:
    """Send a request and read the beginning of its answer."""
    data = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {INFERENCE_KEY}\r\n"
    sock.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    assert sock.recv(1_000).startswith(b"HTTP/1.1 200")
    return sock


@pytest.mark.parametrize("name", ["chat stream", "messages stream", "responses stream"])
def test_a_stream_that_its_client_leaves_is_cut_and_looked_up(name: str, gateway: Running) -> None:
    path, body = SHAPES[name]
    gateway.sandbox.account.reply = Reply("word " * 200, stream=Stream(token_delay_s=0.1))
    gateway.sandbox.account.charge_on_disconnect = "partial"
    begin(gateway, f"/api/v1{path}", {**body, "max_tokens": 1000}).close()
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == "late"
    gateway.agree()


def test_a_client_that_leaves_with_the_end_in_sight_has_made_a_complete_call(gateway: Running) -> None:
    gateway.sandbox.account.generation_lag_requests = "never"
    gateway.sandbox.account.reply = Reply("one two three", stream=Stream(token_delay_s=0.2))
    begin(gateway, "/api/v1/responses", {**RESPONSES, "stream": True}).close()
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == "billed"
    gateway.agree()


@pytest.mark.parametrize("cut", ["close", "reset"])
def test_a_stream_that_upstream_cuts_ends_for_the_client_without_an_end(cut: str, gateway: Running) -> None:
    gateway.sandbox.account.reply = Reply("one two three four", stream=Stream(cut_after=2, cut=cut))
    sock = begin(gateway, "/api/v1/chat/completions", {**HELLO, "stream": True})
    rest = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65_536):
            rest += piece
    sock.close()
    assert b"[DONE]" not in rest and not rest.endswith(b"0\r\n\r\n")
    gateway.wait_for_entries(1)
    gateway.agree()


def test_a_stream_that_ends_without_its_cost_is_looked_up(gateway: Running) -> None:
    gateway.sandbox.account.reply = Reply("one", stream=Stream(usage_chunk="missing"))
    assert gateway.post(body={**HELLO, "stream": True}).status == 200
    (entry,) = gateway.wait_for_entries(1)
    assert entry["cost_source"] == "late"
    gateway.agree()


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_a_refusal_of_openrouter_is_passed_on_and_frees_the_hold(status: int, gateway: Running) -> None:
    gateway.sandbox.misbehave("POST /chat/completions", Fault.status(status, message="no"))
    got = gateway.post()
    assert (got.status, got.json["error"]["message"]) == (status, "no")
    gateway.sandbox.wait_until(lambda: not audit(gateway.tracker.ledger).held)
    assert gateway.entries == []


def test_a_call_that_broke_after_it_was_sent_stays_held(gateway: Running) -> None:
    gateway.sandbox.misbehave("POST /chat/completions", Fault.reset("billing"))
    got = gateway.post()
    assert got.status == 502 and got.headers["x-should-retry"] == "false"
    assert len(audit(gateway.tracker.ledger).held) == 1


def test_openrouter_out_of_reach_is_told_and_nothing_is_held(home: Path, sandbox: Sandbox) -> None:
    with running(home, sandbox, env={"OPENROUTER_BASE_URL": "http://127.0.0.1:9/api/v1"}) as gateway:
        assert gateway.post().status == 502
        assert audit(gateway.tracker.ledger).held == {}


# -- its life --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_and_lets_a_running_stream_end(number: int, home: Path, sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply("one two three four five", stream=Stream(token_delay_s=0.3))
    with running(home, sandbox) as gateway:
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(gateway.post(body={**HELLO, "stream": True}).body))
        thread.start()
        sandbox.wait_for("POST /chat/completions")
        assert gateway.stop(number) == 0
        thread.join()
        assert got[0].endswith(b"data: [DONE]\n\n")
        gateway.agree()


def test_a_killed_gateway_leaves_a_hold_that_settle_finds(home: Path, sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply("word " * 100, stream=Stream(token_delay_s=0.05))
    with running(home, sandbox) as gateway:
        sock = begin(gateway, "/s/work/api/v1/chat/completions", {**HELLO, "stream": True})
        sandbox.wait_until(lambda: any(audit(gateway.tracker.ledger).generations.values()))
        gateway.kill()
        sock.close()
        gateway.settle()
        gateway.agree()
        (entry,) = gateway.entries
        assert entry["session"] == "work"


def test_the_next_gateway_settles_what_a_killed_one_has_left(home: Path, sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply("word " * 100, stream=Stream(token_delay_s=0.05))
    with running(home, sandbox) as gateway:
        sock = begin(gateway, "/api/v1/chat/completions", {**HELLO, "stream": True})
        sandbox.wait_until(lambda: any(audit(gateway.tracker.ledger).generations.values()))
        gateway.kill()
        sock.close()
        sandbox.wait_until(lambda: not sandbox.account.in_flight)
    with running(home, sandbox, "--quiet") as again:
        again.wait_for_entries(1)
        again.agree()


def test_status_says_what_goes_on_and_without_one_that_there_is_none(home: Path, sandbox: Sandbox) -> None:
    sandbox.account.reply = Reply(cost=Decimal("0.25"))
    with running(home, sandbox) as gateway:
        gateway.post()
        gateway.wait_for_entries(1)
        data = gateway.tracker("gateway", "status", "--json").data
        assert (data["url"], data["calls"], data["spent_usd"]) == (gateway.url, 1, Decimal("0.25"))
        assert (data["in_flight"], data["held_usd"], data["open_holds"]) == (0, 0, 0)
        assert gateway.ask("GET", "/status").status == 401
        with gateway.tracker.ledger.open("ab") as ledger:
            ledger.write(b'{"kind":"hold","hold":"old","ts":"2026-01-01T10:00:00Z","model":"a/b","max_cost":0.5}\n')
        assert "1 hold without an id to ask about: `cost_tracker.py settle`" in gateway.tracker("gateway", "status").out
    assert gateway.tracker("gateway", "status").code == 3


def test_questions_pass_through_and_are_not_booked(gateway: Running) -> None:
    for path in ("/models", "/key", "/models/openai/gpt-5.2/endpoints", "/models?output_modalities=all"):
        assert gateway.ask("GET", f"/api/v1{path}").status == 200
    assert gateway.post("/api/v1/messages/count_tokens", MESSAGES).json["input_tokens"] > 0
    assert not gateway.tracker.ledger.exists()


def test_without_aiohttp_it_says_what_to_install(home: Path) -> None:
    code = "import sys; sys.modules['aiohttp'] = None; sys.argv = [%r]; import runpy; runpy.run_path(%r, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code % (str(GATEWAY), str(GATEWAY))], capture_output=True, text=True, timeout=60,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "OPENROUTER_API_KEY": INFERENCE_KEY},
    )  # fmt: skip
    assert done.returncode == 2 and "requirements-gateway.txt" in done.stderr and "aiohttp" in done.stderr


def test_a_taken_port_is_told(gateway: Running) -> None:
    done = subprocess.run(
        [sys.executable, str(GATEWAY), "--no-keys", "--port", str(gateway.port)],
        capture_output=True, text=True, timeout=60, env=gateway.environment,
    )  # fmt: skip
    assert done.returncode == 2 and "cannot listen" in done.stderr and done.stderr.count("\n") == 1


def test_no_key_and_no_prompt_is_anywhere_on_the_disk(home: Path, sandbox: Sandbox) -> None:
    with running(home, sandbox) as gateway:
        gateway.post(body={**HELLO, "messages": [{"role": "user", "content": "a-canary-of-a-prompt"}]})
        assert gateway.post(body=b'{"messages": a-canary-of-a-prompt').status == 400
        gateway.wait_for_entries(1)
    for path, data in contents(home).items():
        assert INFERENCE_KEY.encode() not in data and b"a-canary-of-a-prompt" not in data, path
    assert b"a-canary" not in gateway.err and len(gateway.err.splitlines()) >= 1


# -- real clients ----------------------------------------------------------------------------------------------------


def test_the_openai_package_works_through_it(gateway: Running) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key=INFERENCE_KEY) as client:
        messages = [{"role": "user", "content": "Hi"}]
        assert client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content
        chunks = list(client.chat.completions.create(model=MODEL, messages=messages, stream=True))
        assert chunks
        assert client.responses.create(model=MODEL, input="Hi").output_text
        events = [event.type for event in client.responses.create(model=MODEL, input="Hi", stream=True)]
        assert events[-1] == "response.completed"
        assert client.embeddings.create(model="openai/text-embedding-3-small", input="Hi").data
        assert client.audio.speech.create(model=MODEL, input="Hi", voice="alloy").content.startswith(b"ID3")
    entries = gateway.wait_for_entries(6)
    assert {entry["tags"]["client"] for entry in entries} == {"openai"}
    gateway.agree()


def test_the_anthropic_package_works_through_it(gateway: Running) -> None:
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url=f"{gateway.url}/api", auth_token=INFERENCE_KEY, api_key=None) as client:
        assert client.messages.create(**MESSAGES).content[0].text
        with client.messages.stream(**MESSAGES) as stream:
            assert stream.get_final_text()
    gateway.wait_for_entries(2)
    gateway.agree()


def test_the_openrouter_package_works_through_it(gateway: Running) -> None:
    openrouter = pytest.importorskip("openrouter")
    with openrouter.OpenRouter(api_key=INFERENCE_KEY, server_url=f"{gateway.url}/api/v1") as client:
        assert client.chat.send(model=MODEL, messages=[{"role": "user", "content": "Hi"}]).choices
    gateway.wait_for_entries(1)
    gateway.agree()


TOOL = ("look", '{"at": "the weather"}')
LOOK: dict[str, Any] = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}


def test_tool_calls_and_pictures_reach_real_clients_and_are_billed(gateway: Running) -> None:
    """A tool is called and answered in each shape, whole and as a stream; then an answer has a picture in it."""
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    account, said = gateway.sandbox.account, [{"role": "user", "content": "Look!"}]
    account.script(*(Reply(tool_call=TOOL, completion_tokens=7) for _ in range(6)))
    wanted = json.loads(TOOL[1])
    with openai.OpenAI(base_url=f"{gateway.url}/api/v1", api_key=INFERENCE_KEY) as client:
        chat = {"model": MODEL, "messages": said, "tools": [{"type": "function", "function": LOOK}]}
        call = client.chat.completions.create(**chat).choices[0].message.tool_calls[0]
        assert json.loads(call.function.arguments) == wanted
        deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**chat, stream=True) if chunk.choices]
        assert "".join(d.tool_calls[0].function.arguments for d in deltas if d.tool_calls) == TOOL[1]
        tool = {"model": MODEL, "input": said, "tools": [{"type": "function", **LOOK}]}
        item = client.responses.create(**tool).output[0]
        assert (item.type, json.loads(item.arguments)) == ("function_call", wanted)
        with client.responses.stream(**tool) as stream:
            assert json.loads(stream.get_final_response().output[0].arguments) == wanted
        other = anthropic.Anthropic(base_url=f"{gateway.url}/api", auth_token=INFERENCE_KEY, api_key=None)
        with other:
            message = {**MESSAGES, "tools": [{"name": "look", "input_schema": LOOK["parameters"]}]}
            assert other.messages.create(**message).content[0].input == wanted
            with other.messages.stream(**message) as stream:
                use = stream.get_final_message().content[0]
            assert use.input == wanted
            answered = [{"role": "assistant", "content": [use.to_dict()]}]
            result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
            answered += [{"role": "user", "content": [result]}]
            assert other.messages.create(**{**message, "messages": [*message["messages"], *answered]}).content[0].text
        picture = bytes(range(256)) * 400
        account.script(*(Reply("Here.", image=picture, cost=Decimal("0.0390001")) for _ in range(2)))
        shown = {"model": MODEL, "messages": said, "modalities": ["image", "text"]}
        whole = client.chat.completions.create(**shown).choices[0].message.model_extra["images"]
        chunks = client.chat.completions.create(**shown, stream=True)
        parts = [chunk.choices[0].delta.model_extra.get("images") for chunk in chunks if chunk.choices]
        for (image,) in (whole, *filter(None, parts)):
            assert base64.b64decode(image["image_url"]["url"].partition(",")[2]) == picture
        assert any(parts)
    gateway.wait_for_entries(9)
    gateway.agree()


def test_curl_works_through_it_also_with_a_body_that_it_asks_about_first(gateway: Running) -> None:
    large = '{"model":"openai/gpt-5.2","messages":[{"role":"user","content":"' + "x" * 1_500_000 + '"}]}'
    done = subprocess.run(
        ["curl", "-sS", "--data-binary", "@-", "-H", "Content-Type: application/json", "-H", "Expect: 100-continue",
         "-H", f"Authorization: Bearer {INFERENCE_KEY}", f"{gateway.url}/api/v1/chat/completions"],
        input=large.encode(), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert b'"usage"' in done.stdout or b'"error"' in done.stdout
    assert gateway.sandbox.received("POST /chat/completions")[0].body == large.encode()


@pytest.mark.parametrize("stored", [False, True])
def test_the_library_starts_one_whose_calls_count_in_the_session_around_it(
    stored: bool, home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = pytest.importorskip("openai")
    from cost_tracker import CostSession, CostTracker, Gateway

    for name, value in {"HOME": str(home), "OPENROUTER_BASE_URL": sandbox.url}.items():
        monkeypatch.setenv(name, value)
    if stored:
        (home / ".openrouter").mkdir(mode=0o700)
        kept = home / ".openrouter" / "credentials.env"
        kept.write_text(f"OPENROUTER_API_KEY={INFERENCE_KEY}\n")
        kept.chmod(0o600)
    call: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    with CostSession("around/1") as around:
        for gateway, path in ((Gateway(session="a task/1", stored_key=stored), "a%20task"), (Gateway(stored_key=stored), "around")):
            with gateway as url:
                assert f"/s/{path}%2F1/api/v1" in url
                with openai.OpenAI(base_url=url, api_key=gateway.api_key or INFERENCE_KEY) as client:
                    client.chat.completions.create(**call)
                    list(client.chat.completions.create(**call, stream=True))
                other = openai.OpenAI(base_url=url, api_key=INFERENCE_KEY if stored else "gw-x y")
                with other, pytest.raises(openai.AuthenticationError):
                    other.chat.completions.create(**call)
    assert (around.total_cost, around.calls) == (sandbox.account.bill, 4)
    assert {request.headers["Authorization"] for request in sandbox.received("POST *")} == {f"Bearer {INFERENCE_KEY}"}
    with CostTracker() as tracker:
        assert tracker.get_total_cost() == sandbox.account.bill > 0
        assert {entry.session for entry in tracker.ledger.entries()} == {"a task/1", "around/1"}


def test_a_call_that_was_cut_is_known_to_its_session_before_and_after_it_was_looked_up(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cost_tracker import CostSession, Gateway

    for name, value in {"HOME": str(home), "OPENROUTER_BASE_URL": sandbox.url}.items():
        monkeypatch.setenv(name, value)
    sandbox.account.reply = Reply("one", stream=Stream(usage_chunk="missing"))
    sandbox.account.generation_lag_requests = "never"
    with CostSession("s") as session, Gateway() as url:
        host, _, prefix = url.partition("/s/")
        ask(host, "POST", f"/s/{prefix}/chat/completions", {**HELLO, "stream": True}, Authorization=f"Bearer {INFERENCE_KEY}")
        sandbox.wait_until(lambda: session.calls == 1)
        assert session.unknown == 1 and str(session.total_cost) == "unknown"
        sandbox.account.generation_lag_requests = 0
        sandbox.wait_until(lambda: not session.unknown)
    assert (session.total_cost, session.calls) == (sandbox.account.bill, 1)
