"""`make demo` shows the real program at work, touches nothing of the user's, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent


def demo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the demo with a home and a temporary folder of its own."""
    own = {name: str(folder) for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP")}
    environment = {**os.environ, **own, "PYTHONIOENCODING": "utf-8", **variables}
    command = [sys.executable, "-m", "tests.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=60)


def address(shown: str) -> tuple[str, int]:
    """Where the sandbox said that it listens."""
    found = re.search(r"http://\S+?(?=/api/v1)", shown)
    assert found, shown
    url = urlsplit(found[0])
    assert url.hostname and url.port
    return url.hostname, url.port


def test_it_shows_the_summary_and_says_what_it_is_and_what_to_do_next(tmp_path):
    ended = demo(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = ("sandbox account", "invented", "Today: $4.55*", "Balance: $1.90 / $600.00", "export OPENROUTER_API_KEY=")
    places = [ended.stdout.find(words) for words in told]
    assert -1 not in places
    assert places == sorted(places)


def test_its_server_is_gone_and_its_home_deleted_when_it_ends(tmp_path):
    ended = demo(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(ended.stdout), timeout=5)


def test_it_ends_with_the_exit_code_of_the_program(tmp_path):
    ended = demo(tmp_path, "--jsn")
    assert ended.returncode == 2
    assert "did you mean --json" in ended.stderr


def test_it_uses_no_key_and_no_address_of_the_user(tmp_path):
    key = {"OPENROUTER_API_KEY": "canary-key-of-the-user", "OPENROUTER_MGMT_KEY": "canary-management-key"}
    place = {"OPENROUTER_BASE_URL": "https://openrouter.invalid/api/v1", "http_proxy": "http://127.0.0.1:9"}
    ended = demo(tmp_path, **key, **place)
    assert ended.returncode == 0
    assert "Today: $4.55*" in ended.stdout
    assert "canary" not in ended.stdout + ended.stderr


def test_the_options_it_is_given_are_the_programs(tmp_path):
    assert '"schema_version": 1' in demo(tmp_path, "--json").stdout
