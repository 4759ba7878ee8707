"""The documents say what the programs do: options, fields, files, commands and versions; each checker can fail."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from openrouter_usage.cli import cost_tracker as tracker
from openrouter_usage.cli import gateway, summary
from openrouter_usage.entry import Caps, Entry, Hold, Release, read_line, write_line
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.exchange import COLUMNS as EXPORT_COLUMNS
from openrouter_usage.home.credentials import NAMES, find_credentials
from openrouter_usage.home.settings import VERSION, load_budgets
from openrouter_usage.render.report import COLUMNS as REPORT_COLUMNS
from openrouter_usage.render.table import COLUMNS as SUMMARY_COLUMNS
from tests import documents as docs
from tests import postgres
from tests.json_kinds import every_kind
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Sandbox, demo_account
from tests.write_docs import END, PRINTS_THE_SAME, begin, printed_help, wanted, with_help

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("stats.py", "cost_tracker.py", "gateway.py")
NAMED = ("README.md", "SKILL.md", "AGENTS.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMED} | {
    f"references/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "references").glob("*.md")
}
README, SKILL, JSON_TEXT = TEXTS["README.md"], TEXTS["SKILL.md"], TEXTS["references/json.md"]
STATS_TEXT, TRACKER_TEXT = TEXTS["references/stats.md"], TEXTS["references/cost_tracker.md"]
FILES_TEXT = TEXTS["references/files.md"]
PARSERS = {"stats.py": summary.parser(), "gateway.py": gateway.parser(), **{verb: tracker.verb_parser(verb) for verb in tracker.VERBS}}
FLAGS = {
    name: {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    for name, parser in PARSERS.items()
}
ALL_FLAGS = set().union(*FLAGS.values())


def parse(words: list[str]) -> object:
    """Parse as stats.py does; `--help` and `--version` end it, which is no error."""
    return _parsed("stats.py", words)


def parse_verb(words: list[str]) -> object:
    """Parse as cost_tracker.py does: first the verb, then what is its own."""
    verb = words[0] if words else "--help"
    if verb not in PARSERS:
        return tracker.main(words)
    return _parsed(verb, words[1:])


def _parsed(name: str, words: list[str]) -> object:
    try:
        return PARSERS[name].parse_args(words)
    except SystemExit as ended:
        assert not ended.code
        return None


# -- help --


@pytest.mark.skipif(not PRINTS_THE_SAME, reason="Python 3.13 and newer wrap the usage line in another way")
@pytest.mark.parametrize(("page", "commands"), wanted().items())
def test_the_help_in_the_page_of_a_program_is_what_the_program_prints(page, commands):
    text = TEXTS[f"references/{page}"]
    assert with_help(text, commands) == text, "run: make docs"


@pytest.mark.parametrize(("page", "commands"), wanted().items())
def test_a_help_that_has_changed_is_noticed(page, commands):
    text = TEXTS[f"references/{page}"]
    assert with_help(text, commands, lambda command: f"usage: {command} [--other]") != text


def test_every_program_and_every_verb_has_its_help_in_one_page():
    commands = ["stats.py", "gateway.py", "cost_tracker.py", *(f"cost_tracker.py {verb}" for verb in tracker.VERBS)]
    assert sorted(command for page in wanted().values() for command in page) == sorted(commands)
    assert [command for command in commands if "".join(TEXTS.values()).count(begin(command)) != 1] == []


A, B = begin("a"), begin("b")


@pytest.mark.parametrize("text", ["", A, END, A + A + END, A + END + A + END, A + B + END, B + END, A + END + B + END])
def test_a_reference_without_its_markers_is_an_error(text):
    with pytest.raises(ValueError, match="both markers"):
        with_help(text, ["a"], str)


def test_the_help_of_a_verb_leaves_out_the_exit_codes_that_are_the_same_for_all():
    assert "\nexit codes:\n" in printed_help("cost_tracker.py")
    assert "exit codes" not in printed_help("cost_tracker.py settle")


# -- options and commands --


def test_every_option_in_a_document_exists_and_every_option_is_documented():
    # The change log is history: it names what is gone.
    living = {name: text for name, text in TEXTS.items() if name != "CHANGELOG.md"}
    assert docs.wrong_flags(living, ALL_FLAGS, *PROGRAMS) == []


def test_the_page_of_stats_py_explains_every_option_beside_the_help_and_the_readme_names_every_verb():
    table = STATS_TEXT.partition("\n## Options\n")[2].partition("\n## ")[0]
    explained = {span.split()[0] for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE) for span in docs.code(row)}
    assert sorted(FLAGS["stats.py"] ^ explained) == []
    assert [verb for verb in tracker.VERBS if f"`{verb}`" not in README] == []


def test_every_verb_has_a_heading_in_the_page_of_its_program():
    assert [verb for verb in tracker.VERBS if f"\n## {verb}\n" not in TRACKER_TEXT] == []


KINDS = [kind for kind in docs.documented_kinds(JSON_TEXT) if f"\n## {kind}\n" in JSON_TEXT]


def needs_server(kind: str) -> bool:
    """Whether nobody can be told an answer here, because PostgreSQL is not installed."""
    return kind.partition("-")[0] == "team" and postgres.BIN is None


def test_the_reference_describes_every_kind_of_answer(answers):
    parts = {"envelope", "totals", "key", "request"}
    told = answers.keys() | {kind for kind in KINDS if needs_server(kind)}
    assert {*docs.documented_kinds(JSON_TEXT)} - parts == told - {"error"}


ASKED_FOR = "budget settle call alert export keys cap clean credits doctor reconcile report query models what-if stats"


@pytest.mark.parametrize("verb", ASKED_FOR.split())
def test_skill_md_says_what_to_run_for_each_verb_that_a_user_may_mean(verb):
    assert [words for words in docs.arguments(SKILL, "cost_tracker.py") if words[:1] == [verb]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("`--json` `--colour`", "a.md: stats.py has no --colour"),
        ("`--json` `python3 {baseDir}/scripts/stats.py --colour=red`", "a.md: stats.py has no --colour"),
        ('`--json` `python3 "{baseDir}/scripts/stats.py" --colour=red`', "a.md: stats.py has no --colour"),
        ("`--json`\n```sh\nstats.py --colour red\n```\n", "a.md: stats.py has no --colour"),
        ("```sh\ntrue && x/stats.py --json \\\n --colour | jq --sort\n```\n", "a.md: stats.py has no --colour"),
        ("`curl --json`", "found no options to check"),
        ("`--days 3`", "no document tells of --json"),
    ],
)
def test_an_option_only_one_side_knows_is_noticed(text, problem):
    assert problem in docs.wrong_flags({"a.md": text}, {"--json", "--days"}, "stats.py")


READERS = {"stats.py": parse, "cost_tracker.py": parse_verb, "gateway.py": lambda words: _parsed("gateway.py", words)}


@pytest.mark.parametrize(("program", "read"), READERS.items())
def test_every_command_in_a_document_is_one_the_program_takes(program, read):
    assert docs.wrong_commands(TEXTS, read, program) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_example_in_a_help_is_one_the_program_takes(program):
    read = READERS[program]
    shown = {name: parser.epilog.partition("examples:\n")[2] for name, parser in PARSERS.items()}
    examples = {
        name: f"```sh\n{re.split(r'(?m)^$', text)[0]}\n```\n".replace("cost_tracker.py", "x/cost_tracker.py")
        for name, text in shown.items()
    }
    examples = {name: re.sub(r" {3,}.*$", "", text, flags=re.MULTILINE) for name, text in examples.items()}
    assert docs.wrong_commands(examples, read, program) == []


@pytest.mark.parametrize("arguments", ["--days 366", "--by season", "--json --line", "--top", "today"])
def test_a_command_that_stats_py_turns_down_is_noticed(arguments):
    text = f"```sh\npython3 scripts/stats.py {arguments}\n```\n"
    assert len(docs.wrong_commands({"a.md": text}, parse, "stats.py")) == 1


@pytest.mark.parametrize("arguments", ["stat", "stats --by colour", "call --prompt x", "--colour", "clean > x"])
@pytest.mark.parametrize("form", ["```sh\n{}\n```\n", "```console\n$ {}\nprinted\n```\n", "`{}`"])
def test_a_command_that_cost_tracker_py_turns_down_is_noticed(arguments, form):
    text = form.format(f"python3 scripts/cost_tracker.py {arguments}")
    assert len(docs.wrong_commands({"a.md": text}, parse_verb, "cost_tracker.py")) == 1


def test_a_redirection_is_no_argument():
    text = "```sh\nx/a.py -p - < in.txt > out.txt 2>&1 2>/dev/null >>log\n```\n"
    assert docs.arguments(text, "a.py") == [["-p", "-"]]


def test_no_command_at_all_is_noticed():
    assert docs.wrong_commands({"a.md": "none"}, parse, "stats.py") == ["found no commands of stats.py to check"]


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


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "SKILL.md"])
def test_every_document_says_first_when_to_read_it(name):
    """SKILL.md says so in its description, for the client."""
    assert re.match(r"# [^\n]+\n\nRead this (when|before|first) ", TEXTS[name])


# Old words for a thing that has one name, as they stand outside of quoted output.
REPLACED = {"starts? anew": "resets", "booked": "recorded", "that is none": "no", "sa(?:y|id)s? no": "refused", "reserved": "held"}


@pytest.mark.parametrize(("old", "new"), REPLACED.items())
def test_one_thing_has_one_word_in_every_document(old, new):
    living = {name: re.sub(r"^## \[0\.1\.0\].*", "", text, flags=re.MULTILINE | re.DOTALL) for name, text in TEXTS.items()}
    prose = {name: docs.without_fences(text) for name, text in living.items()}
    assert [name for name, text in prose.items() if re.search(rf"\b{old}\b", text)] == [], f"write: {new}"
    assert docs.without_fences("It is booked.\n```text\nbooked\n```\nEnd.\n") == "It is booked.\n\nEnd.\n"


@pytest.mark.parametrize(
    "text",
    [
        "[x](missing.md)",
        "[x](README.md#no-such-heading)",
        "[x](references/)\n[y](../outside-of-this.md)",
        "`references/missing.md`",
        "`python3 {baseDir}/scripts/missing.py`",
        '`python3 "{baseDir}/scripts/missing.py"`',
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
    marketplace = (ROOT / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8")
    assert docs.wrong_versions(VERSION, TEXTS["CHANGELOG.md"], SKILL, marketplace) == []


SAME = ("## [1.2.0] - 2026-01-01\n", '  version: "1.2.0"\n', '"version": "1.2.0"')


def test_the_same_version_is_no_problem():
    assert docs.wrong_versions("1.2.0", *SAME) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (0, "## [1.1.0] - 2026-01-01\n"),
        (0, "## [Unreleased]\n\n## [1.1.0]\n## [1.2.0]\n"),
        (0, ""),
        (1, 'metadata:\n  version: "1.1.0"\n'),
        (1, ""),
        (2, '"version": "1.1.0"'),
        (2, '"version": "1.2.0", "version": "1.1.0"'),
        (2, "{}"),
    ],
)
def test_another_version_is_noticed(place, text):
    texts = [text if number == place else same for number, same in enumerate(SAME)]
    assert len(docs.wrong_versions("1.2.0", *texts)) == 1


def test_the_example_of_a_credentials_file_names_both_keys_and_holds_none(tmp_path):
    example = (ROOT / "credentials.env.example").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)=your-", example, re.MULTILINE) == list(NAMES)
    assert len(re.findall(r"^[^#\n]", example, re.MULTILINE)) == len(NAMES)
    (tmp_path / "credentials.env").write_text(example, encoding="utf-8")
    (tmp_path / "credentials.env").chmod(0o600)
    assert find_credentials({}, None, tmp_path).any is None


# -- what the programs print --


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, list[object]]:
    """Envelopes of every kind, from a local OpenRouter in different moods."""
    return every_kind(tmp_path_factory.mktemp("homes"))


def test_every_answer_comes_in_the_documented_envelope(answers):
    told = [answer for kind in answers.values() for answer in kind]
    bare = [{**answer, "data": None if answer["data"] is None else {}} for answer in told]
    assert docs.wrong_fields(docs.documented_fields(JSON_TEXT, "envelope"), bare) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_documented_json_field_is_in_an_answer_and_the_reverse(kind, answers):
    if needs_server(kind):
        postgres.require()
    assert docs.wrong_fields(docs.documented_fields(JSON_TEXT, kind), [told["data"] for told in answers[kind]]) == []


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("| `a` | USD | no | |", "b[].c is not documented"),
        ("| `z` | USD | no | |", "z is in no answer"),
        ("| `a` | text | no | |", "a is no text: 1"),
        ("| `b[].c` | true/false | no | |", "b[].c can be null"),
        ("| `b[].{c,d}` | true/false | yes | |", "b[].d was never null"),
        ("| `b[]` | other | no | |", "b[].e is in no answer"),
        ("", "found no documented fields to check"),
    ],
)
def test_a_field_only_one_side_knows_or_knows_otherwise_is_noticed(table, problem):
    other = "<!-- fields: other -->\n| `e` | text | no | |\n<!-- end -->\n"
    documented = docs.documented_fields(f"<!-- fields: x -->\n{table}\n<!-- end -->\n{other}", "x")
    assert problem in docs.wrong_fields(documented, [{"a": 1, "b": [{"c": None}, {"c": True, "d": False}]}])


def test_every_error_code_that_an_answer_has_is_documented(answers):
    table = JSON_TEXT.partition("## errors\n")[2].partition("\n## ")[0]
    told = {answer["error"]["code"] for kind in answers.values() for answer in kind if answer["error"]}
    assert len(told) > 3
    assert [code for code in told if f"`{code}`" not in table] == []


def test_every_class_of_errors_has_its_code_in_the_reference():
    classes, seen = [OpenRouterUsageError], set()
    while classes:
        above = classes.pop()
        classes += above.__subclasses__()
        seen |= {above.code} if above.__subclasses__() == [] or above.code in ("settings", "unreachable") else set()
    table = JSON_TEXT.partition("## errors\n")[2].partition("\n## ")[0]
    not_shown = {"output", "denied", "refused"}  # nobody can be told that; the others stand for their subclasses
    assert [code for code in sorted(seen - not_shown) if f"`{code}`" not in table] == []


@pytest.mark.parametrize(
    ("text", "number", "columns"),
    [(STATS_TEXT, 0, SUMMARY_COLUMNS), (TRACKER_TEXT, 0, REPORT_COLUMNS), (TRACKER_TEXT, 1, tuple(EXPORT_COLUMNS))],
    ids=["summary", "report", "export"],
)
def test_the_columns_in_the_reference_are_the_programs(text, number, columns):
    table = text.split("\n| column |")[1:][number].partition("\n\n")[0]
    assert tuple(docs.first_cells(table)) == tuple(columns)


# -- messages --


def test_every_message_that_the_troubleshooting_quotes_is_said_somewhere():
    folders = (ROOT / "scripts", ROOT / "tests" / "sandbox")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    assert docs.wrong_quotations(TEXTS["references/troubleshooting.md"], sources) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('- **"the key … is gone"**', "nobody says: the key … is gone"),
        ('- **"2 calls lost".**', "nobody says: 2 calls lost"),
        ("none", "found no quoted messages to check"),
    ],
)
def test_a_message_that_nobody_says_is_noticed(text, problem):
    source = "x = f'the key {name} is here'\ny = f\"{plural(n, 'call')} left\"\n"
    assert docs.wrong_quotations(text, [source]) == [problem]
    assert docs.wrong_quotations('- **"the key … is here"** and\n- **404 "call left"**\n', [source]) == []


# -- files --


def test_the_fields_of_a_ledger_line_in_the_reference_are_the_programs():
    table = FILES_TEXT.partition("\n## The ledger\n")[2].partition("| field |")[2].partition("\n\n")[0]
    assert sorted(docs.first_cells(table)) == sorted(field.name for field in fields(Entry))


def examples(heading: str) -> list[str]:
    """Return the JSON blocks below a heading of the page on files."""
    return docs.fences(FILES_TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0], "json")


def test_the_lines_of_a_ledger_in_the_reference_are_read_and_written_the_same():
    lines = [block.encode() for block in examples("The ledger")]
    records = [read_line(line.rstrip()) for line in lines]
    assert [type(record) for record in records] == [Entry, Hold, Release]
    assert [write_line(record) for record in records] == lines


def test_the_settings_in_the_reference_are_a_budget_that_is_read(tmp_path, monkeypatch):
    (tmp_path / ".openrouter").mkdir()
    (tmp_path / ".openrouter" / "settings.json").write_text(examples("settings.json")[0], encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    machine, laptop = load_budgets({})
    assert machine.caps == Caps(Decimal("0.5"), Decimal(10), Decimal(200))
    assert (laptop.owner.name, str(laptop.burst), laptop.repeats) == ("laptop", "2/10min", 5)
    assert parse_verb(["alert", "--list"]).list


def test_the_audit_line_in_the_reference_has_the_members_of_a_real_one(answers, tmp_path_factory):
    noted = sorted(tmp_path_factory.getbasetemp().glob("homes*/*/.openrouter/audit.jsonl"))
    real = [json.loads(line) for path in noted for line in path.read_text().splitlines()]
    (example,) = map(json.loads, examples("audit.jsonl"))
    assert len(real) >= 3
    assert {tuple(line) for line in real} == {tuple(example)}


def test_every_file_that_the_programs_write_is_in_the_reference(answers, tmp_path_factory):
    table = FILES_TEXT.partition("\n## ")[0]
    folders = [*tmp_path_factory.getbasetemp().glob("homes*/*/.openrouter")]
    files = [(folder, path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix() for folder, path in files}
    names = {re.sub(r"^team-\w+\.allowance(-\w+)?", lambda found: f"team-ID.allowance{'-ID' if found[1] else ''}", name) for name in names}
    written = {re.sub(r"^cache/.*", "cache/", re.sub(r"^keys/.*", "keys/NAME.env", name)) for name in names}
    assert len(written) >= 7
    assert [name for name in sorted(written) if f"`{re.sub('-(wal|shm)$', '', name)}`" not in table] == []


# -- real output --


def printed(command: list[str], home: Path, url: str) -> str:
    """What a program prints on both outputs, run as a process for the invented account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
    keys = {"OPENROUTER_BASE_URL": url, "OPENROUTER_API_KEY": DEMO_KEY, "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY}
    environment = {**kept, **keys, "HOME": str(home), "USERPROFILE": str(home), "PYTHONIOENCODING": "utf-8"}
    run = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    shown = subprocess.run([sys.executable, *command], check=False, **run).stdout
    assert "Traceback" not in shown, shown
    return shown


@pytest.mark.parametrize("name", ["README.md"])
def test_the_output_shown_in_a_document_is_what_the_program_prints(name, tmp_path):
    sample = next(block for block in docs.fences(TEXTS[name], "text") if "Today:" in block).splitlines()
    now = datetime(2026, 11, 22, 14, 45, tzinfo=timezone.utc)
    program = (
        "import sys; sys.path.insert(0, 'scripts'); from datetime import datetime, timezone;"
        "from openrouter_usage.cli.summary import main;"
        f"sys.exit(main([], clock=lambda: datetime.fromtimestamp({now.timestamp()}, timezone.utc)))"
    )
    with Sandbox(demo_account(now)) as sandbox:
        shown = printed(["-c", program], tmp_path, sandbox.url)
    assert len(sample) >= 3
    assert [line for line in sample if line not in shown.splitlines()] == []


def undated(text: str) -> str:
    """A text without its days, times and ids, which are others each time, and without the exact worst cases."""
    return re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?|[0-9a-f]{32}|[\d.]+(?= asked)", "…", text)


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if docs.transcripts(text)])
def test_what_a_console_shows_in_a_document_is_what_the_commands_print(name, tmp_path):
    for number, steps in enumerate(docs.transcripts(TEXTS[name])):
        home = tmp_path / str(number)
        home.mkdir()
        with Sandbox(demo_account()) as sandbox:
            for command, lines in steps:
                python, *words = shlex.split(command)
                assert python == "python3"
                assert undated(printed(words, home, sandbox.url)).splitlines() == undated("\n".join(lines)).splitlines()


def test_the_readme_shows_a_refusal():
    shown = [line for steps in docs.transcripts(README) for _, lines in steps for line in lines]
    assert any("does not allow this call" in line for line in shown)
