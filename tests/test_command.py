"""One command stands for the three programs, and names itself in all that it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import openrouter_usage
from tests.running import ROOT, Stats
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account

# One process runs them all, as each would be a start of Python.
RUNS = """
import contextlib, io, json, sys
from openrouter_usage.called import call_by
call_by("openrouter-usage")
from openrouter_usage.cli.command import main
from openrouter_usage.cli.program import run
for argv in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run("openrouter-usage", main, argv)
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
VERBS = ["stats", "report", "export", "import", "query", "call", "budget", "settle", "reconcile", "credits", "keys", "cap", "models",
         "what-if", "alert", "sync", "doctor", "clean"]  # fmt: skip


def run_all(home: Path, url: str, *runs: list[str], key: str = DEMO_KEY) -> list[tuple[int, str, str]]:
    """The exit code, output and errors of each of these command lines."""
    environment = Stats(home, url).environment(key=key, mgmt=DEMO_MGMT_KEY, env={"PYTHONPATH": str(ROOT / "scripts")})
    ended = subprocess.run(
        [sys.executable, "-c", RUNS], env=environment, input=json.dumps(runs), capture_output=True, encoding="utf-8", timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return [tuple(json.loads(line)) for line in ended.stdout.splitlines()]


def test_the_command_is_the_summary_the_tracker_and_the_gateway(tmp_path: Path) -> None:
    with Sandbox(demo_account()) as sandbox:
        summary, month, tracked, budget, key, unit, status, gateway = run_all(
            tmp_path, sandbox.url, [], ["--month", "--json"], ["stats"], ["budget", "--json"],
            ["gateway", "key", "list"], ["gateway", "unit", "systemd"], ["gateway", "status"], ["gateway", "--help"],
        )  # fmt: skip
    assert summary[0] == 0 and "Today: $4.55*" in summary[1] and "• anthropic/claude-sonnet-4.5: $21.70 (840)" in summary[1]
    assert json.loads(month[1])["kind"] == "summary"
    assert tracked[0] == 0 and tracked[1].startswith("OpenRouter Cost Statistics")
    assert json.loads(budget[1])["kind"] == "budget"
    assert key[:2] == (0, "No gateway keys: gateway key add NAME makes one.\n")
    assert f'ExecStart="{sys.executable}" "{ROOT / "scripts" / "gateway.py"}"' in unit[1]
    assert status[::2] == (3, "openrouter-usage: no gateway runs here -- start one: openrouter-usage gateway\n")
    assert gateway[1].startswith("usage: openrouter-usage gateway [-h]")


def test_help_hints_and_errors_name_the_command_and_no_script(tmp_path: Path) -> None:
    words = [["--help"], ["help"], ["-h"], ["help", "gateway"], ["help", "completion"], ["gateway", "status", "--help"], *(["help", verb] for verb in VERBS)]
    wrong = [["stast"], ["--trend"], ["stats", "--by", "key"], ["sync", "--dayly"], ["--versoin"], ["gateway", "set"],
             ["completion", "csh"], ["completion", "bash"],
             ["stats", "--source", "account"], ["clean", "--befor", "2026-01-01"]]  # fmt: skip
    told = run_all(tmp_path, "http://127.0.0.1:9", *words, *wrong, key="")
    for argv, (code, out, err) in zip([*words, *wrong], told, strict=True):
        assert code == (0 if argv in words else 2), (argv, err)
        assert not re.search(r"(?:stats|cost_tracker|gateway)\.py", out + err), argv
        # The purpose of the helps is to be pasted: each example begins with the command, after an assignment or a pipe.
        examples = out.partition("examples:\n")[2].partition("\n\n")[0].splitlines()
        assert bool(examples) == (argv in words) and all("openrouter-usage" in line for line in examples), (argv, examples)
        assert argv in words or err.startswith("openrouter-usage"), err
    assert told[0] == told[1] == told[2]
    errors = [err for code, _, err in told if code]
    assert errors[0].endswith("unknown command: stast -- did you mean stats?\n")
    assert "--trend is an option of openrouter-usage stats" in errors[1]
    assert "invalid choice: 'csh'" in errors[6]
    assert "comes with the Python package only -- pip install openrouter-usage" in errors[7]
    assert "run: openrouter-usage sync" in errors[8]


def test_the_package_has_the_names_of_the_library_and_loads_them_late() -> None:
    import cost_tracker

    assert sorted(openrouter_usage.__all__) == sorted(cost_tracker.__all__)
    assert [name for name in cost_tracker.__all__ if getattr(openrouter_usage, name) is not getattr(cost_tracker, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'Tracker'"):
        _ = openrouter_usage.Tracker  # type: ignore[attr-defined]
    loads = "import sys; import openrouter_usage as o; late = set(sys.modules); o.BudgetExceeded; print(sorted(m for m in late if m.startswith('openrouter_usage')))"
    shown = subprocess.run([sys.executable, "-c", loads], env={"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True)
    assert shown.stdout == "['openrouter_usage']\n", shown.stderr


def test_the_package_needs_what_the_skill_needs_and_takes_its_version_from_one_place() -> None:
    told = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^\[tool\.hatch\.version\]\npath = "(.*)"$', told, re.MULTILINE)
    assert version and "VERSION = " in (ROOT / version[1]).read_text(encoding="utf-8")
    assert not re.search(r'^version = ', told, re.MULTILINE)

    def needed(text: str) -> set[str]:
        return set(re.findall(r"^([\w-]+>=[\d.]+|tzdata.*)$", text.replace('"', "'"), re.MULTILINE))

    def listed(name: str) -> set[str]:
        found: Any = re.search(rf"^{name} = \[(.*)\]$", told, re.MULTILINE)
        return {word.strip('"') for word in re.findall(r'"[^"]+"', found[1])}

    assert listed("dependencies") == needed((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert '"psycopg[binary,pool]>=3.2"' in told and "psycopg[binary,pool]>=3.2" in (ROOT / "requirements-team.txt").read_text()
    assert listed("gateway") == needed((ROOT / "requirements-gateway.txt").read_text(encoding="utf-8"))
