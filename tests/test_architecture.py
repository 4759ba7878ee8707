"""The house keeps its own rules: who may import whom, who may touch the world, and who may print.

The plan itself is the table `FOLDERS` of tests/plan.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plan import FOLDERS, HOUSE, arrows, circles, floors, folder_of, imported, is_pure, modules, ours, twins
from tests.running import STATS, Stats
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY

DOORSTEPS = ("stats", "cost_tracker", "gateway")
IO_MODULES = {
    "os", "sys", "socket", "ssl", "select", "subprocess", "shutil", "tempfile", "pathlib", "glob", "sqlite3",
    "requests", "urllib3",
    "certifi", "dotenv", "http", "ftplib", "smtplib", "threading", "multiprocessing", "asyncio", "concurrent",
    "time", "random",
    "secrets", "logging", "fcntl", "signal", "platform", "getpass", "webbrowser",
}  # fmt: skip
# print_summary() is asked for by name; the other answers, in a process of its own, the program that has started it.
PRINTERS = {"tracker.cost_tracker", "home.system_keyring"}
SOURCES = dict(modules())
ROOMS = {name: source for name, source in SOURCES.items() if name.rpartition(".")[2] != "__init__"}


# -- the rules: each gives what is wrong with one module -------------------------------------------------------------


def stands_in_the_plan(name: str, source: str) -> Iterator[str]:
    """A module stands in a folder of the plan."""
    if folder_of(name) not in FOLDERS:
        yield f"{name} is in no folder of the plan"


def imports_only_what_is_below(name: str, source: str) -> Iterator[str]:
    """Imports, also for types alone, go to the module's own folder and to those that the plan names."""
    allowed = FOLDERS.get(folder_of(name))
    if allowed is None or name == "__init__":  # the package's own door, for an installed one
        return
    for module, line in imported(ast.parse(source)):
        target = ours(module)
        # `from openrouter_usage.money import ZERO` is seen as the module and as what is taken from it.
        if target and target in SOURCES and folder_of(target) not in {*allowed, folder_of(name)}:
            yield f"{name}:{line} imports {module}, which is not below {folder_of(name)}"
        elif target and "." not in target and target not in SOURCES and target not in FOLDERS:
            yield f"{name}:{line} imports {module}, which is nowhere"


def imports_are_absolute(name: str, source: str) -> Iterator[str]:
    """No import is relative, and none goes to one of the programs."""
    for module, line in imported(ast.parse(source)):
        if module.startswith("."):
            yield f"{name}:{line} imports {module}, which is relative"
        if module.partition(".")[0] in DOORSTEPS:
            yield f"{name}:{line} imports the program {module}"


def does_no_io(name: str, source: str) -> Iterator[str]:
    """Foundations, thinking and faces open nothing, ask nobody and own no clock."""
    if not is_pure(name):
        return
    tree = ast.parse(source)
    for module, line in imported(tree):
        if module.partition(".")[0] in IO_MODULES:
            yield f"{name}:{line} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("open", "input", "exec", "eval", "breakpoint", "__import__", "import_module"):
                yield f"{name}:{node.lineno} calls {called}"
            if called in ("datetime.now", "datetime.today", "datetime.utcnow", "date.today"):
                yield f"{name}:{node.lineno} looks at the clock"


def prints_nothing(name: str, source: str) -> Iterator[str]:
    """Only cli prints."""
    if name.partition(".")[0] == "cli" or name in PRINTERS:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{name}:{node.lineno} prints"
        if isinstance(node, ast.Attribute) and ast.unparse(node).removeprefix("sys.") in (
            "stdout", "stderr", "__stdout__", "__stderr__", "exit", "argv",
        ) and isinstance(node.value, ast.Name) and node.value.id == "sys":  # fmt: skip
            yield f"{name}:{node.lineno} touches {ast.unparse(node)}"


def is_named_for_every_installer(name: str, source: str) -> Iterator[str]:
    """No file begins with an underscore but `__init__`, which holds a docstring and nothing else.

    At the top, the names of the library are for the installed package; no room needs them, and they load nothing.
    """
    last = name.rpartition(".")[2]
    if name == "__init__" and "__getattr__" in source:
        return
    if last == "__init__":
        body = ast.parse(source).body
        if len(body) != 1 or ast.get_docstring(ast.parse(source)) is None:
            yield f"{name} holds more than a docstring"
    elif any(part.startswith("_") for part in name.split(".")):
        yield f"{name} begins with an underscore"


def tells_what_it_is(name: str, source: str) -> Iterator[str]:
    """Every module and every public name has a docstring."""
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield f"{name} has no docstring"
    yield from undocumented(name, tree)


def undocumented(where: str, node: ast.Module | ast.ClassDef) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
            stub = isinstance(child.body[-1], ast.Expr) and ast.unparse(child.body[-1]) == "..."
            if not ast.get_docstring(child) and not stub:
                yield f"{where}.{child.name} has no docstring"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(f"{where}.{child.name}", child)


def commands_are_named_as_called(name: str, source: str) -> Iterator[str]:
    """A text that names one of the programs goes through `as_called`, so that it fits how the user calls them."""
    tree = ast.parse(source)
    exempt: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            exempt.add(id(body[0].value))
        # The parser does it for descriptions and examples.
        names = {ast.unparse(target) for target in node.targets} if isinstance(node, ast.Assign) else set()
        if names & {"EXAMPLES", "_EXAMPLES", "_DESCRIPTION"} or (isinstance(node, ast.Call) and ast.unparse(node.func) == "as_called"):
            exempt |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in exempt
        if is_text and re.search(r"(?<![\w/])(?:python3 scripts/)?(?:stats|cost_tracker|gateway)\.py\b", node.value) and name != "called":
            yield f"{name}:{node.lineno} names a program without as_called"


RULES = [
    stands_in_the_plan,
    imports_only_what_is_below,
    imports_are_absolute,
    does_no_io,
    prints_nothing,
    is_named_for_every_installer,
    tells_what_it_is,
    commands_are_named_as_called,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[str, str], Iterator[str]]) -> None:
    assert SOURCES
    assert [wrong for name, source in SOURCES.items() for wrong in rule(name, source)] == []


DOC = '"""Words."""\n'
BROKEN = [
    (stands_in_the_plan, "utils.strings", DOC),
    (stands_in_the_plan, "cli.verbs.more.thing", DOC),
    (imports_only_what_is_below, "money", DOC + "from openrouter_usage.home.settings import Settings\n"),
    (imports_only_what_is_below, "openrouter.answers.key", DOC + "import openrouter_usage.openrouter.transport\n"),
    (imports_only_what_is_below, "figures.summary", DOC + "from openrouter_usage.jobs.snapshot import load_snapshot\n"),
    (imports_only_what_is_below, "figures.summary", DOC + "from openrouter_usage.render.amounts import spent\n"),
    (imports_only_what_is_below, "openrouter.endpoints", DOC + "from openrouter_usage.ledger.file import append\n"),
    (
        imports_only_what_is_below,
        "openrouter.endpoints",
        DOC + "def f():\n    from openrouter_usage.ledger.index import x\n",
    ),
    (imports_only_what_is_below, "ledger.file", DOC + "from openrouter_usage.openrouter.transport import Transport\n"),
    (imports_only_what_is_below, "ledger.file", DOC + "from openrouter_usage.openrouter import transport\n"),
    (
        imports_only_what_is_below,
        "ledger.file",
        DOC + "if TYPE_CHECKING:\n    from openrouter_usage.figures.report import Report\n",
    ),
    (imports_only_what_is_below, "jobs.summary", DOC + "from openrouter_usage.render.summary import as_text\n"),
    (imports_only_what_is_below, "tracker.session", DOC + "from openrouter_usage.render.amounts import spent\n"),
    (imports_only_what_is_below, "jobs.snapshot", DOC + "from openrouter_usage.cli.program import write\n"),
    (imports_only_what_is_below, "render.summary", DOC + "from openrouter_usage.jobs.snapshot import latest\n"),
    (imports_only_what_is_below, "render.summary", DOC + "import openrouter_usage.unheard_of\n"),
    (imports_are_absolute, "money", DOC + "from . import errors\n"),
    (imports_are_absolute, "render.summary", DOC + "from .amounts import spent\n"),
    (imports_are_absolute, "cli.program", DOC + "import stats\n"),
    (imports_are_absolute, "tracker.session", DOC + "from cost_tracker import CostTracker\n"),
    (does_no_io, "money", DOC + "import os\n"),
    (does_no_io, "figures.summary", DOC + "from os import environ\n"),
    (does_no_io, "figures.report", DOC + "import sqlite3\n"),
    (does_no_io, "figures.pricing", DOC + "def f():\n    import requests\n"),
    (does_no_io, "figures.limits", DOC + "import http.client\n"),
    (does_no_io, "render.table", DOC + "x = open('/etc/passwd')\n"),
    (does_no_io, "period", DOC + "x = datetime.now(UTC)\n"),
    (does_no_io, "period", DOC + "x = date.today()\n"),
    (prints_nothing, "render.summary", DOC + "print('x')\n"),
    (prints_nothing, "jobs.summary", DOC + "import sys\nsys.stderr.write('x')\n"),
    (prints_nothing, "tracker.session", DOC + "import sys\nsys.exit(1)\n"),
    (is_named_for_every_installer, "_private", DOC),
    (is_named_for_every_installer, "openrouter._core", DOC),
    (is_named_for_every_installer, "__init__", DOC + "x = 1\n"),
    (is_named_for_every_installer, "openrouter.__init__", "from openrouter_usage.openrouter.transport import Transport\n"),
    (is_named_for_every_installer, "openrouter.__init__", ""),
    (tells_what_it_is, "money", "x = 1\n"),
    (tells_what_it_is, "money", DOC + "def public():\n    return 1\n"),
    (tells_what_it_is, "money", DOC + "class Public:\n    x = 1\n"),
    (tells_what_it_is, "money", DOC + f"class Public:\n    {DOC}    def method(self):\n        return 1\n"),
    (commands_are_named_as_called, "jobs.sync", DOC + "HINT = 'run: cost_tracker.py sync'\n"),
    (commands_are_named_as_called, "jobs.sync", DOC + "HINT = f'run: stats.py --by {what}'\n"),
]


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN)
def test_a_broken_module_is_caught(rule: Callable[[str, str], Iterator[str]], name: str, source: str) -> None:
    assert len(list(rule(name, source))) == 1


def test_every_rule_is_seen_to_catch_something() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (imports_only_what_is_below, "home.settings", DOC + "from openrouter_usage.home.credentials import ApiKey\n"),
        (imports_only_what_is_below, "cli.summary", DOC + "from openrouter_usage.jobs.snapshot import latest\n"),
        (does_no_io, "home.settings", DOC + "import os\n"),
        (prints_nothing, "cli.program", DOC + "import sys\nsys.stdout.write('x')\n"),
        (is_named_for_every_installer, "openrouter.__init__", DOC),
        (tells_what_it_is, "money", DOC + "def _private():\n    return 1\n"),
        (commands_are_named_as_called, "jobs.sync", DOC + "HINT = f\"run: {as_called('cost_tracker.py sync')} {what}\"\n"),
    ],
)
def test_what_is_allowed_is_not_caught(rule: Callable[[str, str], Iterator[str]], name: str, source: str) -> None:
    assert list(rule(name, source)) == []


def test_the_plan_holds() -> None:
    edges = arrows(ROOMS)
    assert circles(edges) == set()
    assert twins(ROOMS) == set()
    # The gateway is a program of its own, and each program whose log is read has a room.
    others = [name for name in ROOMS if "gateway" not in name and "team" not in name and not name.startswith("figures.logs.")]
    assert len(others) <= 147 and len(ROOMS) - len(others) <= 48
    assert sum(1 for name in ROOMS if "." not in name) <= 10 and floors(edges) <= 10
    # A row of the plan that nobody uses is no rule.
    assert {folder_of(name) for name in ROOMS} == FOLDERS.keys()


def test_a_circle_and_a_twin_are_seen() -> None:
    there = {"jobs.a": "import openrouter_usage.jobs.b\n", "jobs.b": "def f():\n    from openrouter_usage.jobs import a\n"}
    assert circles(arrows(there)) == {"jobs.a", "jobs.b"}
    typed = {"jobs.a": "import openrouter_usage.jobs.b\n", "jobs.b": "if TYPE_CHECKING:\n    import openrouter_usage.jobs.a\n"}
    assert circles(arrows(typed)) == {"jobs.a", "jobs.b"}
    assert circles(arrows({"jobs.a": "import openrouter_usage.jobs.b\n", "jobs.b": ""})) == set()
    assert twins({"jobs.a": "", "cli.a": "", "jobs.summary": "", "cli.summary": ""}) == {"a"}


def test_the_rooms_that_only_think_read_no_file_through_a_path() -> None:
    calls = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}
    for name, source in SOURCES.items():
        if is_pure(name):
            used = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
            assert used & calls == set(), name


def test_no_class_is_a_named_tuple_and_something_else_which_python_3_10_refuses() -> None:
    for name, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            assert len(bases) == 1 or "NamedTuple" not in bases, f"{name}: {bases}"


def test_the_page_about_the_plan_names_what_is_there() -> None:
    page = (STATS.parent.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page))
    assert len(files) > 20
    root = STATS.parent.parent
    known = {path.name for path in (HOUSE / "openrouter" / "answers").glob("*.py")}
    known |= {path.name for path in (HOUSE / "ledger").glob("*.py")} | {path.name for path in (HOUSE / "render").glob("*.py")}
    missing = {name for name in files if not (HOUSE / name).exists() and not (root / name).exists() and name not in known}
    assert missing == set()
    rows = re.findall(r"^\| `([a-z/]+)/`", page, re.MULTILINE)
    named = {name.replace("/", ".") for name in rows} | {"cli.verbs"}
    assert named == FOLDERS.keys() - {"(root)"}


def test_the_programs_are_only_doors() -> None:
    for path in (STATS, STATS.parent / "cost_tracker.py", STATS.parent / "gateway.py"):
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) <= 60, path
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body), path
    assert sorted(path.name for path in STATS.parent.glob("*.py")) == ["cost_tracker.py", "gateway.py", "stats.py"]


# -- what a run loads ------------------------------------------------------------------------------------------------

SLOW = {
    "requests", "urllib3", "dotenv", "certifi", "idna", "charset_normalizer", "asyncio", "ssl", "socket", "http",
    "email", "logging",
    "sqlite3", "tempfile", "shutil", "concurrent", "multiprocessing", "subprocess", "unittest", "xml", "difflib",
    "traceback",
    "typing_extensions", "pydantic", "importlib.metadata", "pkg_resources", "zoneinfo", "random", "secrets", "csv",
}  # fmt: skip
ALLOWED_PACKAGES = {"requests", "urllib3", "certifi", "idna", "charset_normalizer"}


def loaded_by(code: str, *argv: str, env: dict[str, str] | None = None) -> dict[str, str]:
    """What Python has loaded after some code, and from where; what it loads by itself is left out."""
    listing = (
        "\nimport sys\n"
        "for name, module in sorted(sys.modules.items()):\n"
        "    print('module', name, getattr(module, '__file__', ''), sep='\\t')\n"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", prelude + listing, *argv],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for prelude in ("", code)
    ]
    plain, full = (
        dict(line.split("\t")[1:3] for line in text.splitlines() if line.startswith("module\t")) for text in texts
    )
    return {name: place for name, place in full.items() if name not in plain}


def test_importing_the_summary_loads_nothing_slow() -> None:
    loaded = loaded_by(f"import sys; sys.path.insert(0, {str(STATS.parent)!r}); import openrouter_usage.cli.summary")
    assert "openrouter_usage.cli.summary" in loaded
    assert loaded.keys() & SLOW == set()
    folders = {folder_of(ours(name) or "") for name in loaded.keys() & {f"openrouter_usage.{name}" for name in ROOMS}}
    assert folders & {"openrouter", "ledger", "tracker", "render"} == set()
    assert not loaded.keys() & {"openrouter_usage.jobs.breakdown", "openrouter_usage.jobs.price_list"}


RUN = (
    "import os, runpy, sys\n"
    "sys.argv = sys.argv[1:]\n"
    "sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
    "import openrouter_usage.cli.program as run\n"
    "run.leave = lambda code: None\n"  # so that the list can still be made
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


@pytest.mark.parametrize("mgmt", [None, MANAGEMENT_KEY], ids=["one key", "both keys"])
def test_a_cold_run_loads_requests_and_what_it_needs(mgmt: str | None, stats: Stats) -> None:
    env = stats.environment(key=INFERENCE_KEY, mgmt=mgmt, env={})
    loaded = loaded_by(RUN, str(STATS), "--json", env=env)
    assert "openrouter_usage.openrouter.transport" in loaded
    packages = {
        Path(place).parts[Path(place).parts.index("site-packages") + 1]
        for place in loaded.values()
        if "site-packages" in place and not place.endswith(".so")
    }
    # urllib3 looks for one of them where others may have put theirs.
    assert {package.partition("__mypyc")[0] for package in packages} - {"backports"} == ALLOWED_PACKAGES
    unwanted = {
        "asyncio",
        "sqlite3",
        "multiprocessing",
        "unittest",
        "xml",
        "pydantic",
        "typing_extensions",
        "concurrent",
    }
    assert loaded.keys() & unwanted == set()
    rooms = {ours(name) for name in loaded if ours(name)}
    assert not any(folder_of(name or "") in ("tracker", "ledger") for name in rooms)
    assert rooms & {"figures.limits", "figures.pricing", "figures.report", "figures.reconcile"} == set()
