"""The documents say what the program does: options, fields, paths, commands and versions; each checker can fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.cli.summary import parser
from openrouter_usage.credentials import NAMES, find_credentials
from openrouter_usage.render.table import COLUMNS
from openrouter_usage.version import VERSION
from tests import documents as docs
from tests.sandbox import (
    DEMO_KEY,
    DEMO_MGMT_KEY,
    INFERENCE_KEY,
    MANAGEMENT_KEY,
    Account,
    Budget,
    Fault,
    Sandbox,
    demo_account,
)
from tests.write_docs import BEGIN, END, PRINTS_THE_SAME, printed_help, with_help

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "stats.py"
NAMED = ("README.md", "SKILL.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMED} | {
    f"references/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "references").glob("*.md")
}
README, SKILL, CLI_TEXT = TEXTS["README.md"], TEXTS["SKILL.md"], TEXTS["references/cli.md"]
FLAGS = {flag for action in parser()._actions for flag in action.option_strings if flag.startswith("--")}


def parse(words: list[str]) -> object:
    """Parses as the program does; `--help` and `--version` end it, which is no error."""
    try:
        return parser().parse_args(words)
    except SystemExit as ended:
        assert not ended.code
        return None


# -- help --


@pytest.mark.skipif(not PRINTS_THE_SAME, reason="Python 3.13 and newer wrap the usage line in another way")
def test_the_help_in_the_reference_is_what_the_program_prints():
    assert with_help(CLI_TEXT, printed_help()) == CLI_TEXT, "run: make docs"


def test_a_help_that_has_changed_is_noticed():
    assert with_help(CLI_TEXT, "usage: stats.py [--other]") != CLI_TEXT


@pytest.mark.parametrize("text", ["", BEGIN, END, BEGIN + BEGIN + END])
def test_a_reference_without_both_markers_is_an_error(text):
    with pytest.raises(ValueError, match="both markers"):
        with_help(text, "usage")


# -- options and commands --


def test_every_option_in_a_document_exists_and_every_option_is_documented():
    assert docs.wrong_flags(TEXTS, FLAGS, PROGRAM) == []


def test_the_readme_and_the_reference_each_tell_of_every_option():
    for name in ("README.md", "references/cli.md"):
        assert [flag for flag in sorted(FLAGS) if flag not in TEXTS[name]] == [], name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("`--json` `--colour`", "a.md: stats.py has no --colour"),
        ("`--json` `python3 {baseDir}/scripts/stats.py --colour=red`", "a.md: stats.py has no --colour"),
        ("`--json`\n```sh\nstats.py --colour red\n```\n", "a.md: stats.py has no --colour"),
        ("```sh\ntrue && x/stats.py --json \\\n --colour | jq --sort\n```\n", "a.md: stats.py has no --colour"),
        ("`curl --json`", "found no options to check"),
        ("`--days 3`", "no document tells of --json"),
    ],
)
def test_an_option_only_one_side_knows_is_noticed(text, problem):
    assert problem in docs.wrong_flags({"a.md": text}, {"--json", "--days"}, PROGRAM)


def test_every_command_in_a_document_is_one_the_program_takes():
    assert docs.wrong_commands(TEXTS, parse, PROGRAM) == []


@pytest.mark.parametrize("arguments", ["--days 31", "--by session", "--json --line", "--top", "today"])
def test_a_command_that_the_program_turns_down_is_noticed(arguments):
    text = f"```sh\npython3 scripts/stats.py {arguments}\n```\n"
    assert len(docs.wrong_commands({"a.md": text}, parse, PROGRAM)) == 1


def test_no_command_at_all_is_noticed():
    assert docs.wrong_commands({"a.md": "none"}, parse, PROGRAM) == ["found no commands to check"]


@pytest.fixture(scope="module")
def is_shell() -> Callable[[str], bool]:
    shell = shutil.which("bash")
    if os.name == "nt" or not shell:
        pytest.skip("no POSIX shell here to parse the commands with")
    return lambda script: not subprocess.run([shell, "-n"], input=script, text=True, capture_output=True).returncode


def test_every_shell_and_json_block_parses(is_shell):
    assert docs.wrong_scripts(TEXTS, is_shell) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\necho 'unfinished\n```\n", "a.md: no shell can read"),
        ("```sh\ntrue\n```\n```json\n{'a': 1}\n```\n", "a.md: Expecting property name"),
        ("`sh`", "found no shell blocks"),
    ],
)
def test_a_block_that_does_not_parse_is_noticed(is_shell, text, problem):
    assert [found for found in docs.wrong_scripts({"a.md": text}, is_shell) if found.startswith(problem)]


def test_every_make_target_in_a_document_exists_and_every_target_is_documented():
    assert docs.wrong_targets(TEXTS, (ROOT / "Makefile").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("`make tea`", "a.md: no target tea"),
        ("```sh\nmake tea\n```\n", "a.md: no target tea"),
        ("`make tea`", "no document tells of make test"),
        ("make test", "found no targets to check"),
    ],
)
def test_a_target_only_one_side_knows_is_noticed(text, problem):
    assert problem in docs.wrong_targets({"a.md": text}, "test: x ## run the tests\nhidden: x\n")


# -- links, names and versions --


def test_every_link_and_path_in_a_document_exists():
    assert docs.wrong_paths(TEXTS, ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "[x](missing.md)",
        "[x](README.md#no-such-heading)",
        "[x](references/)\n[y](../outside-of-this.md)",
        "`references/missing.md`",
        "`python3 {baseDir}/scripts/missing.py`",
        "`MISSING.md`",
        "```sh\nless tests/missing.py\n```\n",
        "no link",
    ],
)
def test_a_link_or_path_that_leads_nowhere_is_noticed(text):
    assert len(docs.wrong_paths({"a.md": text}, ROOT)) == 1


def test_a_link_is_followed_from_its_own_document():
    assert docs.wrong_paths({"references/a.md": "[x](api.md) [y](../README.md#limits)"}, ROOT) == []
    assert docs.wrong_paths({"a.md": "[x](api.md)"}, ROOT) == ["a.md: no api.md"]


def test_the_version_is_the_same_everywhere():
    assert docs.wrong_versions(VERSION, TEXTS["CHANGELOG.md"], SKILL) == []


@pytest.mark.parametrize(
    ("changelog", "skill"),
    [
        ("## [1.1.0] - 2026-01-01\n", ""),
        ("## [1.2.0] - 2026-01-01\n", 'metadata:\n  version: "1.1.0"\n'),
        ("## [Unreleased]\n\n## [1.1.0]\n## [1.2.0]\n", ""),
        ("", ""),
    ],
)
def test_another_version_is_noticed(changelog, skill):
    assert docs.wrong_versions("1.2.0", changelog, skill)


# Read by cost_tracker.py alone; from the day SKILL.md tells of it, they have to be declared as well.
_NAMES = ("USAGE_FILE", "DAILY_LIMIT", "MONTHLY_LIMIT", "REQUEST_LIMIT", "ALERT_WEBHOOK", "PAGERDUTY_KEY")
PREPARED = {f"OPENROUTER_{name}" for name in _NAMES}


def test_skill_md_declares_exactly_the_variables_that_the_programs_read():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").rglob("*.py")]
    read = set(re.findall(r"\bOPENROUTER_[A-Z_]+\b", "\n".join(sources)))
    if "cost_tracker.py" not in SKILL:
        read -= PREPARED
    declared = set(re.findall(r"^ +- name: (\w+)$", SKILL, re.MULTILINE))
    assert len(read) >= 3
    assert declared == read
    assert [name for name in sorted(read) if f"`{name}`" not in README] == []


def test_skill_md_has_a_small_body_and_block_style_front_matter():
    front, body = SKILL.split("\n---\n", 1)
    assert len(body.encode()) < 3000
    assert not re.search(r"^[^\"'#]*: *[\[{]", front, re.MULTILINE)
    assert "<!--" not in SKILL


def test_the_example_of_a_credentials_file_names_both_keys_and_holds_none(tmp_path):
    example = (ROOT / "credentials.env.example").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)=your-", example, re.MULTILINE) == list(NAMES)
    assert len(re.findall(r"^[^#\n]", example, re.MULTILINE)) == len(NAMES)
    (tmp_path / "credentials.env").write_text(example, encoding="utf-8")
    (tmp_path / "credentials.env").chmod(0o600)
    assert find_credentials({}, None, tmp_path).any is None


# -- what the program prints --


def stats(home: Path, url: str, *arguments: str, key: str = "", mgmt_key: str = "", then: str = "") -> str:
    """What stats.py prints, run as a process; `then` runs another Python text in its place."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
    keys = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": key, "OPENROUTER_MGMT_KEY": mgmt_key}
    environment = {**kept, **keys, "HOME": str(home), "USERPROFILE": str(home), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", then] if then else [sys.executable, "scripts/stats.py"]
    ended = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout


def odd_account() -> Account:
    """A key without a limit that expires, below a budget that never starts anew."""
    account = Account(total_credits=Decimal(10), total_usage=Decimal(1))
    account.budgets.append(Budget("workspace", Decimal(5), Decimal(1), reset_interval=None))
    account.add_key(INFERENCE_KEY, usage=Decimal(1), expires_at=datetime(2099, 1, 1, tzinfo=timezone.utc))
    account.add_key(MANAGEMENT_KEY, is_management_key=True)
    return account


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> list[object]:
    """Answers of every kind, from a local OpenRouter in different moods."""
    home, told = tmp_path_factory.mktemp("home"), []
    with Sandbox(demo_account()) as sandbox:
        both = {"key": DEMO_KEY, "mgmt_key": DEMO_MGMT_KEY}
        told.append(stats(home, sandbox.url, "--json", **both))
        told.append(stats(home, sandbox.url, "--json", key=DEMO_KEY))
        told.append(stats(home, sandbox.url, "--json", mgmt_key=DEMO_MGMT_KEY))
        told.append(stats(home, sandbox.url, "--json"))
        sandbox.misbehave("/key", Fault.status(403))
        told.append(stats(home, sandbox.url, "--json", **both))
        sandbox.misbehave("*", Fault.html())
        told.append(stats(home, sandbox.url, "--json", **both))
    account = odd_account()
    with Sandbox(account) as sandbox:
        both = {"key": INFERENCE_KEY, "mgmt_key": MANAGEMENT_KEY}
        told.append(stats(home, sandbox.url, "--json", **both))
        account.budgets[0].reset_interval = "weekly"
        told.append(stats(home, sandbox.url, "--json", **both))
    return [json.loads(text) for text in told]


def test_every_documented_json_field_is_in_an_answer_and_the_reverse(answers):
    assert docs.wrong_fields(docs.documented_fields(CLI_TEXT), answers) == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("| `a` | USD | no | |", "b[].c is not documented"),
        ("| `z` | USD | no | |", "z is in no answer"),
        ("| `a` | text | no | |", "a is no text: 1"),
        ("| `b[].c` | true/false | no | |", "b[].c can be null"),
        ("| `b[].{c,d}` | true/false | yes | |", "b[].d was never null"),
        ("", "found no documented fields to check"),
    ],
)
def test_a_field_only_one_side_knows_or_knows_otherwise_is_noticed(table, problem):
    documented = docs.documented_fields(f"<!-- fields: begin -->\n{table}\n<!-- fields: end -->")
    assert problem in docs.wrong_fields(documented, [{"a": 1, "b": [{"c": None}, {"c": True, "d": False}]}])


def test_the_csv_columns_in_the_reference_are_the_programs():
    table = CLI_TEXT.partition("| column |")[2]
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    assert tuple(name for cell in cells for name in docs.code(cell)) == COLUMNS


@pytest.mark.parametrize("name", ["README.md", "SKILL.md"])
def test_the_output_shown_in_a_document_is_what_the_program_prints(name, tmp_path):
    sample = next(block for block in docs.fences(TEXTS[name], "text") if "Today:" in block).splitlines()
    now = datetime(2026, 11, 22, 14, 45, tzinfo=timezone.utc)
    program = (
        "import sys; sys.path.insert(0, 'scripts'); from datetime import datetime, timezone;"
        "from openrouter_usage.cli.summary import main;"
        f"sys.exit(main([], clock=lambda: datetime.fromtimestamp({now.timestamp()}, timezone.utc)))"
    )
    with Sandbox(demo_account(now)) as sandbox:
        shown = stats(tmp_path, sandbox.url, key=DEMO_KEY, mgmt_key=DEMO_MGMT_KEY, then=program)
    assert len(sample) >= 3
    assert [line for line in sample if line not in shown.splitlines()] == []
