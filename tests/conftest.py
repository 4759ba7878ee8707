"""Fixtures: a home, a local OpenRouter, stats.py to run against it, and guards around all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import guards
from tests.booking import Tracker, TrackerAt
from tests.running import Ran, Stats, StatsAt
from tests.sandbox import Account, Sandbox

if TYPE_CHECKING:
    from tests.tracking import Books, Clients

guards.install()
# A file in memory is synced at once, and most tests sync; where a program there may not be run, the disk has to do.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
    space = os.statvfs(MEMORY)
    if space.f_bavail * space.f_frsize > 2 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script, all programs would inherit that ^C does nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Other examples at every run, but for CI, where a change is judged by the same ones as the change before it.
settings.register_profile(
    "house",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _bare_environment() -> Iterator[None]:
    """Take out of the environment what would change how the program behaves; a test sets its own."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "TZ", "PYTHONIOENCODING", "PYTHONPATH", "COLUMNS")
    kept = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name in names or name.lower().endswith("_proxy") or name.startswith("OPENROUTER_")
    }
    yield
    os.environ.update(kept)


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test find the invented keys of another one in its output, where they would be scrubbed."""
    from openrouter_usage import redaction

    monkeypatch.setattr(redaction, "_seen", {})


@pytest.fixture(autouse=True)
def _guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give code that runs in this process a home and a spool of its own, and look for real keys before each test."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    try:
        guards.check_environment()
    except guards.ReachedOut as reached_out:
        pytest.exit(f"{reached_out}: no test is run here", returncode=4)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local OpenRouter with a key of either kind, and nothing spent."""
    with Sandbox(Account.simple()) as running:
        yield running


@pytest.fixture
def account(sandbox: Sandbox) -> Account:
    """The account that the sandbox plays."""
    return sandbox.account


@pytest.fixture
def stats(home: Path, sandbox: Sandbox) -> Stats:
    """stats.py as a process, pointed at the sandbox."""
    return Stats(home, sandbox.url)


@pytest.fixture
def stats_at(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> StatsAt:
    """stats.py in this process, with a clock."""
    return StatsAt(home, sandbox, monkeypatch, capsys)


@pytest.fixture
def stats_here(stats_at: StatsAt) -> Callable[..., Ran]:
    """stats.py in this process, for tables of cases; each kind of case has a test with a process as well."""
    return partial(stats_at, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what holds for every engine of the ledger with each of them."""
    if "engine" not in metafunc.fixturenames:
        return
    from tests.engines import ALWAYS, BOTH

    module = metafunc.module.__name__.rpartition(".")[2]
    if module in BOTH and metafunc.function.__name__ not in BOTH[module]:
        marks = () if module in ALWAYS else pytest.mark.team
        metafunc.parametrize("engine", ["file", pytest.param("postgresql", marks=marks)], indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The engine of the ledger, with nothing in it."""
    from tests.engines import OnFile, OnServer

    if getattr(request, "param", "file") == "file":
        yield OnFile()
        return
    team = request.getfixturevalue("database")
    team.empty()
    yield OnServer(team)
    team.close()


@pytest.fixture
def tracker(home: Path, sandbox: Sandbox, engine: Any) -> Tracker:
    """cost_tracker.py as a process, pointed at the sandbox, with an inference key."""
    found: Tracker = engine.tracker(home, sandbox.url)
    return found


@pytest.fixture
def at(tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TrackerAt:
    """cost_tracker.py in this process, with a clock."""
    return TrackerAt(tracker, monkeypatch, capsys)


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """The ledger of what `track_cost` records in this process."""
    from tests.tracking import open_books  # late: the packages that it needs take long to load

    yield from open_books(tmp_path, monkeypatch)


@pytest.fixture
def clients(sandbox: Sandbox) -> Iterator[Clients]:
    """The clients of other packages, pointed at the sandbox."""
    from tests.tracking import open_clients

    yield from open_clients(sandbox)


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file in tests/golden; with UPDATE_GOLDEN=1 in the environment the file is written."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server for all tests of this process; started by the first one that asks for it."""
    from tests import postgres as servers

    servers.require()
    with servers.running() as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A shared ledger for all tests of this process that empty it first."""
    from tests.team import made

    with made(postgres, tmp_path_factory.mktemp("team")) as ledger:
        yield ledger


@pytest.fixture
def team(postgres: Any, tmp_path: Path) -> Iterator[Any]:
    """A shared ledger with nothing in it."""
    from tests.team import made

    with made(postgres, tmp_path) as ledger:
        yield ledger
