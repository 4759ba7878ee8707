"""Picks a model for a kind of task: from the user's own table, else from the one beside the references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from openrouter_usage.errors import BadAnswer, SettingsError
from openrouter_usage.files import SKILL_FOLDER
from openrouter_usage.home.settings import load_preference
from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.fields import Fields
from openrouter_usage.text import safe

TABLE = SKILL_FOLDER / "references" / "routing.json"
TASKS = ("classification", "summarization", "code_generation", "simple_qa")


class Route(NamedTuple):
    """The model for a task, and why it was taken. Prices come from OpenRouter, never from here."""

    model: str
    why: str


def route(task: str) -> Route:
    """Return the model for a task; SettingsError when no table has one.

    The user's table is `"routing"` in settings.json: a model's name for each task.
    """
    own = load_preference("routing").get(task)
    if own is not None:
        if not isinstance(own, str) or not own.strip():
            raise SettingsError(
                f"routing of {safe(task)} in the settings is not a model's name", hint="mend settings.json"
            )
        return Route(own.strip(), "you chose it in settings.json")
    try:
        found = Fields(_table(), "references/routing.json").within(task)
    except BadAnswer:
        found = Fields({}, "")
    if not found.text("model"):
        raise SettingsError(f"no model is set for {safe(task)}", hint="name one with --model")
    return Route(found.text("model"), found.text("why"))


class RoutingTable(Mapping[str, str]):
    """The model for each task, the user's own choices first; read anew at each use, so it is never stale.

    SettingsError when the settings or the table cannot be used.
    """

    def __getitem__(self, task: str) -> str:
        """Return the model for a task; KeyError when no table has one."""
        if task not in self._tasks():
            raise KeyError(task)
        return route(task).model

    def __iter__(self) -> Iterator[str]:
        """Name the tasks."""
        return iter(self._tasks())

    def __len__(self) -> int:
        """Count the tasks."""
        return len(self._tasks())

    def __repr__(self) -> str:
        """Show it as the dictionary that it stands for."""
        return repr(dict(self))

    def _tasks(self) -> list[str]:
        own = load_preference("routing")
        return list(dict.fromkeys((*TASKS, *(task for task, model in own.items() if model is not None))))


ROUTING = RoutingTable()


def _table() -> Json:
    try:
        return loads(TABLE.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{safe(str(TABLE), 300)} cannot be read: {error}", hint="install the skill again"
        ) from None
