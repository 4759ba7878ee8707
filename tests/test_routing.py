"""call --task: a table names a model for each task and says why; the user's own choice comes first, prices never."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openrouter.components import CreateGuardrailRequest

from openrouter_usage.cli.cost_tracker import verb_parser
from openrouter_usage.errors import SettingsError
from openrouter_usage.tracker.routing import TABLE, TASKS, route
from tests import documents
from tests.booking import Tracker, TrackerAt
from tests.running import ROOT, exact_json
from tests.sandbox import Account, Sandbox

DOCUMENT = (ROOT / "references" / "cost-controls.md").read_text(encoding="utf-8")
NAMED: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))


def choose(at: TrackerAt, routing: Any) -> Path:
    """Write settings with a routing table."""
    at.tracker.folder.mkdir(exist_ok=True)
    path = at.tracker.folder / "settings.json"
    path.write_text(json.dumps({"routing": routing}))
    return path


def test_the_sandbox_has_the_models_of_the_table(account: Account) -> None:
    assert {entry["model"] for entry in NAMED.values()} <= {model.id for model in account.models}


def test_every_task_has_a_model_and_a_reason_and_no_price() -> None:
    assert tuple(sorted(NAMED)) == tuple(sorted(TASKS))
    for entry in NAMED.values():
        assert set(entry) == {"model", "why"}
        assert re.fullmatch(r"~?[a-z0-9-]+/[a-z0-9.-]+", entry["model"])
        assert entry["why"] and not re.search(r"[$\d]", entry["why"])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_called_on_its_model_and_it_is_said_which_and_why(
    task: str, at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    ran = at(None, "call", "--task", task, "--prompt", "Hello", "--max-tokens", "9", "--json")
    assert ran.code == 0, ran.err
    (sent,) = sandbox.received("/chat/completions")
    assert sent.json()["model"] == NAMED[task]["model"]
    assert NAMED[task]["model"] in ran.err and NAMED[task]["why"] in ran.err
    (generation,) = account.generations.values()
    assert ran.data["usage"]["cost_usd"] == generation.cost == account.bill > 0


def test_the_users_own_choice_comes_first(tracker: Tracker, at: TrackerAt, sandbox: Sandbox) -> None:
    choose(at, {"simple_qa": " mistralai/mistral-small-3.2 ", "translation": "a/b"})
    ran = tracker("call", "--task", "simple_qa", "--prompt", "Hello", "--max-tokens", "9")
    assert ran.code == 0
    assert sandbox.received("/chat/completions")[0].json()["model"] == "mistralai/mistral-small-3.2"
    assert "you chose it in settings.json" in ran.err
    assert route("classification").model == NAMED["classification"]["model"]


@pytest.mark.parametrize(
    "routing",
    [
        [],
        ["a/b"],
        "a/b",
        7,
        True,
        {"simple_qa": 7},
        {"simple_qa": ""},
        {"simple_qa": " "},
        {"simple_qa": ["a/b"]},
        {"simple_qa": {"model": "a/b"}},
    ],
)
def test_a_choice_that_is_none_is_an_error_and_nothing_is_sent(routing: Any, at: TrackerAt, sandbox: Sandbox) -> None:
    choose(at, routing)
    ran = at(None, "call", "--task", "simple_qa", "--prompt", "Hello")
    assert (ran.code, ran.out, sandbox.connections) == (2, "", 0)
    assert ran.error_line


@pytest.mark.parametrize("routing", [None, {}, {"simple_qa": None}, {"unheard_of": "a/b"}])
def test_a_choice_that_is_left_out_is_the_tables(routing: Any, at: TrackerAt, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(at, routing)
    monkeypatch.setenv("HOME", str(at.tracker.home))
    assert route("simple_qa").model == NAMED["simple_qa"]["model"]


def test_a_task_nobody_knows_has_no_model(at: TrackerAt, sandbox: Sandbox) -> None:
    with pytest.raises(SettingsError, match="no model is set for") as raised:
        route("telepathy\n")
    assert "--model" in raised.value.hint and "\n" not in raised.value.message
    assert at(None, "call", "--task", "telepathy", "--prompt", "Hello").code == 2
    assert sandbox.connections == 0


@pytest.mark.parametrize("content", [None, "", "[]", '{"simple_qa": "a/b"}', '{"simple_qa": {"why": "x"}}'])
def test_a_table_that_is_damaged_is_an_error(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "routing.json"
    if content is not None:
        table.write_text(content)
    monkeypatch.setattr("openrouter_usage.tracker.routing.TABLE", table)
    with pytest.raises(SettingsError):
        route("simple_qa")


def test_a_budget_is_bound_by_openrouters_prices_and_not_by_the_table(
    at: TrackerAt, account: Account, sandbox: Sandbox
) -> None:
    for model in account.models:
        if model.id == NAMED["code_generation"]["model"]:
            model.prompt, model.completion = "0.5", "0.5"
    assert at(None, "budget", "set", "--per-request", "1").code == 0
    ran = at(None, "call", "--task", "code_generation", "--prompt", "Hello", "--max-tokens", "9")
    assert (ran.code, sandbox.calls("/chat/completions"), account.bill) == (3, 0, Decimal(0))


# -- the document ----------------------------------------------------------------------------------------------------


def test_every_command_in_the_document_is_one_the_program_takes() -> None:
    found = documents.arguments(DOCUMENT, "cost_tracker.py")
    assert len(found) > 20
    for words in found:
        verb_parser(words[0]).parse_args(words[1:])
    for block in documents.fences(DOCUMENT, "json"):
        assert exact_json(block)


def test_every_example_in_the_document_runs(tracker: Tracker, account: Account) -> None:
    examples = documents.fences(DOCUMENT, "python")
    assert examples
    for example in examples:
        environment = {**tracker.environment({}), "PYTHONPATH": str(ROOT / "scripts")}
        command = [sys.executable, "-W", "error", "-c", example]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert Decimal(done.stdout.strip()) == account.bill


def test_the_guardrail_that_the_document_makes_is_one_that_openrouter_takes() -> None:
    (body,) = re.findall(r"/guardrails\" -d '([^']+)'", DOCUMENT)
    request = CreateGuardrailRequest.model_validate(exact_json(body), strict=False)
    assert (request.limit_usd, request.reset_interval) == (20, "weekly")
