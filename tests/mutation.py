"""Breaks the modules that count money, one line at a time, and asks whether a test notices: `make mutants`.

A mutant is a copy of a module with one change: a comparison, an operator, a number, a default, a condition, or a statement
left out. It lives in a copy of the repository in a temporary folder, and is killed when one of the tests that are about
its module fails, or does not come to an end. What lives is printed: either a test is missing, or the change makes no
difference; those are listed below with the reason.

The choice of mutants depends on `--seed` alone, so the same ones are made anywhere.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSE = "scripts/openrouter_usage"
# Each module with the tests that are about it, the quickest first: the first failure ends a run.
TARGETS = {
    "figures/pricing": ("test_pricing", "test_model_names", "test_what_if", "test_fallback", "test_measured", "test_gateway_parts"),
    "figures/limits": ("test_budget", "test_scopes", "test_brakes"),
    "tracker/booking": (
        "test_booking", "test_session", "test_streams", "test_query", "test_tracker", "test_known_better", "test_calls", "test_scopes",
        "test_brakes", "test_measured",
    ),
    "ledger/sums": ("test_sums", "test_cli_stats", "test_questions", "test_ledger_truth"),
    "ledger/scan": ("test_index_blocks", "test_sums", "test_questions", "test_ledger_truth"),
    "entry": ("test_entry", "test_report", "test_sums", "test_index_blocks", "test_tracker"),
    "money": ("test_money", "test_exactjson", "test_report", "test_pricing"),
}
# What nobody can tell from the original: module, line and change, with the reason.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("money", "is_huge = isinstance(value, int) and value.bit_length() > 64", "64  ->  65"): (
        "so large a number is refused afterwards, in the same words; it is only not made a Decimal for it"
    ),
    (
        "money",
        "is_huge = isinstance(value, int) and value.bit_length() > 64",
        "value.bit_length() > 64  ->  value.bit_length() >= 64",
    ): "so large a number is refused afterwards, in the same words; it is only not made a Decimal for it",
    ("money", "return _believable(LARGEST_USD + 1 if is_huge else Decimal(value))", "1  ->  2"): (
        "either is more than is believed"
    ),
    ("money", '_CENT, _MICRO = Decimal("0.01"), Decimal("0.000001")', "Decimal('0.01')  ->  Decimal('0.02')"): (
        "an amount is rounded by the exponent of this alone"
    ),
    ("money", "if size >= 1:", "size >= 1  ->  size > 1"): "one dollar is written $1.00 either way",
    ("figures/pricing", '_FINEST_AMOUNT = Decimal("1E-18")', "Decimal('1E-18')  ->  Decimal('2E-18')"): (
        "an amount is rounded by the exponent of this alone"
    ),
    ("figures/pricing", "_UP = Context(prec=60, rounding=ROUND_UP)", "60  ->  61"): (
        "a quotient has one digit more, and is rounded up to 18 decimals afterwards"
    ),
    ("figures/pricing", "_WIDE = Context(prec=200, traps=[Inexact])", "200  ->  201"): "no product has so many digits",
    (
        "figures/pricing",
        "finer = int(cost.as_tuple().exponent) < int(_FINEST_AMOUNT.as_tuple().exponent)",
        "int(cost.as_tuple().exponent) < int(_FINEST_AMOUNT.as_tuple().exponent)  ->  "
        "int(cost.as_tuple().exponent) <= int(_FINEST_AMOUNT.as_tuple().exponent)",
    ): "an amount with exactly so many decimals is rounded to itself",
    (
        "figures/pricing",
        "tokens = 0 if asks_for_length(body) or spare <= 0 else int(_WIDE.divide_int(spare, bound.per_token))",
        "spare <= 0  ->  spare < 0",
    ): "nothing pays for no token, and where a token costs nothing the call has fitted before",
    (
        "ledger/sums",
        "first_day, end_day = -(-first // DAY_SLOTS), stop // DAY_SLOTS",
        "-first // DAY_SLOTS  ->  -first * DAY_SLOTS",
    ): "no day is whole then, and each is read from its lines, which gives the same more slowly",
    ("ledger/sums", "if first_day >= end_day:", "first_day >= end_day  ->  first_day > end_day"): (
        "where no day is whole, the quarters before it and behind it are all that there are"
    ),
    ("ledger/sums", "if first >= stop:", "first >= stop  ->  first > stop"): (
        "where no quarter is whole, the edges before it and behind it are all that there is"
    ),
    (
        "ledger/sums",
        "return [(low, high) for low, high in ((start, moment_of(first)), (moment_of(stop), end)) if low < high]",
        "low < high  ->  low <= high",
    ): "an edge of no length has no calls, read or not",
    (
        "ledger/sums",
        "span = span_of(index, moment_of(first), moment_of(end - 1)) if first < end else None",
        "end - 1  ->  end + 1",
    ): "what is read of other quarters is not counted",
    (
        "ledger/sums",
        "span = span_of(index, moment_of(first), moment_of(end - 1)) if first < end else None",
        "first < end  ->  first <= end",
    ): "what is read of other quarters is not counted",
    ("ledger/scan", "MOST_CALLS = 2**22", "2 ** 22  ->  2 * 22"): "the same sums, written in smaller parts",
    ("ledger/scan", "MOST_CALLS = 2**22", "22  ->  23"): "so many would fit as well",
    ("ledger/scan", '_WIDTHS = {"requests": 30, "cost": 150, "byok_cost": 150}', "150  ->  151"): (
        "a lane may be wider than its figures need"
    ),
    ("ledger/scan", '_WIDTHS = {"requests": 30, "cost": 150, "byok_cost": 150}', "30  ->  31"): (
        "a lane may be wider than its figures need"
    ),
    ("ledger/scan", "_place = 0", "0  ->  1"): "every lane begins one bit higher, where it is read too",
    ("ledger/scan", "_place += _WIDTHS.get(_name, 63)", "63  ->  64"): "one bit between two lanes stays empty",
    (
        "figures/limits",
        "if ahead is None and budget.caps.any:",
        "if ahead is None and budget.caps.any  ->  if not (ahead is None and budget.caps.any)",
    ): "then each budget asks for itself whether a call is dated in the future, which is slower",
    (
        "ledger/sums",
        "return [(low, high) for low, high in ((start, moment_of(first)), (moment_of(stop), end)) if low < high]",
        "for low, high in ((start, moment_of(first)), (moment_of(stop), end)) if low < high  ->  "
        "for low, high in ((start, moment_of(first)), (moment_of(stop), end))",
    ): "an edge of no length has no calls, read or not",
    ("ledger/scan", "_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)", "1  ->  2"): "any day will do",
    ("ledger/scan", "_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)", "2000  ->  2001"): "any day will do",
    ("ledger/scan", "_ALWAYS = range(2**40)", "40  ->  41"): "no ledger has quarters so late",
    ("ledger/scan", "_UNWANTED = -1", "-1  ->  1"): "no call is of the second day of 1970 either",
    ("ledger/scan", "_UNWANTED = -1", "1  ->  2"): "no call is of a day before 1970, whichever",
    ("ledger/sums", "return (start, end) if start < end else None", "start < end  ->  start <= end"): (
        "a period of no length has no calls, asked for or not"
    ),
    **{
        (
            "money",
            "elif value is None or isinstance(value, bool):",
            f"value is None or isinstance(value, bool)  ->  {change}",
        ): "the way of all other values writes the same, more slowly"
        for change in ("isinstance(value, bool)", "value is None", "value is None and isinstance(value, bool)")
    },
    (
        "entry",
        "optional |= {name: _name(values, name) for name in _NAMES if values.get(name)}",
        "for name in _NAMES if values.get(name)  ->  for name in _NAMES",
    ): "a name that is not given is read as an empty one, as it is by itself",
    (
        "figures/pricing",
        "return {part: price for part, price in found.items() if price is not None}",
        "for part, price in found.items() if price is not None  ->  for part, price in found.items()",
    ): "what has no price was refused a line above; this is for the type",
    ("ledger/sums", "if first_span >= end_span:", "first_span >= end_span  ->  first_span > end_span"): (
        "where no span is whole, the days before it and behind it are all that there are"
    ),
    **{
        (
            "ledger/sums",
            "if first % DAY_SLOTS or end % DAY_SLOTS or shift % DAY_SLOTS:",
            f"{name} % DAY_SLOTS  ->  {name} * DAY_SLOTS",
        ): "the quarters of whole days come to what the rows of these days say, which are only read faster"
        for name in ("first", "end", "shift")
    },
    (
        "ledger/sums",
        "while low + DAY_SLOTS < end and _shift(low + DAY_SLOTS, zone) == shift:",
        "low + DAY_SLOTS < end  ->  low + DAY_SLOTS <= end",
    ): "a stretch that is as long as it can be ends there either way",
    ("ledger/sums", "last_offset_s = _offset_s(high * QUARTER_S - 1, zone)", "1  ->  2"): (
        "no clock is changed in the last second of a quarter of an hour"
    ),
    ("ledger/sums", "while high - low > 1:", "1  ->  2"): (
        "the search ends a quarter too late, and that quarter is read call by call, which gives the same"
    ),
}
MOST_ALIVE = Decimal("0.05")

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"max": "min", "min": "max", "any": "all", "all": "any", "_UP": "_DOWN", "_DOWN": "_UP", "add": "subtract"}
METHODS = {"add": "subtract", "subtract": "add", "multiply": "add", "ceil": "floor", "floor": "ceil"}
TELLING = {"debug", "info", "warning", "complain"}


# -- making mutants --------------------------------------------------------------------------------------------------


class Mutator(ast.NodeTransformer):
    """Finds every change that can be made to a module, and makes the one of the number that is wanted."""

    def __init__(self, wanted: int = -1) -> None:
        self.wanted = wanted
        self.found: list[tuple[int, str]] = []

    def visit(self, node: ast.AST) -> ast.AST:
        for change in changes(node):
            number = len(self.found)
            self.found.append((_line(node), f"{_short(node)}  ->  {_short(change)}"))
            if number == self.wanted:
                return ast.copy_location(change, node)
        return self._inside(node)

    def _inside(self, node: ast.AST) -> ast.AST:
        """Go on within a node, but not into what says nothing or only says what is wrong."""
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Raise)) or is_talk(node):
            return node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.args.defaults = [self.visit(each) for each in node.args.defaults]  # type: ignore[misc]
            node.args.kw_defaults = [each and self.visit(each) for each in node.args.kw_defaults]  # type: ignore[misc]
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            return node
        if isinstance(node, ast.ClassDef):
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            return node
        if isinstance(node, ast.AnnAssign):
            node.value = node.value and self.visit(node.value)  # type: ignore[assignment]
            return node
        return self.generic_visit(node)


def _line(node: ast.AST) -> int:
    return node.iter.lineno if isinstance(node, ast.comprehension) else int(getattr(node, "lineno", 0))


def _short(node: ast.AST) -> str:
    """What stands there, on one line; of a condition its test alone."""
    if isinstance(node, ast.Pass):
        return "nothing"
    word = type(node).__name__.lower() + " " if isinstance(node, (ast.If, ast.While)) else ""
    line = word + " ".join(ast.unparse(node.test if isinstance(node, (ast.If, ast.While)) else node).split())
    return line if len(line) <= 100 else f"{line[:99]}…"


def is_talk(node: ast.AST) -> bool:
    """A docstring, or a call that only tells somebody something."""
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    called = node.value.func if isinstance(node.value, ast.Call) else None
    return getattr(called, "attr", getattr(called, "id", "")) in TELLING


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that can be put in the place of one node."""
    kind = CHANGES.get(type(node))
    if kind is not None and not is_talk(node):
        yield from kind(node)


def _comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for at, operator in enumerate(node.ops):
        changed = copy.deepcopy(node)
        changed.ops[at] = COMPARISONS[type(operator)]()
        yield changed


def _arithmetic(node: ast.BinOp | ast.AugAssign) -> Iterator[ast.AST]:
    if type(node.op) in ARITHMETIC and not _is_text(node):
        changed = copy.deepcopy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield changed
    if isinstance(node, ast.AugAssign):
        yield ast.Pass()


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    """A text is put together: to change that is no question of arithmetic."""
    parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(isinstance(part, ast.JoinedStr) or isinstance(getattr(part, "value", None), (str, bytes)) for part in parts)


def _constant(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1)


def _both(node: ast.BoolOp) -> Iterator[ast.AST]:
    changed = copy.deepcopy(node)
    changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield changed
    if len(node.values) == 2:
        yield copy.deepcopy(node.values[0])
        yield copy.deepcopy(node.values[1])


def _unary(node: ast.UnaryOp) -> Iterator[ast.AST]:
    if isinstance(node.op, (ast.Not, ast.USub)):
        yield copy.deepcopy(node.operand)


def _either(node: ast.IfExp) -> Iterator[ast.AST]:
    changed = copy.deepcopy(node)
    changed.body, changed.orelse = changed.orelse, changed.body
    yield changed


def _condition(node: ast.If | ast.While) -> Iterator[ast.AST]:
    if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    changed = copy.deepcopy(node)
    changed.test = ast.UnaryOp(ast.Not(), changed.test)
    yield changed


def _call(node: ast.Call) -> Iterator[ast.AST]:
    func = node.func
    if isinstance(func, ast.Name) and func.id in NAMES:
        yield _renamed(node, ast.Name(NAMES[func.id], ast.Load()))
    elif isinstance(func, ast.Name) and func.id == "Decimal" and node.args and _is_number(node.args[0]):
        changed = copy.deepcopy(node)
        changed.args = [ast.Constant(str(Decimal(node.args[0].value) * 2 or 1))]  # type: ignore[attr-defined]
        yield changed
    elif isinstance(func, ast.Attribute) and func.attr in METHODS and len(node.args) == 2:
        yield _renamed(node, ast.Attribute(func.value, METHODS[func.attr], ast.Load()))
    elif isinstance(func, ast.Attribute) and func.attr in ("copy_negate", "minus") and len(node.args) < 2:
        yield copy.deepcopy(node.args[0] if node.args else func.value)
    elif isinstance(func, ast.Attribute) and func.attr == "copy_abs":
        yield copy.deepcopy(func.value)


def _renamed(node: ast.Call, func: ast.expr) -> ast.Call:
    changed = copy.deepcopy(node)
    changed.func = func
    return changed


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value[:1].isdigit()


def _name(node: ast.Name) -> Iterator[ast.AST]:
    if node.id in ("_UP", "_DOWN") and isinstance(node.ctx, ast.Load):
        yield ast.Name(NAMES[node.id], ast.Load())


def _statement(node: ast.Expr | ast.Raise) -> Iterator[ast.AST]:
    if isinstance(node, ast.Raise) or isinstance(node.value, ast.Call):
        yield ast.Pass()


def _filter(node: ast.comprehension) -> Iterator[ast.AST]:
    for at in range(len(node.ifs)):
        changed = copy.deepcopy(node)
        del changed.ifs[at]
        yield changed


CHANGES: dict[type[ast.AST], Callable[..., Iterator[ast.AST]]] = {
    ast.Compare: _comparison, ast.BinOp: _arithmetic, ast.AugAssign: _arithmetic, ast.Constant: _constant,
    ast.BoolOp: _both, ast.UnaryOp: _unary, ast.IfExp: _either, ast.If: _condition, ast.While: _condition,
    ast.Call: _call, ast.Name: _name, ast.Expr: _statement, ast.Raise: _statement, ast.comprehension: _filter,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    number: int
    line: int
    change: str
    code: str = ""

    @property
    def path(self) -> str:
        """The module's file."""
        return f"{HOUSE}/{self.module}.py"

    def source(self, original: str) -> str:
        """A module's text with the change made."""
        tree = ast.parse(original)
        return ast.unparse(ast.fix_missing_locations(Mutator(self.number).visit(tree))) + "\n"

    def __str__(self) -> str:
        """Where it is, and what it is."""
        return f"{self.module}.py:{self.line}: {self.change}  in: {self.code}"

    @property
    def is_excused(self) -> bool:
        """Whether it is known to make no difference."""
        return (self.module, self.code, self.change) in EQUIVALENT


def all_mutants(modules: Sequence[str]) -> list[Mutant]:
    """Every mutant of some modules, without those that nobody can tell from the original."""
    found = []
    for module in modules:
        mutator, source = Mutator(), (ROOT / HOUSE / f"{module}.py").read_text(encoding="utf-8")
        mutator.visit(ast.parse(source))
        lines = source.splitlines()
        found += [
            Mutant(module, number, line, change, lines[line - 1].strip())
            for number, (line, change) in enumerate(mutator.found)
        ]
    return [mutant for mutant in found if not mutant.is_excused]


def chosen(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Some mutants, of each module as large a part, in an order that mixes the modules."""
    order = random.Random(seed)
    shuffled = order.sample(mutants, len(mutants))
    by_module: dict[str, list[Mutant]] = {}
    for mutant in shuffled:
        by_module.setdefault(mutant.module, []).append(mutant)
    # Each mutant's place within its module, as a part of it: the lowest of all are an even share of every module.
    placed = [(at / len(found), mutant) for found in by_module.values() for at, mutant in enumerate(found)]
    return [mutant for _, mutant in sorted(placed, key=lambda pair: pair[0])][:count]


# -- asking the tests ------------------------------------------------------------------------------------------------


class Copy:
    """A copy of the repository, in which one mutant lives at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Beside it, not in it: no ledger is kept within a skill's own folder.
        self.scratch = folder.with_name(f"{folder.name}-scratch")
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        if (ROOT / ".venv").exists():
            (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
        # Some tests ask git what the skill consists of.
        for words in (("init", "--quiet"), ("add", "--all")):
            subprocess.run(["git", *words], cwd=folder, check=True)

    def run(self, tests: Sequence[str], timeout_s: float) -> str:
        """Run some tests: "passed", "failed", or "timeout", which is a failure as well."""
        names = [f"tests/{name}.py" for name in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", f"--basetemp={self.scratch}", *names]
        # Bytecode of the mutant before would be taken for the one that is there now; CI makes hypothesis repeat itself.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
        process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            self.said = process.communicate(timeout=timeout_s)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "timeout"
        return "passed" if process.returncode == 0 else "failed"

    def judge(self, mutant: Mutant, timeout_s: float) -> str:
        """Let a mutant live in the copy for as long as its tests run."""
        path = self.folder / mutant.path
        # Of the copy, not of the repository, where somebody may go on working.
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.source(original), encoding="utf-8")
        try:
            return self.run(TARGETS[mutant.module], timeout_s)
        finally:
            path.write_text(original, encoding="utf-8")


def check_originals(copy_: Copy, modules: Sequence[str], limit_s: float) -> dict[str, float]:
    """How long the tests of each module take, in seconds; a test that fails anyway would kill every mutant."""
    taken: dict[str, float] = {}
    for name in dict.fromkeys(name for module in modules for name in TARGETS[module]):
        began = time.monotonic()
        if copy_.run([name], limit_s) != "passed":
            raise SystemExit(f"{name} fails without a mutant:\n{copy_.said[-3_000:]}")
        taken[name] = time.monotonic() - began
        print(f"{name} takes {taken[name]:.0f} s", flush=True)
    return {module: sum(taken[name] for name in TARGETS[module]) for module in modules}


def hunt(mutants: Sequence[Mutant], copies: Sequence[Copy], timeouts_s: dict[str, float], until: float) -> dict[Mutant, str]:
    """Judge mutants in several copies at once, until a moment of the monotonic clock; nobody knows of the rest."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    verdicts: dict[Mutant, str] = {}

    def work(copy_: Copy) -> None:
        while time.monotonic() < until:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            verdicts[mutant] = copy_.judge(mutant, timeouts_s[mutant.module])
            sign = "ALIVE " if verdicts[mutant] == "passed" else "killed"
            print(f"{len(verdicts):>4}/{len(mutants)} {sign} {mutant}", flush=True)

    threads = [threading.Thread(target=work, args=(copy_,)) for copy_ in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


def report(verdicts: dict[Mutant, str], left: int) -> int:
    """Print what lives; 1 when that is too much."""
    alive = [mutant for mutant, verdict in verdicts.items() if verdict == "passed"]
    print()
    for module in sorted({mutant.module for mutant in verdicts}):
        own = [mutant for mutant in verdicts if mutant.module == module]
        print(f"{module:<18} {len(own):>4} mutants, {sum(mutant in alive for mutant in own):>3} alive")
    share = Decimal(len(alive)) / max(1, len(verdicts))
    print(f"{len(alive)} of {len(verdicts)} mutants live ({share:.1%}); at most {MOST_ALIVE:.0%} may")
    if left:
        print(f"{left} mutants were not judged: the time was up")
    for mutant in sorted(alive, key=str):
        print(f"  {mutant}")
    return int(share >= MOST_ALIVE)


def main(argv: Sequence[str] | None = None) -> int:
    """Make mutants, ask the tests, and say what lives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="how many mutants (150); 0 for all there are")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--only", action="append", choices=TARGETS, help="of this module; again for more")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (2)")
    parser.add_argument("--minutes", type=float, default=60, help="when to stop at the latest (60)")
    parser.add_argument("--list", action="store_true", help="name the mutants and run nothing")
    options = parser.parse_args(argv)
    modules = options.only or list(TARGETS)
    every = all_mutants(modules)
    mutants = chosen(every, options.count or len(every), options.seed)
    if options.list:
        print(*mutants, f"{len(mutants)} of {len(every)} mutants", sep="\n")
        return 0
    until = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = []
        for number in range(options.jobs):
            (Path(folder) / str(number)).mkdir()
            copies.append(Copy(Path(folder) / str(number)))
        taken = check_originals(copies[0], [m for m in modules if any(each.module == m for each in mutants)], 900)
        timeouts = {module: 60 + 5 * seconds for module, seconds in taken.items()}
        verdicts = hunt(mutants, copies, timeouts, until)
    return report(verdicts, len(mutants) - len(verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
