"""Every public name of the library is documented, with a signature that is true and an example that runs."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import cost_tracker
import pytest

from tests import documents as docs
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Account, Sandbox

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "references" / "python-api.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0].strip(): part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
EXAMPLES = docs.fences(TEXT, "python")
OTHERS = [ROOT / "README.md", *(ROOT / "references").glob("*.md")]
OTHER_EXAMPLES = [
    example
    for path in OTHERS
    if path.name != "python-api.md"
    for example in docs.fences(path.read_text(encoding="utf-8"), "python")
]
# A second name has no section of its own: it stands in the table for people who come with it.
ALIASES = {"OpenRouterCostTracker": "CostTracker"}
GUIDES = "Coming from the snippets of the guides"
NAMES = [name for name in cost_tracker.__all__ if name not in ALIASES]
_PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


def members(name: str) -> dict[str, object]:
    """The public methods and properties of a class, and its constructor under its own name."""
    value = getattr(cost_tracker, name)
    if not callable(value):
        return {}
    if not inspect.isclass(value) or issubclass(value, Exception):
        return {} if inspect.isclass(value) else {name: value}
    own = {method: what for method, what in vars(value).items() if not method.startswith("_")}
    return {name: value, **own}


def parameters(signature: str) -> list[tuple[str, str, object]]:
    """What a call in the table takes: names, kinds, and plain defaults."""
    arguments = ast.parse(f"def {signature}: pass").body[0].args
    names = [(argument.arg, "by place or name") for argument in arguments.args]
    given = [ast.unparse(default) for default in arguments.defaults]
    defaults = ["none"] * (len(names) - len(given)) + given
    named = [(argument.arg, "by name") for argument in arguments.kwonlyargs]
    defaults += ["none" if default is None else ast.unparse(default) for default in arguments.kw_defaults]
    rest = [(arguments.kwarg.arg, "any")] if arguments.kwarg else []
    return [(*name, default) for name, default in zip([*names, *named, *rest], [*defaults, "none"], strict=False)]


def real_parameters(value: object) -> list[tuple[str, str, object]]:
    """The same of the real thing; a default that is no plain value is written `...`."""
    kinds = {"POSITIONAL_OR_KEYWORD": "by place or name", "KEYWORD_ONLY": "by name", "VAR_KEYWORD": "any"}
    found = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name != "self":
            default = parameter.default
            is_plain = default is None or isinstance(default, (bool, int, float)) or default == ""
            shown = "none" if default is parameter.empty else repr(default) if is_plain else "..."
            found.append((parameter.name, kinds[parameter.kind.name], shown))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_section_with_an_example_that_uses_it(name):
    assert any(re.search(rf"\b{name}\b", example) for example in docs.fences(SECTIONS[name], "python"))


def test_no_section_is_about_a_name_that_is_not_there():
    assert SECTIONS.keys() == {*NAMES, GUIDES}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_a_second_name_is_the_same_thing_and_is_documented(alias, name):
    assert getattr(cost_tracker, alias) is getattr(cost_tracker, name)
    assert f"| `{alias}` |" in SECTIONS[GUIDES]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_member_is_in_the_table_of_its_section_with_its_real_signature(name):
    cells = re.findall(r"^\| `([^`]+)` \|", SECTIONS[name], re.MULTILINE)
    told = {cell.partition("(")[0]: cell for cell in cells}
    real = members(name)
    assert [member for member in real if member not in told] == []
    for member, value in real.items():
        assert ("(" in told[member]) is not isinstance(value, property), member
        if "(" in told[member]:
            assert parameters(told[member]) == real_parameters(value), member


def test_the_fields_of_a_refusal_are_documented():
    from openrouter_usage.errors import BudgetExceeded

    fields = [name for name in inspect.signature(BudgetExceeded).parameters if name != "self"]
    assert [name for name in fields if f"`{name}`" not in SECTIONS["BudgetExceeded"]] == []


def test_every_error_class_is_documented_with_its_exit_code():
    from openrouter_usage import errors

    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    table = SECTIONS["OpenRouterUsageError"]
    assert len(classes) > 10
    for error in classes:
        if error is not errors.OpenRouterUsageError:
            rows = [row for row in table.splitlines() if f"`{error.__name__}`" in row]
            assert [f"| {error.exit_code} |" in row for row in rows] == [True], error


def test_what_log_usage_takes_beside_its_arguments_is_documented():
    from openrouter_usage.tracker.cost_tracker import _OPTIONAL

    listed = SECTIONS["CostTracker"].partition("takes as `optional`:")[2].partition("\n\n")[0]
    assert set(docs.code(listed)) == set(_OPTIONAL)


def test_there_are_examples():
    assert len(EXAMPLES) >= len(cost_tracker.__all__)
    assert len(OTHER_EXAMPLES) >= 1


@pytest.mark.parametrize("example", [*EXAMPLES, *OTHER_EXAMPLES], ids=lambda text: text.splitlines()[-1][:40])
def test_an_example_runs_and_prints_what_its_comments_say(example, tmp_path):
    account = Account.simple()
    with Sandbox(account) as sandbox:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")},
            "HOME": str(tmp_path),
            "USERPROFILE": str(tmp_path),
            "PYTHONPATH": str(ROOT / "scripts"),
            "PYTHONIOENCODING": "utf-8",
            "NO_PROXY": "127.0.0.1",
            "OPENROUTER_BASE_URL": sandbox.url,
            "OPENROUTER_API_KEY": INFERENCE_KEY,
            "OPENROUTER_MGMT_KEY": MANAGEMENT_KEY,
        }
        program = example.replace(docs.OFFICIAL, sandbox.url)
        run = {"cwd": tmp_path, "env": environment, "capture_output": True, "encoding": "utf-8", "timeout": 60}
        ended = subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", program], check=False, **run)
        assert (ended.returncode, ended.stderr) == (0, "")
        lines = iter(ended.stdout.splitlines())
        for expected in _PRINTED.findall(example):
            assert any(line == expected for line in lines), f"{expected} was not printed, or not in this place"
        assert sandbox.crashes == []


def test_no_two_examples_log_the_same_generation():
    ids = re.findall(r'generation_id="([^"]+)"', "".join(EXAMPLES))
    assert len(ids) >= 2 and len(set(ids)) == len(ids)


def test_examples_name_no_machine_and_no_key():
    for example in [*EXAMPLES, *OTHER_EXAMPLES]:
        assert not re.search(r"127\.0\.0\.1|localhost|sk-or-|canary", example)
        assert set(re.findall(r"https://[^\"'/]+", example)) <= {"https://openrouter.ai"}
