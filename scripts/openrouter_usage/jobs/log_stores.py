"""Where other programs keep their logs: documented folders and variables, walked without following links.

Only the named files are opened, for reading: settings, and files with keys, are not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

# How a store is read; every kind has its reader in `jobs/log_reading`. Names of databases are names of their clients.
LINES, PACKED, MESSAGE, TASK, EXPORT = "lines", "packed lines", "message", "task", "export"
Environ = Mapping[str, str]
_DEEPEST = 12
_EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")
_SERVERS = (".vscode-server", ".vscode-server-insiders", ".cursor-server", ".windsurf-server")


class Store(NamedTuple):
    """One file that may tell of calls, how it is read, and what the system knows of it."""

    client: str
    kind: str
    path: str
    status: os.stat_result


class _Program(NamedTuple):
    """The folders in which a program keeps its logs, and which of the files there are read, and how: "" for no."""

    folders: Callable[[Path, Environ], Iterator[Path]]
    kind: Callable[[str], str]


def find_stores(clients: tuple[str, ...], home: Path, environ: Environ) -> Iterator[Store]:
    """Yield the stores of some clients in a fixed order; what cannot be listed is not there."""
    for client in clients:
        program, seen = _PROGRAMS[client], set()
        for folder in program.folders(home, environ):
            for path, kind, status in _files(str(folder), program.kind):
                if path not in seen:
                    seen.add(path)
                    yield Store(client, kind, path, status)


def given_stores(client: str, path: Path) -> Iterator[Store]:
    """Yield the stores of a client in a file or folder that the user named; OSError when there is none."""
    os.stat(path)
    for name, kind, status in _files(str(path.absolute()), _PROGRAMS[client].kind):
        yield Store(client, kind, name, status)


def _files(root: str, kind_of: Callable[[str], str], depth: int = 0) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the regular files of a folder and those below it that a client's reader wants, sorted by name."""
    try:
        with os.scandir(root) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
    except NotADirectoryError:
        status, kind = os.stat(root), kind_of(root)
        if kind and stat.S_ISREG(status.st_mode):
            yield root, kind, status
        return
    except OSError:
        return
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEEPEST:
                    yield from _files(entry.path, kind_of, depth + 1)
                continue
            kind = kind_of(entry.path)
            if kind and entry.is_file(follow_symlinks=False):
                yield entry.path, kind, entry.stat(follow_symlinks=False)
        except OSError:
            continue


def _named(environ: Environ, *names: str) -> list[Path]:
    """Return the paths that variables name, several of them with commas between."""
    texts = [text.strip() for name in names for text in environ.get(name, "").split(",")]
    return [Path(os.path.expanduser(text)) for text in texts if text]


def _data_folder(home: Path, environ: Environ) -> Path:
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")


# -- Which files of a folder are read.


def _json_lines(path: str) -> str:
    name = os.path.basename(path)
    if name.endswith(".jsonl"):
        return LINES
    if ".jsonl" not in name:
        return ""
    # What OpenClaw deleted or reset is renamed, and old sessions are compressed.
    return PACKED if name.endswith(".zst") else LINES if ".jsonl.deleted." in name or ".jsonl.reset." in name else ""


def _openclaw_kind(path: str) -> str:
    if os.path.basename(path) == "openclaw-agent.sqlite":
        return "openclaw"
    return _json_lines(path) if os.path.basename(os.path.dirname(path)) == "sessions" else ""


def _opencode_kind(path: str) -> str:
    name = os.path.basename(path)
    if name.startswith("opencode") and name.endswith(".db"):
        return "opencode"
    return MESSAGE if name.endswith(".json") and "/storage/message/" in path.replace("\\", "/") else ""


def _only(wanted: str, kind: str) -> Callable[[str], str]:
    return lambda path: kind if os.path.basename(path) == wanted else ""


def _export_kind(path: str) -> str:
    return EXPORT if path.endswith((".csv", ".json", ".jsonl")) else ""


# -- Where each program keeps its files. A variable replaces the usual folders, as it does for the program itself.


def _claude_code(home: Path, environ: Environ) -> Iterator[Path]:
    usual = [home / ".config" / "claude", home / ".claude"]
    yield from (root / "projects" for root in _named(environ, "CLAUDE_CONFIG_DIR") or usual)


def _openclaw(home: Path, environ: Environ) -> Iterator[Path]:
    usual = [home / name for name in (".openclaw", ".clawdbot", ".moltbot")]
    profiles = sorted(home.glob(".openclaw-*"))
    yield from (root / "agents" for root in _named(environ, "OPENCLAW_STATE_DIR") or [*usual, *profiles])


def _pi(home: Path, environ: Environ) -> Iterator[Path]:
    yield from (root / "sessions" for root in _named(environ, "PI_CODING_AGENT_DIR") or [home / ".pi" / "agent"])


def _codex(home: Path, environ: Environ) -> Iterator[Path]:
    for root in _named(environ, "CODEX_HOME") or [home / ".codex"]:
        yield from (root / "sessions", root / "archived_sessions")


def _opencode(home: Path, environ: Environ) -> Iterator[Path]:
    yield from _named(environ, "OPENCODE_DB", "OPENCODE_DATA_DIR") or [_data_folder(home, environ) / "opencode"]


def _extension(name: str) -> Callable[[Path, Environ], Iterator[Path]]:
    def folders(home: Path, environ: Environ) -> Iterator[Path]:
        settings = [home / ".config", home / "Library" / "Application Support", *_named(environ, "APPDATA")]
        for folder in (folder / editor for folder in settings for editor in _EDITORS):
            yield folder / "User" / "globalStorage" / name / "tasks"
        for server in _SERVERS:
            yield home / server / "data" / "User" / "globalStorage" / name / "tasks"

    return folders


def _cline(home: Path, environ: Environ) -> Iterator[Path]:
    yield from _extension("saoudrizwan.claude-dev")(home, environ)
    yield from (root / "data" / "tasks" for root in _named(environ, "CLINE_DIR") or [home / ".cline"])


def _aider(home: Path, environ: Environ) -> Iterator[Path]:
    yield from _named(environ, "AIDER_ANALYTICS_LOG")


def _goose(home: Path, environ: Environ) -> Iterator[Path]:
    usual = [_data_folder(home, environ), home / "Library" / "Application Support", *_named(environ, "APPDATA")]
    roots = [path / "data" for path in _named(environ, "GOOSE_PATH_ROOT")]
    yield from (root / "sessions" for root in roots or [up / name for up in usual for name in ("goose", "Block/goose")])


def _hermes(home: Path, environ: Environ) -> Iterator[Path]:
    yield from (root / "state.db" for root in _named(environ, "HERMES_HOME") or [home / ".hermes"])


def _litellm(home: Path, environ: Environ) -> Iterator[Path]:
    # It has no file of its own: an export, or the database, is named by the user.
    yield from ()


_PROGRAMS = {
    "claude-code": _Program(_claude_code, _json_lines),
    "openclaw": _Program(_openclaw, _openclaw_kind),
    "pi": _Program(_pi, _json_lines),
    "codex": _Program(_codex, _json_lines),
    "opencode": _Program(_opencode, _opencode_kind),
    "cline": _Program(_cline, _only("ui_messages.json", TASK)),
    "roo": _Program(_extension("rooveterinaryinc.roo-cline"), _only("ui_messages.json", TASK)),
    "aider": _Program(_aider, lambda path: LINES),
    "goose": _Program(_goose, _only("sessions.db", "goose")),
    "hermes": _Program(_hermes, _only("state.db", "hermes")),
    "litellm": _Program(_litellm, _export_kind),
}
CLIENTS = tuple(_PROGRAMS)
