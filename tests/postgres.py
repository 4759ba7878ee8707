"""A PostgreSQL server for the tests: started by them, on a socket in a temporary folder, without TCP."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: (len(place.parts[-2]), place), reverse=True)
_FOUND = shutil.which("initdb")
BIN = next((place for place in [*_PLACES, *([Path(_FOUND).parent] if _FOUND else [])] if (place / "initdb").exists()), None)
MISSING = "PostgreSQL is not installed, so NOTHING of the shared ledger is tested here (on Debian: apt install postgresql)"
# A server refuses to run as root; Debian's package makes this user.
_USER = "postgres" if hasattr(os, "geteuid") and os.geteuid() == 0 else None
# Fast, and as safe as the tests need: a killed process loses nothing that it has written.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "panic",
    "timezone": "Asia/Tokyo",  # what a function takes for a day must not depend on it
    "wal_level": "replica",
    "max_wal_senders": "4",
}


def require() -> None:
    """Skip a test, loudly, where there is no PostgreSQL."""
    if BIN is None:
        warnings.warn(MISSING, stacklevel=2)
        pytest.skip(MISSING)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _options() -> dict[str, Any]:
    import pwd

    base = {"cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, "stdin": subprocess.DEVNULL}
    if _USER:
        base |= {"user": _USER, "group": pwd.getpwnam(_USER).pw_gid, "extra_groups": []}
    return base


def command(*words: str) -> None:
    """Run one of PostgreSQL's programs as its user; a failure shows what it said."""
    assert BIN is not None
    done = subprocess.run([str(BIN / words[0]), *words[1:]], capture_output=True, check=False, timeout=120, **_options())
    assert done.returncode == 0, done.stderr.decode()


class Server:
    """One server; `kill` ends it as a power cut of its process would, and `start` starts it again."""

    def __init__(self, settings: dict[str, str] | None = None, *, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT", "/tmp")))
        self.data = self.folder / "data"
        self._settings = _SETTINGS | (settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        if folder is None:
            if _USER:
                shutil.chown(self.folder, _USER)
            command("initdb", "-D", str(self.data), "-U", "boss", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")

    def start(self) -> Server:
        """Start the server and wait until it answers."""
        assert BIN is not None
        settings = {**self._settings, "unix_socket_directories": str(self.folder)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # The signal comes at the end of the thread that starts the server, so another one cannot ask for it.
        is_main = threading.current_thread() is threading.main_thread()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "postgres"), "-D", str(self.data), *words],
                stdout=log, stderr=log, preexec_fn=_die_with_parent if is_main else None, **_options(),
            )  # fmt: skip
        self.wait()
        return self

    def wait(self) -> None:
        """Wait until the server answers."""
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(user="boss", database="postgres")).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end and self._process and self._process.poll() is None, self.log
                time.sleep(0.02)

    @property
    def log(self) -> str:
        """What the server said."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Kill the server and all that it has started, at once."""
        assert self._process is not None
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=False)
        for pid in (self._process.pid, *map(int, found.stdout.split())):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        # The others may take a moment to notice; a new server would refuse to start beside them.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop the server without waiting for its clients."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self) -> None:
        """Stop the server and delete all that it kept."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # nothing of it is needed any more
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, *, user: str = "boss", database: str = "team", password: str = "") -> str:
        """The address of a database, as OPENROUTER_LEDGER takes it."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@/{database}?host={quote(str(self.folder), safe='')}"

    def run(self, sql: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL as the owner of the server and return the rows of the last statement."""
        import psycopg

        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            done = connection.execute(sql)  # type: ignore[call-overload]  # what a test has written
            while done.nextset():
                pass
            return done.fetchall() if done.description else []

    @contextmanager
    def asking_for_passwords(self, database: str) -> Iterator[None]:
        """Let all but the owner of the server log into a database with a password, by SCRAM."""
        rules = self.data / "pg_hba.conf"
        before = rules.read_text()
        rules.write_text(f"local {database} boss trust\nlocal {database} all scram-sha-256\n{before}")
        self.run("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            rules.write_text(before)
            self.run("SELECT pg_reload_conf()")

    def standby(self) -> Server:
        """A second server that follows this one; it is made from a copy, and has to be started."""
        other = Path(tempfile.mkdtemp(prefix="pg-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT", "/tmp")))
        if _USER:
            shutil.chown(other, _USER)
        follower = Server(self._settings, folder=other)
        source = f"host={self.folder} user=boss application_name=standby"
        command("pg_basebackup", "-D", str(follower.data), "-d", source, "-R", "-c", "fast", "-X", "stream", "--no-sync")
        return follower

    def promote(self) -> None:
        """Make a follower the one that takes writes."""
        command("pg_ctl", "promote", "-D", str(self.data), "-w")


@contextmanager
def running(settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A server of a test's own."""
    server = Server(settings)
    try:
        yield server.start()
    finally:
        server.remove()
