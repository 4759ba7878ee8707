"""Programs of the shapes that guides to OpenRouter show run as they are, with only the base URL changed.

Those that define all they need run against the sandbox, as a proof that it plays OpenRouter truly enough; those that copy
a class or a function of a guide have one import in its place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage.entry import read_line
from tests.documents import OFFICIAL
from tests.running import ROOT, copy_skill, exact_json
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Fault, Sandbox
from tests.sandbox.price_list import models_of_the_guides

KEYS = {"OPENROUTER_API_KEY": INFERENCE_KEY, "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY}


@dataclass
class Scripts:
    """Runs a program in a folder of its own, as the person would who copied it."""

    folder: Path
    sandbox: Sandbox

    @property
    def environment(self) -> dict[str, str]:
        """Both keys, the sandbox for OpenRouter, and nothing else of the user's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
        own = {"HOME": str(self.folder), "USERPROFILE": str(self.folder), "PYTHONPATH": str(ROOT / "scripts")}
        more = {"PYTHONIOENCODING": "utf-8", "NO_PROXY": "127.0.0.1", "OPENROUTER_BASE_URL": self.sandbox.url}
        return {**kept, **own, **more, **KEYS}

    def __call__(self, program: str, **environment: str) -> str:
        """Run Python source and return what it printed; it has to end well and to complain of nothing."""
        source = program.replace(OFFICIAL, self.sandbox.url)
        done = subprocess.run(
            # The clients of other packages may leave their sockets open, which is not ours to close.
            [sys.executable, "-W", "error:unclosed database:ResourceWarning", "-c", source],
            cwd=self.folder, env={**self.environment, **environment}, capture_output=True, encoding="utf-8",
            timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert not any(key in done.stdout for key in KEYS.values())
        assert self.sandbox.crashes == []
        return done.stdout

    def json(self, program: str) -> Any:
        """What a program printed as JSON."""
        return exact_json(self(program))

    @property
    def ledger(self) -> list[Any]:
        """The records of the ledger."""
        path = self.folder / ".openrouter" / "usage.jsonl"
        return [read_line(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def account() -> Account:
    found = Account.simple()
    found.models += models_of_the_guides()
    return found


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, sandbox: Sandbox) -> Scripts:
    return Scripts(tmp_path, sandbox)


def a_discount(sandbox: Sandbox, amount: str | None = "0.0002") -> None:
    """Let every call have been cheaper by a cache."""

    def mutate(answer: Any) -> None:
        # The error of an id that is not known has no data.
        answer.get("data", {}).update(cache_discount=None if amount is None else Decimal(amount), native_tokens_cached=3)

    sandbox.misbehave("/generation", Fault.mutate(mutate))


# -- the key and its balance -----------------------------------------------------------------------------------------


def test_the_balance_of_a_key(run: Scripts, account: Account) -> None:
    account.keys[0].limit = account.keys[0].limit_remaining = Decimal("20")
    out = run(
        """
import json
from cost_tracker import get_key_balance

key_balance = get_key_balance()
status_message = ""
if key_balance and "error" not in key_balance:
    status_message += f"Used: {key_balance.get('usage', 'N/A')}\\n"
    if "limit_remaining" in key_balance:
        status_message += f"Left: {key_balance.get('limit_remaining', 'N/A')}\\n"
    limit = key_balance.get("limit", "Unlimited")
    status_message += f"Limit: {limit}\\n"
    if "is_free_tier" in key_balance:
        status_message += f"Free: {'Yes' if key_balance.get('is_free_tier') else 'No'}\\n"
print(status_message, end="")
print(json.dumps(key_balance, default=str))
"""
    )
    assert out.splitlines()[:4] == ["Used: 0", "Left: 20", "Limit: 20", "Free: No"]
    written = json.loads(out.splitlines()[-1])
    assert list(written) == ["label", "limit", "usage", "limit_remaining", "is_free_tier"]


def test_a_balance_that_cannot_be_had_is_told_and_not_raised(run: Scripts) -> None:
    program = """
from cost_tracker import get_key_balance

found = get_key_balance(api_key="not-a-key-of-anybody", base_url="https://openrouter.ai/api/v1")
print("error" in found, "message" in found, found.get("usage", "N/A"))
found = get_key_balance()
print("error" in found, found.get("limit_remaining", "N/A"))
"""
    assert run(program, OPENROUTER_API_KEY="", OPENROUTER_MGMT_KEY="") == "True True N/A\nTrue N/A\n"


def test_the_credits_of_a_key(run: Scripts) -> None:
    out = run(
        """
import os
import requests
from cost_tracker import check_credits, to_json

found = check_credits(os.environ["OPENROUTER_API_KEY"])
data = found["data"]
print(data["label"] != "", data["usage"], data["limit"], data["is_free_tier"])
print(data["rate_limit"]["requests"], data["rate_limit"]["interval"])
raw = requests.get(
    "https://openrouter.ai/api/v1/auth/key",
    headers={"Authorization": f"Bearer {os.environ['OPENROUTER_API_KEY']}"},
).json()
print(raw["data"].keys() <= data.keys())
print(to_json(found))
"""
    )
    first, second, third, written = out.splitlines()
    assert (first, second, third) == ("True 0 None False", "-1 10s", "True")
    assert exact_json(written)["data"]["usage"] == 0


def test_a_probe_of_the_key_and_of_the_usage_of_a_call(run: Scripts) -> None:
    out = run(
        """
import json
import os

import requests
from openai import OpenAI


def probe_key():
    api_key = os.getenv("OPENROUTER_API_KEY")
    response = requests.get("https://openrouter.ai/api/v1/key", headers={"Authorization": f"Bearer {api_key}"})
    print(response.status_code)
    print(json.dumps(response.json(), indent=2))


def probe_usage():
    client = OpenAI(api_key=os.getenv("OPENROUTER_API_KEY"), base_url="https://openrouter.ai/api/v1")
    response = client.chat.completions.create(
        model="google/gemini-2.0-flash-001",
        messages=[{"role": "user", "content": "Good morning."}],
        max_tokens=50,
        temperature=0.1,
    )
    usage = response.usage if hasattr(response, "usage") else None
    print(getattr(usage, "prompt_tokens", "?"), getattr(usage, "total_tokens", "?"), "usage" in dir(response))


probe_key()
probe_usage()
"""
    )
    assert out.startswith("200\n{")
    assert re.search(r"^\d+ \d+ True$", out, re.MULTILINE)


def test_keys_are_made_and_listed(run: Scripts, account: Account) -> None:
    # The secret stands beside `data`, which is where OpenRouter puts it; some guides look for it inside.
    out = run(
        """
import os, requests

place = "https://openrouter.ai/api/v1/keys"
manager = {"Authorization": "Bearer " + os.environ["OPENROUTER_MGMT_KEY"]}
made = requests.post(place, headers=manager, json={"name": "night-shift", "limit": 12.5})
print(made.status_code, bool(made.json()["key"]), made.json()["data"]["name"])
for one in requests.get(place, headers=manager).json().get("data", []):
    print(f"{one['name']}: ${one.get('usage', 0):.4f} of ${one.get('limit', 'unlimited')}")
"""
    )
    assert "201 True night-shift" in out
    assert "night-shift: $0.0000 of $12.5" in out
    assert account.keys[-1].limit == Decimal("12.5")


# -- calls by other means --------------------------------------------------------------------------------------------


def test_a_task_is_put_in_a_category_as_json(run: Scripts, account: Account) -> None:
    program = """
import json
import os
from openai import OpenAI
from cost_tracker import track_cost


@track_cost
def complete(client, model, messages):
    return client.chat.completions.create(
        model=model, messages=messages, max_tokens=200, temperature=0.1, response_format={"type": "json_object"}
    )


def categorize(description: str, model: str = "google/gemini-2.0-flash-001"):
    client = OpenAI(api_key=os.getenv("OPENROUTER_API_KEY"), base_url="https://openrouter.ai/api/v1")
    messages = [
        {"role": "system", "content": "Sort what you are told."},
        {"role": "user", "content": f"Where does this belong: {description}"},
    ]
    response = complete(client, model, messages)
    counts = None
    if hasattr(response, "usage"):
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        counts = {name: getattr(response.usage, name, 0) for name in names}
    said = json.loads(response.choices[0].message.content)
    return said.get("category", ""), counts


category, usage = categorize("water the plants")
print(json.dumps(usage))
"""
    usage = run.json(program)
    (entry,) = run.ledger
    assert (entry.prompt_tokens, entry.total_tokens) == (usage["prompt_tokens"], usage["total_tokens"])
    assert entry.cost == account.bill > 0


def test_usage_comes_with_the_answer(run: Scripts, account: Account) -> None:
    out = run(
        """
import os
import requests
from cost_tracker import track_cost

OPENROUTER_API_KEY = os.environ.get("OPENROUTER_API_KEY")


@track_cost
def ask(messages: list, model: str = "anthropic/claude-sonnet-4") -> dict:
    response = requests.post(
        "https://openrouter.ai/api/v1/chat/completions",
        headers={
            "Authorization": f"Bearer {OPENROUTER_API_KEY}",
            "Content-Type": "application/json",
            "HTTP-Referer": "https://app.example",
            "X-Title": "An app",
        },
        json={"model": model, "messages": messages, "usage": {"include": True}},
    )
    return response.json()


result = ask([{"role": "user", "content": "Where is the Louvre?"}])
if "usage" in result:
    usage = result["usage"]
    print(usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens"), usage.get("cost"))
"""
    )
    assert Decimal(out.split()[-1]) == account.bill > 0
    assert [entry.cost for entry in run.ledger] == [account.bill]


@pytest.mark.parametrize("usage_chunk", ["repeated_finish", "empty_choices", "with_finish"])
def test_usage_comes_with_the_last_chunk_of_a_stream(run: Scripts, account: Account, usage_chunk: str) -> None:
    account.reply.stream.usage_chunk = usage_chunk
    out = run(
        """
import os
from openai import OpenAI
from cost_tracker import CostSession, track_cost

client = OpenAI(base_url="https://openrouter.ai/api/v1", api_key=os.environ.get("OPENROUTER_API_KEY"))


@track_cost
def begin(messages, model):
    return client.chat.completions.create(
        model=model, messages=messages, extra_body={"usage": {"include": True}}, stream=True
    )


def stream(messages: list, model: str = "anthropic/claude-sonnet-4"):
    used = None
    for chunk in begin(messages, model):
        if hasattr(chunk, "usage") and chunk.usage:
            if hasattr(chunk.usage, "total_tokens"):
                used = {"total_tokens": chunk.usage.total_tokens, "cost": getattr(chunk.usage, "cost", None)}
                assert chunk.usage.prompt_tokens + chunk.usage.completion_tokens == used["total_tokens"]
        elif chunk.choices and (piece := chunk.choices[0].delta.content):
            print(piece, end="", flush=True)
    print()
    return used


with CostSession(name="haiku") as session:
    usage = stream([{"role": "user", "content": "Three lines on rain."}])
if usage:
    print(usage["total_tokens"])
    print(usage["cost"])
print(f"{session.total_cost:.6f}")
"""
    )
    *_, cost, counted = out.splitlines()
    assert Decimal(cost) == Decimal(counted) == account.bill > 0
    assert run.ledger[0].session == "haiku"


def test_cheap_variants_and_a_model_for_each_task(run: Scripts, account: Account, sandbox: Sandbox) -> None:
    out = run(
        """
import os
from openai import OpenAI
from cost_tracker import ROUTING

client = OpenAI(
    base_url="https://openrouter.ai/api/v1",
    api_key=os.environ["OPENROUTER_API_KEY"],
    default_headers={"HTTP-Referer": "https://app.example", "X-Title": "app"},
)
for model, most in (("anthropic/claude-3.5-sonnet:floor", 500), ("google/gemma-2-9b-it:free", 100)):
    response = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Sum this up."}], max_tokens=most
    )
    print(response.choices[0].message.content)
for task in ("classification", "summarization", "code_generation", "simple_qa"):
    client.chat.completions.create(
        model=ROUTING[task], messages=[{"role": "user", "content": "Go."}], max_tokens=50
    )
"""
    )
    assert len(out.splitlines()) == 2
    assert len(account.generations) == sandbox.calls("/chat/completions") == 6


# -- looking a call up -----------------------------------------------------------------------------------------------

ANALYSIS = """
import os
import time
import requests
from cost_tracker import get_generation_stats

OPENROUTER_API_KEY = os.environ.get("OPENROUTER_API_KEY")


def ask(messages: list, model: str = "anthropic/claude-sonnet-4") -> dict:
    response = requests.post(
        "https://openrouter.ai/api/v1/chat/completions",
        headers={"Authorization": f"Bearer {OPENROUTER_API_KEY}", "Content-Type": "application/json"},
        json={"model": model, "messages": messages},
    )
    return response.json()


def analyse(messages: list, model: str = "anthropic/claude-sonnet-4") -> dict:
    response = ask(messages, model)
    if "id" not in response:
        return {"response": response, "stats": None, "error": "no id"}
    stats = get_generation_stats(response["id"], max_retries=3, delay=0.1)
    return {"response": response, "stats": stats}


result = analyse([{"role": "user", "content": "What is a qubit?"}])
print(result["response"]["choices"][0]["message"]["content"])
if result["stats"] and "data" in result["stats"]:
    data = result["stats"]["data"]
    print(f"Model {data.get('model')} of {data.get('provider_name')}")
    print(f"Total ${data.get('total_cost', 0):.6f}, saved ${data.get('cache_discount', 0):.6f}")
    print(f"Native {data.get('native_tokens_prompt')} and {data.get('native_tokens_completion')}")
    print(f"Thought {data.get('native_tokens_reasoning', 0)}, cached {data.get('native_tokens_cached', 0)}")
    print(f"{data.get('latency')}ms, {data.get('generation_time')}ms")
    print(data["upstream_id"], data["native_finish_reason"], data["is_byok"], data["api_type"], data["num_search_results"])
print(get_generation_stats("gen-of-nobody", max_retries=2, delay=0.01))
"""


def test_a_call_is_analysed_by_its_id(run: Scripts, account: Account, sandbox: Sandbox) -> None:
    account.generation_lag_requests = 1
    a_discount(sandbox)
    said, model, money, native, thought, times, others, nobody = run(ANALYSIS).splitlines()
    (generation,) = account.generations.values()
    assert (said, model) == ("Hello from the sandbox.", "Model anthropic/claude-sonnet-4 of Anthropic")
    assert money == f"Total ${account.bill:.6f}, saved $0.000200"
    assert native == f"Native {generation.prompt_tokens} and {generation.completion_tokens}"
    assert (thought, times) == ("Thought 0, cached 3", "312ms, 1240ms")
    assert others.endswith("stop False completions None")
    assert nobody == "None"


# -- the class of a guide --------------------------------------------------------------------------------------------


def test_the_tracker_of_a_guide(run: Scripts, account: Account, sandbox: Sandbox) -> None:
    out = run(
        """
from cost_tracker import OpenRouterCostTracker

if __name__ == "__main__":
    tracker = OpenRouterCostTracker()
    result1 = tracker.chat(
        messages=[{"role": "user", "content": "How much is 3 + 4?"}], model="anthropic/claude-sonnet-4"
    )
    print(f"1: {result1['choices'][0]['message']['content']}")
    result2 = tracker.chat(
        messages=[{"role": "user", "content": "Rhyme on loops."}], model="openai/gpt-4o", temperature=0.5, max_tokens=40
    )
    print(f"2: {result2['choices'][0]['message']['content']}")
    tracker.print_summary()
    tracker.export_history("cost_history.json")
"""
    )
    assert out.startswith("1: Hello from the sandbox.\n2: Hello from the sandbox.\n")
    assert "COST SUMMARY" in out and "Total Calls: 2" in out
    assert "anthropic/claude-sonnet-4: $" in out and "openai/gpt-4o: $" in out
    history = exact_json((run.folder / "cost_history.json").read_text())
    assert sum(record["cost_usd"] for record in history) == account.bill
    names = {"generation_id", "model", "timestamp", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd",
             "cache_discount", "provider", "latency_ms"}  # fmt: skip
    assert all(names <= record.keys() for record in history)
    assert all(request.json().keys() <= {"model", "messages", "temperature", "max_tokens"}
               for request in sandbox.received("/chat/completions"))  # fmt: skip


def test_every_name_of_the_tracker_of_a_guide(run: Scripts, account: Account, sandbox: Sandbox) -> None:
    a_discount(sandbox)
    out = run(
        """
import json
import os
from dataclasses import asdict
from typing import List, Optional
from cost_tracker import CostRecord, OpenRouterCostTracker

tracker = OpenRouterCostTracker(os.environ["OPENROUTER_API_KEY"])
silent = tracker.chat([{"role": "user", "content": "One"}], "openai/gpt-4o", track_usage=False)
print(len(tracker.cost_history), tracker.get_total_cost())
result = tracker.chat([{"role": "user", "content": "Two"}], "openai/gpt-4o", track_usage=True)

stats: Optional[dict] = tracker.get_generation_stats(silent["id"], retries=3)
if stats and "data" in stats:
    data = stats["data"]
    print(data.get("id", "?") == silent["id"], data.get("provider_name", "unknown"), f"{data['total_cost']:.6f}")
print(tracker.get_generation_stats("gen-of-nobody", retries=1))

record = tracker.record_from_generation(silent["id"])
if record is not None:
    print(record.generation_id == silent["id"], record.provider, record.latency_ms, f"{record.cache_discount:.4f}")
    print(record.prompt_tokens + record.completion_tokens == record.total_tokens, f"{record.cost_usd:.6f}")

history: List[CostRecord] = tracker.cost_history
print(sum(r.cost_usd for r in history) == tracker.get_total_cost())
costs = {}
for r in tracker.cost_history:
    costs[r.model] = costs.get(r.model, 0) + r.cost_usd
print(costs == tracker.get_cost_by_model())
print(asdict(history[-1]) == history[-1].to_dict(), isinstance(history[0], CostRecord))
print(json.dumps([r.to_dict() for r in tracker.cost_history], indent=2, default=str).count("generation_id"))
"""
    )
    lines = out.splitlines()
    one = account.bill / 2
    assert lines == [
        "0 0", f"True OpenAI {one:.6f}", "None", "True OpenAI 312 0.0002", f"True {one:.6f}", "True", "True",
        "True True", "2",
    ]  # fmt: skip
    assert len({entry.id for entry in run.ledger if hasattr(entry, "cost")}) == 2


def test_a_discount_that_openrouter_does_not_know_is_none(run: Scripts, sandbox: Sandbox) -> None:
    # OpenRouter sends null where no cache had a part in the call; `or 0` is what the guides leave out.
    a_discount(sandbox, None)
    program = ANALYSIS.replace("data.get('cache_discount', 0)", "data.get('cache_discount') or 0")
    assert "saved $0.000000" in run(program)


# -- a budget --------------------------------------------------------------------------------------------------------


def test_the_budget_of_a_guide(run: Scripts, account: Account, sandbox: Sandbox) -> None:
    out = run(
        """
import os, time, requests
from openai import OpenAI
from cost_tracker import BudgetEnforcer

client = OpenAI(base_url="https://openrouter.ai/api/v1", api_key=os.environ["OPENROUTER_API_KEY"])
budget = BudgetEnforcer(daily_limit=25.0, per_request_limit=1.0)
print(f"{budget.daily_limit:.2f} {budget.per_request_limit:.2f}")

estimated = budget.estimate_cost("openai/gpt-4o-mini", 1000, 500)
print(f"{estimated:.6f}", estimated > budget.per_request_limit)
for model, most in (("openai/gpt-4o-mini", 500), ("anthropic/claude-3.5-sonnet", 500_000), ("openai/no-such", 10)):
    try:
        budget.check_budget(model, 1000, most)
    except ValueError as e:
        print("refused", type(e).__name__)
    else:
        response = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=most
        )
        print(f"{budget.record_cost(response.id):.9f}")
budget.daily_limit = 0.000001
try:
    budget.check_budget("openai/gpt-4o-mini", 1000, 500)
except ValueError as e:
    print("daily" in str(e))
"""
    )
    limits, estimated, cost, *refused = out.splitlines()
    assert (limits, estimated) == ("25.00 1.00", "0.000450 False")
    assert Decimal(cost) == account.bill > 0
    assert [line.split()[0] for line in refused] == ["refused", "refused", "True"]
    assert sandbox.calls("/chat/completions") == 1
    assert [entry.cost for entry in run.ledger] == [account.bill]


def test_a_missing_key_is_the_value_error_of_a_guide(run: Scripts) -> None:
    program = """
from cost_tracker import OpenRouterCostTracker

try:
    OpenRouterCostTracker().chat([{"role": "user", "content": "Hello"}])
except ValueError as error:
    print("OPENROUTER_API_KEY" in str(error))
"""
    assert run(program, OPENROUTER_API_KEY="", OPENROUTER_MGMT_KEY="") == "True\n"


# -- the skill of a guide --------------------------------------------------------------------------------------------


def test_a_call_is_logged_and_summed_up(run: Scripts) -> None:
    out = run(
        """
from cost_tracker import CostTracker

tracker = CostTracker()
tracker.log_usage(
    model="google/gemini-2.0-flash-001",
    prompt_tokens=1500,
    completion_tokens=500,
    cost=0.0025,
    generation_id="gen-of-mine",
)
print(tracker.summary())
"""
    )
    assert "google/gemini-2.0-flash-001: $0.0025" in out
    (entry,) = run.ledger
    assert (entry.id, entry.cost, entry.total_tokens) == ("gen-of-mine", Decimal("0.0025"), 2000)


def test_a_decorator_and_a_session(run: Scripts, account: Account) -> None:
    out = run(
        """
import os
from openai import OpenAI
from cost_tracker import CostSession, track_cost

client = OpenAI(base_url="https://openrouter.ai/api/v1", api_key=os.environ["OPENROUTER_API_KEY"])


@track_cost
def call_api(prompt: str, model: str = "google/gemini-2.0-flash-001"):
    response = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    return response


with CostSession(name="my_task") as session:
    response1 = call_api("one")
    response2 = call_api("two", model="openai/gpt-4o")

print(f"Session cost: ${session.total_cost:.4f}")
print(session.total_cost)
"""
    )
    first, exact = out.splitlines()
    assert (first, Decimal(exact)) == (f"Session cost: ${account.bill:.4f}", account.bill)
    assert [entry.session for entry in run.ledger] == ["my_task", "my_task"]


COMMANDS = [
    ("call --model google/gemini-2.0-flash-001 --prompt 'Hello, all!' --track", "API Key Balance:"),
    ("call --model anthropic/claude-3.5-sonnet --prompt 'A poem' --stream --track", "Cost: $"),
    ("stats --today", "Total Calls: 2"),
    ("stats --month", "  - Output: "),
    ("stats --by-model", "By Model:\n  anthropic/claude-3.5-sonnet: $"),
    ("export --format csv --output report.csv", "report.csv"),
    ("alert --daily-limit 10.0", "no alert"),
    ("clean --before 2024-01-01", "--yes"),
]


def test_every_command_of_a_skill_of_this_kind(run: Scripts, account: Account) -> None:
    skill = copy_skill(run.folder / "skill").parent.parent
    kept = run.environment

    def sh(command: str, **environment: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=skill, env={**kept, **environment}, capture_output=True, encoding="utf-8",
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout + done.stderr

    python = f'"{sys.executable}"'
    for words, told in COMMANDS:
        assert told in sh(f"{python} scripts/cost_tracker.py {words}"), words
    identity = next(iter(account.generations))
    assert "Cost: $" in sh(f"{python} scripts/cost_tracker.py query --id {identity}")
    assert (skill / "report.csv").read_text().startswith("generation_id,model,timestamp,")
    elsewhere = {"OPENROUTER_USAGE_FILE": str(run.folder / "other.jsonl"), "OPENROUTER_MONTHLY_LIMIT": "5"}
    assert "Total Calls: 0" in sh(f"{python} scripts/cost_tracker.py stats --today", **elsewhere)
    out = sh(f"{python} scripts/stats.py")
    assert out.startswith("💰 OpenRouter Usage\nToday: $") and " | Week: $" in out and " | Month: $" in out
    assert "Balance: $" in out


def test_a_ledger_line_of_a_guide_is_read(run: Scripts) -> None:
    folder = run.folder / ".openrouter"
    folder.mkdir()
    (folder / "usage.jsonl").write_text(
        '{"ts":"2025-01-15T10:30:00Z","model":"google/gemini-2.0-flash-001","prompt_tokens":1500,'
        '"completion_tokens":500,"cost":0.0025,"id":"gen-one"}\n'
    )
    program = "from cost_tracker import CostTracker; r = CostTracker().cost_history[0]; print(r.cost_usd, r.timestamp)"
    assert run(program) == "0.0025 2025-01-15T10:30:00+00:00\n"


@pytest.mark.skipif(not all(map(shutil.which, ("sh", "curl", "jq", "bc"))), reason="a POSIX shell with curl, jq and bc")
def test_a_shell_script_that_watches_the_credits(run: Scripts, account: Account) -> None:
    account.keys[0].limit, account.keys[0].usage = Decimal(20), Decimal("17.5")
    program = """
REMAINING=$(curl -s https://openrouter.ai/api/v1/auth/key -H "Authorization: Bearer $OPENROUTER_API_KEY" |
    jq '((.data.limit // 0) - .data.usage)')
if [ "$(echo "$REMAINING < 5.0" | bc -l)" = 1 ]; then echo "low: $REMAINING"; fi
curl -sS -H "Authorization: Bearer $OPENROUTER_MGMT_KEY" https://openrouter.ai/api/v1/activity | jq '.data | type'
""".replace(OFFICIAL, run.sandbox.url)
    done = subprocess.run(["sh", "-c", program], env=run.environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ('low: 2.5\n"array"\n', "")
