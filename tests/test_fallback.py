"""The curl commands of SKILL.md and references/curl.md give the figures that stats.py gives, and show the key to nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.documents import fallback_script
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Fault, Sandbox, demo_account

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("references/curl.md", "SKILL.md")
WITH_JQ = ("references/curl.md",)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are written for a POSIX shell")
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(demo_account()) as sandbox:
        yield sandbox


def script(name: str, url: str, *, with_jq: bool) -> str:
    return fallback_script((ROOT / name).read_text(encoding="utf-8"), url, with_jq=with_jq)


def run(command: list[str], sandbox: Sandbox, home: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command with both keys, which only the sandbox knows, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
    keys = {"OPENROUTER_BASE_URL": sandbox.url, "OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    environment = {**kept, **keys, "HOME": str(home), "PATH": path + os.environ["PATH"], "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")


def documents_in(text: str) -> list[Any]:
    """The JSON documents that stand one after the other, with exact numbers."""
    decoder, found, text = json.JSONDecoder(parse_float=Decimal), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def figures(sandbox: Sandbox, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The key's totals and the account's models, as stats.py tells them."""
    ended = run([sys.executable, "scripts/stats.py", "--json", "--top", "100"], sandbox, home)
    data = json.loads(ended.stdout, parse_float=Decimal)["data"]
    names = {"today": "usage_daily", "week": "usage_weekly", "month": "usage_monthly"}
    totals = {theirs: data[ours]["usage_usd"] for ours, theirs in names.items()}
    totals["limit_remaining"] = data["key_limit"]["remaining_usd"]
    rows = data["breakdown"]["rows"]
    assert len(rows) > 5
    assert all(totals.values())
    return totals, {row["name"]: (row["usage_usd"], row["byok_usd"], row["requests"]) for row in rows}


@needs_curl
@needs_jq
@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("name", WITH_JQ)
def test_with_jq_the_figures_are_those_of_the_program(name, shell, sandbox, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    ended = run([shell, "-c", script(name, sandbox.url, with_jq=True)], sandbox, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    totals, rows = documents_in(ended.stdout)
    models = {row["model"]: (row["usd"], row["byok_usd"], row["requests"]) for row in rows}
    assert (totals, models) == figures(sandbox, tmp_path)


@needs_curl
@pytest.mark.parametrize("name", DOCUMENTS)
def test_without_jq_the_answers_hold_the_figures_of_the_program(name, sandbox, tmp_path):
    ended = run(["sh", "-c", script(name, sandbox.url, with_jq=False)], sandbox, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    key, activity = (answer["data"] for answer in documents_in(ended.stdout))
    totals, models = figures(sandbox, tmp_path)
    assert {name: key[name] for name in totals} == totals
    first_day = str(datetime.now(timezone.utc).date() - timedelta(days=7))
    sums = defaultdict(lambda: [Decimal(0), Decimal(0), 0])
    for row in activity:
        if row["date"][:10] >= first_day:
            for place, field in enumerate(("usage", "byok_usage_inference", "requests")):
                sums[row["model"]][place] += row[field]
    assert {model: tuple(values) for model, values in sums.items()} == models


@needs_curl
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_key_stands_in_an_argument_of_any_process(name, sandbox, tmp_path):
    """A `curl` that notes its arguments runs in place of the real one; a `printf` that is no builtin would fail."""
    tools, noted = tmp_path / "tools", tmp_path / "arguments"
    tools.mkdir()
    (tools / "curl").write_text(f'#!/bin/sh\necho "$@" >> "{noted}"\nexec "{shutil.which("curl")}" "$@"\n')
    (tools / "printf").write_text("#!/bin/sh\nexit 1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    plain = script(name, sandbox.url, with_jq=False)
    ended = run(["sh", "-c", plain], sandbox, tmp_path, path=f"{tools}:")
    assert len(documents_in(ended.stdout)) == 2
    assert len(noted.read_text().splitlines()) == 2
    for key in (DEMO_KEY, DEMO_MGMT_KEY):
        assert key not in noted.read_text() + plain + ended.stdout


@needs_curl
@needs_jq
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_refused_key_shows_as_an_error_and_not_as_figures(name, tmp_path):
    with Sandbox(demo_account()) as sandbox:
        sandbox.misbehave("*", Fault.status(401))
        ended = run(["sh", "-c", script(name, sandbox.url, with_jq=name in WITH_JQ)], sandbox, tmp_path)
    assert ended.stdout == ""
    assert ended.stderr.count("401") == 2


@pytest.mark.parametrize("text", ["", "```sh\ncurl https://openrouter.ai/api/v1/key | jq .\n```\n", "curl"])
def test_a_document_without_both_commands_is_an_error(text):
    with pytest.raises(ValueError, match="two curl commands"):
        fallback_script(text)
