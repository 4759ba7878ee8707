"""A keyring for the package keyring, without a desktop: a JSON file, or a file that says how asking goes wrong."""

from __future__ import annotations

import getpass
import json
import os
import time
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class FileKeyring(KeyringBackend):
    """Named by PYTHON_KEYRING_BACKEND; KEYRING_FILE holds `service/name` and the secret, or one word."""

    priority = 1
    name = "file"

    def get_password(self, service: str, username: str) -> str | None:
        """What the file has, or what its word stands for."""
        held = json.loads(Path(os.environ["KEYRING_FILE"]).read_text(encoding="utf-8"))
        if held == "asks":
            return getpass.getpass()
        if held == "waits":
            time.sleep(600)
        if held == "is locked":
            raise KeyringLocked("sk-or-v1-what-an-error-repeats")
        return held.get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """Nothing is stored by the programs."""
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        """Nothing is deleted by the programs."""
        raise NotImplementedError
