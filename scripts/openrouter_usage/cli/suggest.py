"""What may have been meant by a word that is not known; loaded only where something was wrong.

A guess that misleads is worse than none, so only a close misspelling of what exists right there is one. A word that is
spelt well and belongs to another command is told to do so.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_PLACES = 3


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one known word that `word` is a close misspelling of, or the beginning of; "" where none is."""
    wanted = word.casefold()
    found = [(_distance(wanted, name), name) for name in known if name.strip("-")]
    close = [(distance, name) for distance, name in found if distance <= _allowed(wanted, name)]
    if close:
        return min(close, key=lambda pair: pair[0])[1]
    begun = [name for _, name in found if len(wanted.strip("-")) > 2 and name.startswith(wanted)]
    return begun[0] if len(begun) == 1 else ""


def _allowed(word: str, name: str) -> int:
    """Return how many letters may be wrong: one of a short word, two of a longer one.

    `session` and `version` are two letters apart, so seven letters are not long.
    """
    length = min(len(word.strip("-")), len(name.strip("-")))
    return 0 if length < 2 else 1 if length < 8 else 2


def _distance(word: str, name: str) -> int:
    """Count the letters to add, leave out, replace or swap with their neighbour to make one word of the other."""
    before: list[int] = []
    row = list(range(len(name) + 1))
    for at, letter in enumerate(word, 1):
        before, above, row = row, before, [at]
        for to, other in enumerate(name, 1):
            least = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (letter != other))
            if at > 1 and to > 1 and letter == name[to - 2] and word[at - 2] == other:
                least = min(least, above[to - 2] + 1)
            row.append(least)
    return row[-1]


def places_of(option: str, *, but: str, value: str | None = None) -> list[str]:
    """Name the commands that take an option, or this value of it, `but` not the one it was given to."""
    from openrouter_usage.cli import summary, tracker

    parsers = [summary.parser(), *map(tracker.verb_parser, tracker.VERBS)]
    return [parser.prog for parser in parsers if parser.prog != but and parser.takes(option, value)]


def is_command(word: str) -> bool:
    """Check whether a word is a command of cost_tracker.py."""
    from openrouter_usage.cli import tracker

    return word in tracker.VERBS


def said_of_places(option: str, places: list[str]) -> str:
    """Write where an option belongs."""
    named = places[:_MOST_PLACES]
    more = [f"{len(places) - len(named)} more"] if len(places) > len(named) else []
    *first, last = [*named, *more]
    return f"{option} is an option of {', '.join(first) + ' and ' if first else ''}{last}"
