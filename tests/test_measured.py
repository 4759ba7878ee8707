"""The two policies: `strict` never passes its cap whatever a tokenizer does, and `measured` passes it by what it says."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.holds import replayed
from benchmarks.sessions import day
from openrouter_usage.figures.learning import COLD, FEWEST, HEAD, WARM, Histogram, Learned, learned_from
from openrouter_usage.figures.pricing import Unbounded, price_list
from openrouter_usage.gateway import paths
from openrouter_usage.gateway.bound import bounded, measured
from openrouter_usage.gateway.memory import Memory, learned_beside
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.generation import CallUsage
from openrouter_usage.openrouter.answers.models import read_models
from tests.booking import NOON
from tests.gatewaying import running
from tests.sandbox import Reply, Sandbox
from tests.sandbox.price_list import default_models

MODELS = {model.id: model for model in default_models()}
PRICES = price_list(read_models({"data": [model.as_json() for model in MODELS.values()]}), NOON)
TALKERS = ["anthropic/claude-sonnet-4.5", "anthropic/claude-opus-4.5", "openai/gpt-5.2", "google/gemini-3-flash", "qwen/qwen3-coder"]
# What is one byte in a request, and what is many; what JSON writes longer than it is; what tokenizers fall apart on.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(["\x00" * 30, "\"\\\n\t" * 9, "🦙" * 9, "a" * 300, ""])
SOUND: dict[str, Any] = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
LASTING: dict[str, Any] = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def requests(shape: str) -> st.SearchStrategy[dict[str, Any]]:
    part = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
    parts = part | st.sampled_from([IMAGE, SOUND, LASTING]) if shape == paths.CHAT else part | st.just(LASTING)
    said = TEXTS | st.lists(parts, max_size=3)
    message = st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["user", "assistant"]), said)
    tool = st.builds(lambda text: {"type": "function", "function": {"name": "f", "description": text}}, TEXTS)
    limit = {paths.CHAT: "max_completion_tokens", paths.MESSAGES: "max_tokens", paths.RESPONSES: "max_output_tokens"}[shape]
    name = "input" if shape == paths.RESPONSES else "messages"
    return st.fixed_dictionaries(
        {"model": st.sampled_from(TALKERS), name: st.lists(message, min_size=1, max_size=4)},
        optional={limit: st.integers(1, 9_000), "tools": st.lists(tool, max_size=2), "instructions": TEXTS},
    )


@pytest.mark.parametrize("shape", [paths.CHAT, paths.MESSAGES, paths.RESPONSES])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_tokenizer_can_make_a_bill_pass_the_strict_bound(shape: str, data: st.DataObject) -> None:
    """Up to a token for each byte, all written to the dearest cache, at the dearest hour, and the longest answer."""
    body = data.draw(requests(shape))
    text = json.dumps(body, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    sounds = text.count(b'"input_audio"') // 2
    if sounds and "gemini" not in body["model"]:
        with pytest.raises(Unbounded, match="sound"):
            bounded(shape, body, text, PRICES)
        return
    found = bounded(shape, body, text, PRICES)
    model, sent = MODELS[body["model"]], json.loads(found.text)
    bytes_said = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    images = text.count(b'"image_url"') // 2
    most = model.context_length or 0
    prompt = data.draw(st.just(most) if images or sounds else st.integers(0, min(most, bytes_said)) | st.just(min(most, bytes_said)))
    limits = [sent[name] for name in ("max_completion_tokens", "max_tokens", "max_output_tokens") if name in sent]
    answer = data.draw(st.integers(0, max(limits)) | st.just(max(limits)))
    hour = NOON + timedelta(hours=data.draw(st.integers(0, 23)))
    kinds = ["prompt", "input_cache_write", "input_cache_read"]
    kinds += ["input_cache_write_1h"] if '"1h"' in json.dumps(body) else []
    kinds += ["audio"] if sounds else []
    dearest = max(model.price(kind, prompt, hour) for kind in kinds)
    bill = dearest * prompt + max(model.price(kind, prompt, hour) for kind in ("completion", "internal_reasoning")) * answer
    bill += model.price("request") + model.price("image") * images
    assert bill <= found.max_cost
    # What `measured` holds is never more, whatever was learned before.
    memory = Memory()
    kind = {"client": "c", "session": "s", "agent": "", "model": "m", "now": NOON}
    for _ in range(data.draw(st.sampled_from([0, 1, FEWEST]))):
        usage = CallUsage(prompt_tokens=prompt, completion_tokens=answer, cached_tokens=0, cost=bill)
        memory.learn(memory.recall(shape, body, **kind), usage)
    assert 0 <= measured(shape, body, PRICES, found, memory.recall(shape, body, **kind)) <= found.max_cost


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.sampled_from(["0.2", "0.7", "1.2"]), fan_out=st.integers(0, 3))
def test_replayed_sessions_stay_below_their_cap_or_pass_it_by_what_was_said(seed: int, share: str, fan_out: int) -> None:
    steps = day(seed, sessions=1, steps=24, fan_out=fan_out, max_tokens=4_000)
    cap = sum((step.bill for step in steps), Decimal(0)) * Decimal(share)
    got = replayed(steps, [cap])
    assert got[cap, "strict"].overshoot == got[cap, "bytes"].overshoot == 0
    assert got[cap, "measured"].overshoot <= got[cap, "measured"].printed
    assert got[cap, "measured"].spent <= cap + got[cap, "measured"].printed


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=300))
def test_a_percentile_is_never_said_lower_than_it_is_and_hardly_higher(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    said, true = histogram.percentile(), sorted(values)[-(-len(values) * 99 // 100) - 1]
    if len(values) < FEWEST:
        assert said is None
    else:
        assert said is not None and true <= said <= true * 9 / 8 + 1


def test_what_was_learned_is_kept_as_counts_and_odd_files_teach_nothing(tmp_path: Path) -> None:
    learned = Learned()
    for number in range(FEWEST):
        learned.note_answer(100 * number)
        learned.note_prefix(WARM, 1_000, 1_000 - number)
    again = learned_from(json.loads(json.dumps(learned.as_json())))
    assert again == learned or again.as_json() == learned.as_json()
    assert learned.missed_share(WARM) == Decimal(2) / 64 and learned.missed_share(COLD) == learned.missed_share(HEAD) == 1
    for odd in (None, 5, {"answers": {"x": 1, "5": -1, "6": True, "99999": 1}}, {"answers": []}):
        assert learned_from(odd).answers.number <= 1
    path = learned_beside(tmp_path / "usage.jsonl")
    path.write_text('{"learned":[5,{"client":"c","model":"m","counts":{"answers":{"7":30}}}]}')
    path.chmod(0o600)
    kind = {"client": "c", "session": "", "agent": "", "model": "m", "now": NOON}
    assert Memory(path).recall(paths.CHAT, {"messages": []}, **kind).learned.answer() == 7


def test_an_agent_is_held_for_what_it_needs_and_another_client_for_the_worst(home: Path, sandbox: Sandbox) -> None:
    """After some calls; nothing that was said is in any file, and the budget says by how much it can be passed."""
    words = "the secret ingredient is saffron " * 2_000
    messages: list[dict[str, Any]] = [{"role": "user", "content": words}]
    body = {"model": "anthropic/claude-opus-4.5", "max_tokens": 30_000, "messages": messages}
    holds: list[Decimal] = []
    with running(home, sandbox) as gateway:
        gateway.tracker("budget", "set", "--client", "agent", "--daily", "50", "--policy", "measured")
        gateway.tracker("budget", "set", "--daily", "90")
        for number in range(FEWEST + 2):
            tokens = 16_000 + 100 * number
            sandbox.account.script(Reply(prompt_tokens=tokens, cached_tokens=tokens - 300 if number else 0, completion_tokens=50))
            assert gateway.post(body=body, **{"User-Agent": "agent/1", "x-session-id": "s"}).status == 200
            gateway.wait_for_entries(number + 1)
            messages += [{"role": "assistant", "content": "done"}, {"role": "user", "content": f"step {number}"}]
        lines = [json.loads(line, parse_float=Decimal) for line in (home / ".openrouter" / "usage.jsonl").open()]
        holds = [line["measured"] for line in lines if line.get("kind") == "hold" and "generation" not in line]
        most = [line["max_cost"] for line in lines if line.get("kind") == "hold" and "generation" not in line]
        bills = [line["cost"] for line in lines if "cost" in line]
        sandbox.account.script(Reply(prompt_tokens=1))
        assert gateway.post(body=body, **{"User-Agent": "other/1"}).status == 200
        gateway.wait_for_entries(FEWEST + 3)
    assert holds[0] == most[0] and holds[1] < most[1]
    assert all(bill <= hold for bill, hold in zip(bills, holds, strict=True))
    assert holds[-1] < most[-1] / 20 and holds[-1] < 4 * bills[-1]
    last = json.loads((home / ".openrouter" / "usage.jsonl").read_text().splitlines()[-2], parse_float=Decimal)
    assert last["kind"] == "hold" and "measured" not in last
    for path in (home / ".openrouter").iterdir():
        assert path.is_dir() or b"saffron" not in path.read_bytes()
    assert Ledger(home / ".openrouter" / "usage.jsonl").health().holds == ()
    assert learned_beside(home / ".openrouter" / "usage.jsonl").exists()


def test_a_call_that_only_a_running_one_keeps_out_waits_for_it(home: Path, sandbox: Sandbox) -> None:
    """Beside each other they would not fit, one after the other they do; a third does not, and is told at once."""
    body = {"model": "openai/gpt-5.2", "max_tokens": 5_000, "messages": [{"role": "user", "content": "Hello?"}]}
    sandbox.account.script(Reply(delay_s=0.5, completion_tokens=10), Reply(completion_tokens=4_900))
    with running(home, sandbox) as gateway:
        gateway.tracker("budget", "set", "--daily", "0.1")
        with ThreadPoolExecutor(2) as pool:
            got = list(pool.map(lambda _: gateway.post(body=body).status, range(2)))
        assert got == [200, 200] and gateway.post(body=body).status == 402
        assert len(gateway.tracker("budget", "log", "--json").data["refusals"]) == 1
