"""Moves the credentials file out of the skill folder, where the next update would delete it, into ~/.openrouter."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.credentials import NAMES, is_no_key, read_credentials
from openrouter_usage.errors import SettingsError
from openrouter_usage.files import locked, make_private_folder, replace_file, sync_folder
from openrouter_usage.skill import SKILL_FOLDER
from openrouter_usage.text import safe


class Moved(NamedTuple):
    """What was moved, or would be: the names that are new at the target; not found when there is no file."""

    source: Path
    target: Path
    is_found: bool
    names: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """What the target will hold, the names that are new in it, and whether there is none yet."""

    text: str
    names: tuple[str, ...]
    is_new: bool


def move_credentials(home: Path, *, dry_run: bool, skill_folder: Path = SKILL_FOLDER) -> Moved:
    """Move the file; SettingsError, and both files as they were, when that cannot be done without losing a key."""
    source, folder = skill_folder / "credentials.env", home / ".openrouter"
    target = folder / "credentials.env"
    if not os.path.lexists(source):
        return Moved(source, target, False)
    if dry_run:
        return Moved(source, target, True, _plan(source, target).names)
    try:
        _refuse_links(source, target)
        make_private_folder(folder)
        folder.chmod(0o700)
        # The settings' own lock: two who move at once would each write what the other has not read.
        with locked(folder / "settings.lock"):
            if not os.path.lexists(source):
                return Moved(source, target, False)
            plan = _plan(source, target)
            if plan.names or plan.is_new:
                replace_file(target, [plan.text], durable=True, anew=plan.is_new)
            _delete(source, target)
    except OSError as error:
        raise _refused(f"the keys cannot be moved to {_shown(target)}: {error.strerror}", "check the disk") from None
    return Moved(source, target, True, plan.names)


def _plan(source: Path, target: Path) -> _Plan:
    """Decide what to write; SettingsError where one of the files is odd, or where they differ."""
    _refuse_links(source, target)
    text = read_credentials(source)
    mine = _values(text)
    if not os.path.lexists(target):
        # As it is, with its comments, and with what nobody understands.
        return _Plan(text, tuple(name for name in mine if not _is_empty(name, mine[name][0])), True)
    _refuse_damage(text)
    kept_text = read_credentials(target)
    kept = _values(kept_text)
    lines = []
    for name, (value, line) in mine.items():
        if _is_empty(name, value):
            continue
        if name not in kept or _is_empty(name, kept[name][0]):
            lines.append((name, line))
        elif kept[name][0] != value:
            raise _refused(
                f"{safe(name)} is another one in {_shown(target)} than in {_shown(source)}: nothing was moved",
                "delete the line that is out of date, in one of them, and try again",
            )
    end = "" if not kept_text or kept_text.endswith("\n") else "\n"
    text = kept_text + end + "".join(line.strip("\n") + "\n" for _, line in lines)
    return _Plan(text, tuple(name for name, _ in lines), False)


def _values(text: str) -> dict[str, tuple[str | None, str]]:
    """Read the names of a file, each with its value and the line that sets it; a later line is the stronger."""
    from dotenv.parser import parse_stream

    bindings = parse_stream(io.StringIO(text))
    return {found.key: (found.value, found.original.string) for found in bindings if found.key is not None}


def _refuse_damage(text: str) -> None:
    """Refuse to take a file apart in which a line is not understood: it would be lost."""
    from dotenv.parser import parse_stream

    for found in parse_stream(io.StringIO(text)):
        if found.error and found.original.string.strip():
            where = found.original.line
            raise _refused(f"line {where} of the old credentials file is not understood: nothing was moved", "mend it")


def _is_empty(name: str, value: str | None) -> bool:
    """Tell whether a value is none, or the placeholder of an example."""
    return not (value or "").strip() or (name in NAMES and is_no_key(value or ""))


def _refuse_links(source: Path, target: Path) -> None:
    """Refuse what is not simply a file: it could lead to somebody else's, or from somebody else's."""
    for path, is_right, what in (
        (source, stat.S_ISREG, "a regular file"),
        (target, stat.S_ISREG, "a regular file"),
        (target.parent, stat.S_ISDIR, "a folder"),
    ):
        if os.path.lexists(path) and not is_right(os.lstat(path).st_mode):
            raise _refused(f"{_shown(path)} is not {what}: nothing was moved", "move the keys by hand")
    folder = target.parent
    if os.name == "posix" and os.path.lexists(folder) and os.lstat(folder).st_uid != os.geteuid():
        raise _refused(f"{_shown(folder)} belongs to another user: nothing was moved", "move the keys by hand")


def _delete(source: Path, target: Path) -> None:
    """Delete the old file once the new one is seen to hold all of it."""
    kept, mine = _values(read_credentials(target)), _values(read_credentials(source))
    wanted = {name: value for name, (value, _) in mine.items() if not _is_empty(name, value)}
    if any(kept.get(name, ("", ""))[0] != wanted[name] for name in wanted):
        raise _refused(
            f"{_shown(source)} was changed meanwhile: it is still there, and {_shown(target)} has what it held",
            "try again",
        )
    try:
        os.unlink(source)
        sync_folder(source.parent)
    except OSError as error:
        why = error.strerror
        raise _refused(
            f"the keys are in {_shown(target)} now, but {_shown(source)} cannot be deleted: {why}", "delete it yourself"
        ) from None


def _shown(path: Path) -> str:
    return safe(str(path), 300)


def _refused(message: str, hint: str) -> SettingsError:
    return SettingsError(message, hint=hint)
