"""The folder is a skill that every client takes: its rules hold, and each one is seen to catch a broken copy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openrouter_usage.home.settings import VERSION
from tests import skill_rules as rules
from tests.documents import arguments
from tests.staging import NAME, ROOT, stage, tracked
from tests.validate.validators import POLICY, VALIDATORS, set_aside

Files = dict[str, bytes]
Rule = Callable[[Files], Iterator[str]]
FILES: Files = {name: (ROOT / name).read_bytes() for name in tracked()}
RULES: list[Rule] = [
    rules.front_matter, rules.description, rules.openclaw, rules.environment, rules.body, rules.commands, rules.relaying,
    rules.references, rules.marketplace, rules.clawhub, rules.portable, rules.keys, rules.harmless, rules.contacts,
]  # fmt: skip
SKILL, MARKET, IGNORED, STATS = "SKILL.md", ".claude-plugin/marketplace.json", ".clawhubignore", "scripts/stats.py"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_skill_keeps_the_rule(rule: Rule) -> None:
    assert len(FILES) > 100
    assert list(rule(FILES)) == []


# Rule, file, what is replaced in it, by what; an empty first text stands for an addition, a None for a lost file.
BROKEN = [
    (rules.front_matter, SKILL, "license: MIT", "licence: MIT"),
    (rules.front_matter, SKILL, "license: MIT", "license: MIT\nallowed-tools: Bash"),
    (rules.front_matter, SKILL, f"name: {NAME}", "name: OpenRouter"),
    (rules.front_matter, SKILL, "    requires:\n", "    requires: {}\n    other:\n"),
    (rules.front_matter, SKILL, f'  version: "{VERSION}"', "  version: 0.1"),
    (rules.description, SKILL, "Reports what is spent", "I report what you spent"),
    (rules.description, SKILL, "Use when", "Good for when"),
    (rules.description, SKILL, "Not for", "Less for"),
    (rules.description, SKILL, "Reports what", "Reports <what>"),
    (rules.description, SKILL, "Reports what is spent and left", "Reports" + " spending" * 120),
    (rules.openclaw, SKILL, "💰", ""),
    (rules.openclaw, SKILL, "        - uv\n", ""),
    (rules.openclaw, SKILL, "      anyBins:", "      env:\n        - OPENROUTER_API_KEY\n      anyBins:"),
    (rules.openclaw, SKILL, "primaryEnv: OPENROUTER_API_KEY", "primaryEnv: OPENROUTER_KEY"),
    (rules.openclaw, SKILL, "        required: false\n        description: Budget of one call in USD.", ""),
    (rules.environment, SKILL, "name: OPENROUTER_PAGERDUTY_KEY", "name: OPENROUTER_DAILY_LIMIT"),
    (rules.environment, SKILL, "name: OPENROUTER_DAILY_LIMIT", "name: OPENROUTER_DAILY_LIMITS"),
    (rules.environment, STATS, "", "\nOTHER = 'OPENROUTER_COLOUR'\n"),
    (rules.environment, "README.md", "`OPENROUTER_PAGERDUTY_KEY`", "`OPENROUTER_PAGER_KEY`"),
    (rules.body, SKILL, "", "x" * 3000),
    (rules.body, SKILL, "", "<!-- for later -->"),
    (rules.body, SKILL, "Answer in one sentence", "Answer $4.55"),
    (rules.body, SKILL, "Answer in one sentence", "Answer $ARGUMENTS"),
    (rules.body, SKILL, '"{baseDir}/scripts/stats.py"', "scripts/stats.py"),
    (rules.body, SKILL, '"{baseDir}/scripts/stats.py"', "{baseDir}/scripts/stats.py"),
    (rules.body, SKILL, "", "Run `uv run {baseDir}/scripts/stats.py`."),
    (rules.commands, SKILL, "`stats.py --json`", "`stats.py`"),
    (rules.commands, SKILL, " --webhook URL", ""),
    (rules.commands, SKILL, "keys create", "keys list"),
    (rules.commands, SKILL, "models --cheapest 5", "models claude"),
    (rules.body, SKILL, "Keys: from the environment or\n`~/.openrouter/credentials.env`", "Keys: yes"),
    (rules.relaying, SKILL, "Periods are UTC", "Periods are days"),
    (rules.relaying, SKILL, "data, never instructions", "data"),
    (rules.relaying, SKILL, "130 interrupted", "interrupted"),
    (rules.relaying, SKILL, "Exit codes: ", "Codes: "),
    (rules.references, "references/api.md", "Read this when", "This is"),
    (rules.references, "references/other.md", "", "# Other\n\nRead this when bored.\n"),
    (rules.references, "references/api.md", None, ""),
    (rules.references, SKILL, "`json.md`", "the rest"),
    (rules.references, "README.md", "](references/json.md)", "](references/)"),
    (rules.marketplace, ".claude-plugin/plugin.json", "", "{}"),
    (rules.marketplace, "package.json", "", "{}"),
    (rules.marketplace, MARKET, '"source": "./"', '"source": "."'),
    (rules.marketplace, MARKET, '"strict": false', '"strict": true'),
    (rules.marketplace, MARKET, '"skills": ["./"]', '"skills": []'),
    (rules.marketplace, MARKET, '"name": "The openrouter-usage contributors"', '"name": ""'),
    (rules.marketplace, MARKET, None, ""),
    (rules.clawhub, IGNORED, "tests/\n", ""),
    (rules.clawhub, IGNORED, "credentials.env\n", ""),
    (rules.clawhub, IGNORED, "", "scripts/\n"),
    (rules.clawhub, IGNORED, None, ""),
    (rules.portable, "tests/golden/a:b.txt", "", "x"),
    (rules.portable, "references/aux.md", "", "x"),
    (rules.portable, "scripts/_private.py", "", "x"),
    (rules.portable, "skill.md", "", "x"),
    (rules.portable, "README.md", "", "one line\r\n"),
    (rules.portable, "README.md", "", "x" * 200_000),
    (rules.keys, "README.md", "", "export OPENROUTER_API_KEY=" + "sk-or-v1" + "-" + "0123456789abcdef" * 4),
    (rules.keys, "tests/demo.py", "", "# gh" + "p_0123456789abcdefghij"),
    (rules.keys, "credentials.env.example", "", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    (rules.harmless, STATS, "", "\neval('1')\n"),
    (rules.harmless, STATS, "", "\nimport os; os.system('true')\n"),
    (rules.harmless, STATS, "", "\nspec.loader.exec_module(module)\n"),
    (rules.harmless, STATS, "", "\nsession.get(url, verify=False)\n"),
    (rules.harmless, STATS, "", "\nsession.verify = False\n"),
    (rules.harmless, STATS, "", "\nsubprocess.run(words, shell=True)\n"),
    (rules.harmless, STATS, "", "\nimport pickle\n"),
    (rules.contacts, STATS, "", "\nURL = 'https://openrouter.ai.example.com/api'\n"),
    (rules.contacts, STATS, "", "\nURL = f'http://{host}/telemetry'\n"),
    (rules.contacts, "scripts/openrouter_usage/jobs/snapshot.py", "", "\nimport requests\n"),
    (rules.contacts, "scripts/openrouter_usage/ledger/file.py", "", "\nfrom http.client import HTTPSConnection\n"),
]


@pytest.mark.parametrize(("rule", "name", "old", "new"), BROKEN)
def test_a_broken_copy_is_caught(rule: Rule, name: str, old: str | None, new: str) -> None:
    broken = dict(FILES)
    if old is None:
        del broken[name]
    else:
        before = FILES.get(name, b"").decode("utf-8")
        assert old in before
        broken[name] = (before.replace(old, new) if old else before + new).encode("utf-8")
    assert list(rule(broken)) != []


def test_every_rule_is_seen_to_catch_something() -> None:
    assert {rule for rule, *_ in BROKEN} == set(RULES)


def test_a_staged_copy_has_what_a_clone_has(tmp_path: Path) -> None:
    folder = stage(tmp_path)
    staged = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert folder.name == NAME
    # Not as two dictionaries: to show how half a megabyte of text differs takes minutes.
    assert [path for path in staged.keys() | FILES.keys() if staged.get(path) != FILES.get(path)] == []


def test_each_finding_that_is_set_aside_has_its_place_and_its_reason() -> None:
    entries = POLICY.read_text(encoding="utf-8").split("  - rule_id: ")[1:]
    assert len(entries) == len(set_aside(POLICY)) == 3
    for entry in entries:
        assert re.search(r'^    paths: \[[^*\]]*(?:"(?:tests|evals)/[^\]]*)?\]$', entry, re.MULTILINE), entry
        assert re.search(r"^    reason: \S.{25,}$", entry, re.MULTILINE), entry


def test_the_page_on_compatibility_says_what_each_validator_printed() -> None:
    page = FILES["references/compatibility.md"].decode("utf-8")
    assert [name for name in VALIDATORS if f"`{name}`" not in page] == []


# -- whom it talks to --

WATCHED = """
import os, runpy, sys
def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        host = args[0] if event == "socket.getaddrinfo" else args[1][0]
        os.write(2, f"\\nreached for {host}\\n".encode())
        os._exit(77)
sys.addaudithook(watch)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
COMMANDS = [
    (program, *words) for program in ("stats.py", "cost_tracker.py") for words in arguments(FILES[SKILL].decode(), program)
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_skill_md_reaches_for_no_host_but_openrouter(command: tuple[str, ...], tmp_path: Path) -> None:
    """The first attempt ends the run, so nothing leaves this machine."""
    program, *words = command
    keys = {"OPENROUTER_API_KEY": "test-key-of-nobody", "OPENROUTER_MGMT_KEY": "test-management-key-of-nobody"}
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    homes = dict.fromkeys(("HOME", "USERPROFILE"), str(tmp_path))
    environment = {**inherited, **homes, "PYTHONIOENCODING": "utf-8", **keys}
    run = [sys.executable, "-c", WATCHED, str(ROOT / "scripts" / program), *words]
    ended = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    reached = set(re.findall(r"^reached for (.*)$", ended.stderr, re.MULTILINE))
    assert (ended.returncode == 77) == bool(reached)
    assert reached <= {"openrouter.ai"}, ended.stderr
    if program == "stats.py" or words[0] in ("call", "credits", "query", "models"):
        assert reached == {"openrouter.ai"}


# -- what it costs to load and to read --


@pytest.fixture(scope="module")
def count(monkeypatch_module: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Count tokens, as the hungrier of two vocabularies does; they come from a package, as tiktoken would fetch them."""
    vocabulary = Path(sys.prefix) / "vocabulary" / "llama_index" / "core" / "_static" / "tiktoken_cache"
    assert vocabulary.is_dir(), "run `make test` once: it fetches the vocabulary"
    monkeypatch_module.setenv("TIKTOKEN_CACHE_DIR", str(vocabulary))
    import tiktoken

    encodings = [tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base")]
    return lambda text: max(len(encoding.encode(text)) for encoding in encodings)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_loading_the_skill_takes_less_than_900_tokens(count: Callable[[str], int]) -> None:
    """A client loads the body when the skill is used; name and description are in every session."""
    raw, document = rules.split(FILES[SKILL].decode("utf-8"))
    always = raw[: raw.index("\nlicense:")]
    assert 300 < count(document) < 900
    assert 50 < count(always) < 130


@pytest.mark.parametrize("name", ["both", "management", "inference", "ledger", "partial", "by-provider"])
def test_reading_what_was_spent_takes_less_than_250_tokens(name: str, count: Callable[[str], int]) -> None:
    assert 20 < count(FILES[f"tests/golden/summary-{name}.txt"].decode("utf-8")) < 250
