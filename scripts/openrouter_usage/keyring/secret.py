"""The file that a new key's secret goes into: made before the key is, so that no secret is lost."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from openrouter_usage.credentials import ApiKey
from openrouter_usage.errors import SettingsError
from openrouter_usage.files import make_private_folder
from openrouter_usage.skill import is_in_skill
from openrouter_usage.text import safe

# More than any secret needs.
_ROOM = 1024


class SecretFile:
    """A new file, readable by its owner alone, with room for a secret; unless one is kept it is removed again."""

    def __init__(self, path: Path) -> None:
        """Make the file; SettingsError when there is one, when there is no room, or when its folder is a link."""
        self.shown = safe(str(path), 300)
        self._path = path
        self._is_kept = False
        try:
            self._handle = _opened(path)
        except FileExistsError:
            raise SettingsError(f"{self.shown} is there already", hint="name another with --secret-file") from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            # A disk that is full shows it now, while there is no secret yet that could be lost.
            self._write(b"\n" * _ROOM)
        except OSError as error:
            self._remove()
            raise self._unwritable(error) from None

    def __enter__(self) -> SecretFile:
        """Hold the file open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, and remove it unless a secret is in it."""
        if self._is_kept:
            os.close(self._handle)
        else:
            self._remove()

    def keep(self, secret: str) -> None:
        """Write the secret, to stay; SettingsError for one that no key can be, or that cannot be written."""
        line = f"OPENROUTER_API_KEY={ApiKey.checked(secret, 'the new key', 'OpenRouter').secret}\n".encode()
        try:
            self._write(line)
            os.ftruncate(self._handle, len(line))
            os.fsync(self._handle)
        except OSError as error:
            raise self._unwritable(error) from None
        self._is_kept = True

    def _write(self, content: bytes) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        if os.write(self._handle, content) < len(content):
            raise OSError(0, "there is no room for it")
        os.fsync(self._handle)

    def _remove(self) -> None:
        os.close(self._handle)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _unwritable(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self.shown} cannot be written: {error.strerror}", hint="name another with --secret-file"
        )


def _opened(path: Path) -> int:
    if is_in_skill(path):
        raise OSError(0, "it is in the skill's own folder, which an update replaces")
    if path.parent.is_symlink():
        raise OSError(0, "its folder is a link to another one, which has to be named itself")
    if not path.parent.is_dir():
        make_private_folder(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o600)


def file_name(name: str) -> str:
    """Give a file name for a key's name: letters, digits, dots and dashes, and nothing a path could be made of."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return f"{cleaned or 'key'}.env"
