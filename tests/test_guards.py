"""The guards around the tests raise where a test would touch what is not its own."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path

import pytest
import requests

from openrouter_usage.ledger import spool
from tests import guards
from tests.booking import Tracker
from tests.guards import ReachedOut
from tests.running import Ran, Stats, assert_no_secret
from tests.sandbox import INFERENCE_KEY


def test_lines_that_wait_do_so_in_a_folder_of_the_test(tmp_path: Path, home: Path) -> None:
    assert Path(spool.spool_folder()).parent == tmp_path
    assert Tracker(home).environment({})["TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize("name", ["credentials.env", "usage.jsonl", "cache/summary.json"])
def test_the_real_home_cannot_be_read_or_written(name: str) -> None:
    path = guards.REAL_HOME / ".openrouter" / name
    for mode in ("r", "w", "a"):
        with pytest.raises(ReachedOut):
            path.open(mode)
    for act in (path.read_bytes, path.unlink, path.mkdir, lambda: os.rename(path, "x"), lambda: os.rename("x", path)):
        with pytest.raises(ReachedOut):
            act()
    with pytest.raises(ReachedOut):
        sqlite3.connect(path)


def test_a_link_into_the_real_home_does_not_help(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(guards.REAL_HOME)
    with pytest.raises(ReachedOut):
        (link / ".openrouter" / "usage.jsonl").open()


def test_a_home_of_ones_own_can_be_used(home: Path) -> None:
    (home / ".openrouter").mkdir()
    (home / ".openrouter" / "usage.jsonl").write_text("mine")


@pytest.mark.parametrize("host", ["192.0.2.1", "openrouter.ai", "8.8.8.8", "2001:db8::1", "0.0.0.0"])
def test_no_connection_leaves_this_machine(host: str) -> None:
    with pytest.raises(ReachedOut):
        socket.create_connection((host, 443), timeout=1)


def test_no_packet_leaves_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(ReachedOut):
            sock.connect(("192.0.2.1", 53))
        with pytest.raises(ReachedOut):
            sock.sendto(b"", ("192.0.2.1", 53))


def test_requests_cannot_leave_this_machine() -> None:
    with pytest.raises(ReachedOut):
        requests.get("https://openrouter.ai/api/v1/models", timeout=1)


def test_loopback_can_be_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


@pytest.mark.parametrize("name", ["OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"])
def test_a_key_that_is_not_a_tests_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sk-or-of-somebody-who-runs-tests")
    with pytest.raises(ReachedOut):
        guards.check_environment()
    monkeypatch.setenv(name, INFERENCE_KEY)
    guards.check_environment()


def test_keys_in_the_skills_own_folder_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "LEGACY_FILE", tmp_path / "credentials.env")
    guards.check_environment()
    (tmp_path / "credentials.env").touch()
    with pytest.raises(ReachedOut):
        guards.check_environment()
    (tmp_path / "credentials.env").unlink()


def test_the_home_of_a_test_is_not_the_real_one() -> None:
    assert Path.home() != guards.REAL_HOME
    assert "OPENROUTER_BASE_URL" not in os.environ


def test_a_run_inherits_nothing_but_the_path(stats: Stats) -> None:
    names = {name for name in stats.environment(key="k", mgmt="m", env={}) if not name.startswith("COVERAGE_")}
    assert names == {"HOME", "PATH", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY", "OPENROUTER_MGMT_KEY"}


@pytest.mark.parametrize("place", ["out", "err", "argv", "file", "file name"])
def test_a_key_that_gets_out_is_found(place: str, home: Path) -> None:
    ran = Ran(0, INFERENCE_KEY if place == "out" else "", INFERENCE_KEY if place == "err" else "")
    path = home / (INFERENCE_KEY if place == "file name" else "file")
    path.write_text(INFERENCE_KEY if place == "file" else "")
    with pytest.raises(AssertionError):
        assert_no_secret([INFERENCE_KEY], ran, home, {}, [INFERENCE_KEY] if place == "argv" else [])


def test_a_key_that_the_test_wrote_itself_is_no_find(home: Path) -> None:
    path = home / "credentials.env"
    path.write_text(INFERENCE_KEY)
    before = {path: path.read_bytes()}
    assert_no_secret([INFERENCE_KEY], Ran(0, "", ""), home, before, [])
    path.write_text(INFERENCE_KEY + " changed")
    with pytest.raises(AssertionError):
        assert_no_secret([INFERENCE_KEY], Ran(0, "", ""), home, before, [])
