"""The house keeps its own rules: who may import whom, who may touch the world, and who may print.

`ROOMS` is the plan. A room is a module, or a folder of them, directly below `openrouter_usage`; every one is in it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import ROOT, STATS, Stats
from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY

HOUSE = ROOT / "scripts" / "openrouter_usage"
DOORSTEPS = ("stats", "cost_tracker")

# The layers from the bottom up. A room may import rooms of the layers named here, and the rooms named beside it.
LAYERS = {
    "foundation": ("foundation",),
    "thinking": ("foundation", "thinking"),
    "door": ("foundation",),
    "face": ("foundation", "thinking", "face"),
    "public": ("foundation", "thinking", "door", "public"),
    "cli": ("foundation", "thinking", "door", "face", "public", "cli"),
}
ROOMS: dict[str, tuple[str, set[str]]] = {
    # no I/O, no clock
    "errors": ("foundation", set()),
    "money": ("foundation", set()),
    "period": ("foundation", set()),
    "stretch": ("foundation", set()),
    "usage": ("foundation", set()),
    "text": ("foundation", set()),
    "redaction": ("foundation", set()),
    "exactjson": ("foundation", set()),
    "version": ("foundation", set()),
    "answers": ("foundation", set()),
    "entry": ("foundation", set()),
    "lines": ("foundation", set()),
    "merging": ("foundation", set()),
    "model_names": ("foundation", set()),
    # the only ones that touch the world; client and ledger never meet
    "files": ("door", set()),
    "together": ("door", set()),
    "skill": ("door", set()),
    "credentials": ("door", {"files", "skill"}),
    "settings": ("door", {"credentials", "skill"}),
    "client": ("door", {"client", "credentials", "settings"}),
    "snapshot": ("door", {"files", "settings"}),
    "index": ("door", {"index", "files"}),
    "ledger": ("door", {"ledger", "index", "files"}),
    "belongings": ("door", {"skill", "settings", "files", "ledger"}),
    "preferences": ("door", {"files", "settings", "budget"}),
    "prices": ("door", {"files", "pricing", "settings"}),
    "routing": ("door", {"preferences"}),
    "audit": ("door", {"files"}),
    "archive_file": ("door", {"files", "ledger", "index", "archive"}),
    # pure
    "summary": ("thinking", set()),
    "report": ("thinking", set()),
    "timeline": ("thinking", set()),
    "asked": ("thinking", set()),
    "pricing": ("thinking", set()),
    "budget": ("thinking", set()),
    "reconcile": ("thinking", set()),
    "exchange": ("thinking", set()),
    "alerts": ("thinking", set()),
    "diagnosis": ("thinking", set()),
    "archive": ("thinking", set()),
    # what others may call
    "collect": ("public", set()),
    "bill": ("public", set()),
    "account_days": ("public", set()),
    "spenders": ("public", set()),
    "reconciling": ("public", set()),
    "latest": ("public", set()),
    "attribution": ("public", set()),
    "tracker": ("public", {"render"}),
    "alerting": ("public", set()),
    "keyring": ("public", set()),
    "checkup": ("public", set()),
    "sync": ("public", set()),
    # strings
    "render": ("face", set()),
    # arguments in, text out
    "cli": ("cli", set()),
}
PURE = ("foundation", "thinking", "face")
IO_MODULES = {
    "os", "sys", "socket", "ssl", "select", "subprocess", "shutil", "tempfile", "pathlib", "glob", "sqlite3",
    "requests", "urllib3",
    "certifi", "dotenv", "http", "ftplib", "smtplib", "threading", "multiprocessing", "asyncio", "concurrent",
    "time", "random",
    "secrets", "logging", "fcntl", "signal", "platform", "getpass", "webbrowser",
}  # fmt: skip
PRINTERS = {"tracker.cost_tracker"}  # print_summary() is asked for by name


def modules() -> Iterator[tuple[str, str]]:
    """Name and source of every module of the house."""
    for path in sorted(HOUSE.rglob("*.py")):
        name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        yield name, path.read_text(encoding="utf-8")


SOURCES = dict(modules())


def room_of(name: str) -> str:
    """The room that a module belongs to."""
    return name.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported, wherever it is done, in absolute words; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def ours(module: str) -> str | None:
    """The name within the house, "" for the house itself, None for what is not ours."""
    return module.removeprefix("openrouter_usage").removeprefix(".") if is_ours(module) else None


def is_ours(module: str) -> bool:
    return module == "openrouter_usage" or module.startswith("openrouter_usage.")


# -- the rules: each gives what is wrong with one module -------------------------------------------------------------


def stands_in_the_plan(name: str, source: str) -> Iterator[str]:
    """A module that is not in the table has no place."""
    if name != "__init__" and room_of(name) not in ROOMS:
        yield f"{name} is not in the plan"


def imports_only_what_is_below(name: str, source: str) -> Iterator[str]:
    """Imports go to the layers below, and to the rooms that the plan names."""
    if room_of(name) not in ROOMS:
        return
    layer, extra = ROOMS[room_of(name)]
    for module, line in imported(ast.parse(source)):
        target = room_of(ours(module) or "")
        if target and target != room_of(name) and target not in extra:
            known = ROOMS.get(target, ("nowhere", set()))[0]
            if known not in LAYERS[layer]:
                yield f"{name}:{line} imports {module}, which is {known} and not below a {layer}"


def imports_are_absolute(name: str, source: str) -> Iterator[str]:
    """No import is relative, and none goes to one of the programs."""
    for module, line in imported(ast.parse(source)):
        if module.startswith("."):
            yield f"{name}:{line} imports {module}, which is relative"
        if module.partition(".")[0] in DOORSTEPS:
            yield f"{name}:{line} imports the program {module}"


def does_no_io(name: str, source: str) -> Iterator[str]:
    """Foundations, thinking and faces open nothing, ask nobody and own no clock."""
    if ROOMS.get(room_of(name), ("", set()))[0] not in PURE:
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
    if room_of(name) == "cli" or name in PRINTERS:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{name}:{node.lineno} prints"
        if isinstance(node, ast.Attribute) and ast.unparse(node).removeprefix("sys.") in (
            "stdout", "stderr", "__stdout__", "__stderr__", "exit", "argv",
        ) and isinstance(node.value, ast.Name) and node.value.id == "sys":  # fmt: skip
            yield f"{name}:{node.lineno} touches {ast.unparse(node)}"


def is_named_for_every_installer(name: str, source: str) -> Iterator[str]:
    """No file begins with an underscore but `__init__`, which holds a docstring and nothing else."""
    last = name.rpartition(".")[2]
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


RULES = [
    stands_in_the_plan,
    imports_only_what_is_below,
    imports_are_absolute,
    does_no_io,
    prints_nothing,
    is_named_for_every_installer,
    tells_what_it_is,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Callable[[str, str], Iterator[str]]) -> None:
    assert SOURCES
    assert [wrong for name, source in SOURCES.items() for wrong in rule(name, source)] == []


DOC = '"""Words."""\n'
BROKEN = [
    (stands_in_the_plan, "utils", DOC),
    (stands_in_the_plan, "helpers.strings", DOC),
    (imports_only_what_is_below, "money", DOC + "from openrouter_usage.home.settings import Settings\n"),
    (imports_only_what_is_below, "answers.key", DOC + "import openrouter_usage.openrouter.transport\n"),
    (imports_only_what_is_below, "summary.build", DOC + "from openrouter_usage.jobs.snapshot import load_snapshot\n"),
    (imports_only_what_is_below, "summary.build", DOC + "from openrouter_usage.render.amounts import spent\n"),
    (imports_only_what_is_below, "client.openrouter", DOC + "from openrouter_usage.ledger.file import append\n"),
    (
        imports_only_what_is_below,
        "client.openrouter",
        DOC + "def f():\n    from openrouter_usage.ledger.index import x\n",
    ),
    (imports_only_what_is_below, "ledger.file", DOC + "from openrouter_usage.openrouter.transport import Transport\n"),
    (imports_only_what_is_below, "credentials", DOC + "from openrouter_usage.home.settings import Settings\n"),
    (imports_only_what_is_below, "snapshot", DOC + "from openrouter_usage.openrouter.endpoints import OpenRouter\n"),
    (imports_only_what_is_below, "collect", DOC + "from openrouter_usage.render.summary import render_summary\n"),
    (imports_only_what_is_below, "latest", DOC + "from openrouter_usage.cli.program import write\n"),
    (imports_only_what_is_below, "render.as_text", DOC + "from openrouter_usage.jobs.snapshot import latest\n"),
    (imports_only_what_is_below, "render.as_text", DOC + "from openrouter_usage.unheard_of import x\n"),
    (imports_are_absolute, "money", DOC + "from . import errors\n"),
    (imports_are_absolute, "render.as_text", DOC + "from .amounts import spent\n"),
    (imports_are_absolute, "cli.run", DOC + "import stats\n"),
    (imports_are_absolute, "tracker.session", DOC + "from cost_tracker import CostTracker\n"),
    (does_no_io, "money", DOC + "import os\n"),
    (does_no_io, "summary.build", DOC + "from os import environ\n"),
    (does_no_io, "report", DOC + "import sqlite3\n"),
    (does_no_io, "pricing", DOC + "def f():\n    import requests\n"),
    (does_no_io, "budget", DOC + "import http.client\n"),
    (does_no_io, "render.as_csv", DOC + "x = open('/etc/passwd')\n"),
    (does_no_io, "period", DOC + "x = datetime.now(UTC)\n"),
    (does_no_io, "period", DOC + "x = date.today()\n"),
    (prints_nothing, "render.as_text", DOC + "print('x')\n"),
    (prints_nothing, "collect", DOC + "import sys\nsys.stderr.write('x')\n"),
    (prints_nothing, "tracker.session", DOC + "import sys\nsys.exit(1)\n"),
    (is_named_for_every_installer, "_private", DOC),
    (is_named_for_every_installer, "client._core", DOC),
    (is_named_for_every_installer, "__init__", DOC + "x = 1\n"),
    (is_named_for_every_installer, "client.__init__", "from openrouter_usage.openrouter.transport import Transport\n"),
    (is_named_for_every_installer, "client.__init__", ""),
    (tells_what_it_is, "money", "x = 1\n"),
    (tells_what_it_is, "money", DOC + "def public():\n    return 1\n"),
    (tells_what_it_is, "money", DOC + "class Public:\n    x = 1\n"),
    (tells_what_it_is, "money", DOC + f"class Public:\n    {DOC}    def method(self):\n        return 1\n"),
]


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN)
def test_a_broken_module_is_caught(rule: Callable[[str, str], Iterator[str]], name: str, source: str) -> None:
    assert len(list(rule(name, source))) == 1


def test_every_rule_is_seen_to_catch_something() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (imports_only_what_is_below, "settings", DOC + "from openrouter_usage.home.credentials import ApiKey\n"),
        (imports_only_what_is_below, "cli.summary", DOC + "from openrouter_usage.jobs.snapshot import latest\n"),
        (does_no_io, "settings", DOC + "import os\n"),
        (prints_nothing, "cli.output", DOC + "import sys\nsys.stdout.write('x')\n"),
        (is_named_for_every_installer, "client.__init__", DOC),
        (tells_what_it_is, "money", DOC + "def _private():\n    return 1\n"),
    ],
)
def test_what_is_allowed_is_not_caught(rule: Callable[[str, str], Iterator[str]], name: str, source: str) -> None:
    assert list(rule(name, source)) == []


def test_imports_go_round_in_no_circle() -> None:
    edges = {
        name: {ours(module) or "" for module, _ in imported(without_types(ast.parse(source)))} & SOURCES.keys()
        for name, source in SOURCES.items()
    }
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        for name in leaves:
            del edges[name]
    assert edges == {}


def without_types(tree: ast.Module) -> ast.Module:
    """A module without what only a type checker imports."""

    class Cut(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return ast.fix_missing_locations(Cut().visit(tree))


def test_the_rooms_that_only_think_read_no_file_through_a_path() -> None:
    calls = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}
    for name, source in SOURCES.items():
        if ROOMS.get(room_of(name), ("", set()))[0] in PURE:
            used = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
            assert used & calls == set(), name


def test_no_class_is_a_named_tuple_and_something_else_which_python_3_10_refuses() -> None:
    for name, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            assert len(bases) == 1 or "NamedTuple" not in bases, f"{name}: {bases}"


def test_the_programs_are_only_doors() -> None:
    for path in (STATS, STATS.parent / "cost_tracker.py"):
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) <= 60, path
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body), path
    assert sorted(path.name for path in STATS.parent.glob("*.py")) == ["cost_tracker.py", "stats.py"]


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
    rooms = {room_of(ours(name) or "") for name in loaded if is_ours(name)} - {""}
    assert rooms & {"client", "snapshot", "ledger", "index", "tracker", "render", "attribution"} == set()


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
    assert {package.partition("__mypyc")[0] for package in packages} == ALLOWED_PACKAGES
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
    rooms = {room_of(ours(name) or "") for name in loaded if is_ours(name)}
    assert rooms & {"tracker", "budget", "pricing", "report", "reconcile"} == set()
