"""The steps that a fault is made of, and how they are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .answer import Answer
from .wire import Wire

Before = Callable[[Wire], None]
Edit = Callable[[Wire, Answer], Answer]
Send = Callable[[Wire, Answer], None]


def both(first: Before | None, second: Before | None) -> Before:
    """One after the other."""

    def run(wire: Wire) -> None:
        for step in (first, second):
            if step:
                step(wire)

    return run


def chain(first: Edit | None, second: Edit | None) -> Edit:
    """What the first makes of the answer goes to the second."""

    def run(wire: Wire, answer: Answer) -> Answer:
        for step in (first, second):
            answer = step(wire, answer) if step else answer
        return answer

    return run


def then(act: Before) -> Edit:
    """An act that leaves the answer as it is."""

    def run(wire: Wire, answer: Answer) -> Answer:
        act(wire)
        return answer

    return run


def settled(edit: Edit | None) -> Edit:
    """The edit after the whole answer has been made, since a stream is charged while it is read."""

    def run(wire: Wire, answer: Answer) -> Answer:
        answer = replace(answer, body=answer.encoded(), pieces=None)
        return edit(wire, answer) if edit else answer

    return run
