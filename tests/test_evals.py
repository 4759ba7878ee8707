"""The evals can be met, can be failed, and ask for what the skill is for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import evals

EVALS: list[dict[str, Any]] = evals.load("evals.json")["evals"]
QUERIES: list[dict[str, Any]] = evals.load("trigger_queries.json")
NAMES = [one["name"] for one in EVALS]
each = pytest.mark.parametrize("one", EVALS, ids=NAMES)


@each
def test_the_expected_commands_give_the_expected_output(one: dict[str, Any]) -> None:
    assert list(evals.run(one)) == []


@each
def test_a_good_relay_meets_every_assertion_and_a_mistaken_one_does_not(one: dict[str, Any]) -> None:
    assert evals.failed(one, "relay", one["expected_output"]) == []
    assert evals.failed(one, "relay", one["mistake"]) != []


@each
def test_no_assertion_about_the_output_holds_for_any_output(one: dict[str, Any]) -> None:
    told = [told for told in one["assertions"] if told["in"] == "output"]
    assert len(told) >= 2
    assert all({"matches", "lacks"} & set(assertion) for assertion in told)
    assert [assertion for assertion in told if "matches" in assertion and evals.holds(assertion, "Done.\n")] == []


def test_every_case_that_an_assistant_gets_wrong_easily_is_there() -> None:
    wanted = {"no key", "inference key only", "both keys", "over budget", "offline", "hostile key label"}
    assert wanted | {"why do the numbers differ", "which model should I use instead"} <= set(NAMES)
    assert [one["id"] for one in EVALS] == list(range(1, len(EVALS) + 1))
    parts = {"id", "name", "prompt", "setup", "commands", "not_asked", "expected_output", "mistake", "assertions"}
    assert [set(one) - parts for one in EVALS if set(one) | {"not_asked"} != parts] == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"commands": [{"run": 'python3 "{baseDir}/scripts/stats.py"', "exit_code": 2}]}, "exit code 0 in place of 2"),
    ({"assertions": [{"text": "says so", "in": "output", "matches": "Tomorrow:"}]}, "says so"),
    ({"assertions": [{"text": "lacks it", "in": "output", "lacks": "Today:"}]}, "lacks it"),
    ({"not_asked": ["GET /credits"]}, "asked GET /credits"),
    ({"not_asked": ["GET /act*"]}, "asked GET /act*"),
    ({"setup": {"keys": [], "before": ['python3 "{baseDir}/scripts/stats.py"']}}, "could not be prepared"),
]


@pytest.mark.parametrize(("change", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_an_eval_that_does_not_hold_is_noticed(change: dict[str, Any], problem: str) -> None:
    (usual,) = [one for one in EVALS if one["name"] == "both keys"]
    assert any(found.startswith(problem) for found in evals.run({**usual, **change}))


def test_every_command_quotes_its_path_so_that_the_folder_may_have_a_blank_in_its_name(monkeypatch) -> None:
    monkeypatch.setattr(evals, "ROOT", Path("/a folder/it's"))
    commands = [each["run"] for one in EVALS for each in one["commands"]]
    commands += [each for one in EVALS for each in one["setup"].get("before", [])]
    assert len(commands) > 10
    for command in commands:
        assert evals.words_of(command)[1].startswith("/a folder/it's/scripts/"), command


def test_a_command_that_is_none_of_the_skill_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a command of the skill"):
        evals.words_of("curl https://openrouter.ai")


def test_a_relay_in_a_file_is_judged(tmp_path, capsys) -> None:
    for part, code in (("expected_output", 0), ("mistake", 1)):
        (tmp_path / "said.txt").write_text(EVALS[2][part], encoding="utf-8")
        assert evals.main(["--relay", "3", str(tmp_path / "said.txt")]) == code
    assert "Does not add BYOK to credits" in capsys.readouterr().out


def test_twenty_queries_say_when_the_skill_is_meant_and_when_not() -> None:
    assert [set(one) for one in QUERIES] == [{"query", "should_trigger"}] * 20
    assert len({one["query"].lower() for one in QUERIES}) == 20
    meant = [one["query"].lower() for one in QUERIES if one["should_trigger"] is True]
    other = [one["query"].lower() for one in QUERIES if one["should_trigger"] is False]
    assert (len(meant), len(other)) == (10, 10)
    # A label that one word decides would test nothing: some of either kind name OpenRouter, some of either kind do not.
    for queries in (meant, other):
        assert 0 < len([query for query in queries if "openrouter" in query]) < 10
    assert [query for query in meant if re.search(r"\bskill\b|openrouter-usage", query)] == []


def test_no_eval_holds_a_key() -> None:
    assert not re.search(r"sk-or-", json.dumps([EVALS, QUERIES]))
