"""The tool that breaks our own modules: its mutants are the same anywhere, each is a module, and none is the original."""

from __future__ import annotations

import ast

import pytest

from tests import mutation
from tests.mutation import TARGETS, Mutant, all_mutants, chosen
from tests.running import ROOT

EVERY = all_mutants(list(TARGETS))


def test_there_are_enough_mutants_of_every_module() -> None:
    assert len(EVERY) >= 150
    assert {mutant.module for mutant in EVERY} == set(TARGETS)
    assert all((ROOT / "tests" / f"{name}.py").exists() for names in TARGETS.values() for name in names)


def test_the_same_seed_makes_the_same_mutants_of_each_module_its_share() -> None:
    some = chosen(EVERY, 150, 1)
    assert some == chosen(EVERY, 150, 1) != chosen(EVERY, 150, 2)
    assert len(set(some)) == 150
    for module in TARGETS:
        share = sum(mutant.module == module for mutant in EVERY) * 150 / len(EVERY)
        assert abs(sum(mutant.module == module for mutant in some) - share) <= 1 + len(TARGETS) / 2


@pytest.mark.parametrize("module", TARGETS)
def test_every_mutant_is_a_module_of_its_own(module: str) -> None:
    own = [mutant for mutant in EVERY if mutant.module == module]
    original = (ROOT / own[0].path).read_text(encoding="utf-8")
    plain = ast.unparse(ast.parse(original)) + "\n"
    # Each is a parse of the whole module, so some from everywhere in it.
    for mutant in own[:: max(1, len(own) // 12)]:
        source = mutant.source(original)
        compile(source, mutant.path, "exec")
        assert source != plain, mutant


def test_what_is_excused_is_still_there() -> None:
    """A change that is gone needs no excuse, and would excuse another one that comes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutation, "EQUIVALENT", {})
        there = {(mutant.module, mutant.code, mutant.change) for mutant in all_mutants(list(TARGETS))}
    assert set(mutation.EQUIVALENT) <= there


CASES = {
    "a < b": ["a <= b"],
    "a == b and c": ["a == b or c", "a == b", "c", "a != b and c"],
    "z = max(a, 1)": ["z = min(a, 1)", "z = max(a, 2)"],
    "not a": ["a"],
    "a + b * 2": ["a - b * 2", "a + (b + 2)", "a + b * 3"],
    "z = _UP.add(a, b)": ["z = _UP.subtract(a, b)", "z = _DOWN.add(a, b)"],
    "z = Decimal('0.5')": ["z = Decimal('1.0')"],
    "a if b else c": ["c if b else a"],
    "[x for x in y if x]": ["[x for x in y]"],
    "f(a)": ["pass"],
    "raise X('a' + b)": ["pass"],
    "a += 1": ["a -= 1", "pass", "a += 2"],
    "logger.warning('it is %s', 1 + 1)": [],
    "'a text'": [],
    "def f(a: int = 1) -> None: g(a)": ["def f(a: int=2) -> None:\n    g(a)", "def f(a: int=1) -> None:\n    pass"],
}


@pytest.mark.parametrize("source", CASES)
def test_a_line_is_changed_in_every_way_that_may_matter(source: str) -> None:
    finder = mutation.Mutator()
    finder.visit(ast.parse(source))
    made = [ast.unparse(mutation.Mutator(number).visit(ast.parse(source))) for number in range(len(finder.found))]
    assert made == CASES[source]


def test_a_mutant_says_where_it_is() -> None:
    assert str(Mutant("money", 3, 7, "a  ->  b", "f(a)")) == "money.py:7: a  ->  b  in: f(a)"
