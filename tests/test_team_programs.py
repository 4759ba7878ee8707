"""The programs with a shared ledger: two machines under one cap, what is said without the server, and no secret."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openrouter_usage import redaction
from openrouter_usage.budgets import MACHINE
from openrouter_usage.errors import SettingsError
from openrouter_usage.home.settings import shared_ledger
from openrouter_usage.jobs.team import address_for
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.ledger.team_schema import VERSION, script
from tests.booking import NOON, Booked, Tracker, TrackerAt, call, hold, sample
from tests.calling import HELLO
from tests.gatewaying import running, wait_until
from tests.running import ROOT, Stats
from tests.sandbox import INFERENCE_KEY, Reply, Sandbox
from tests.team import Team, TeamTracker

PASSWORD = "a-secret/of the%20server"
LIMIT = ("--max-tokens", "2000")


@pytest.fixture
def machines(tmp_path: Path, sandbox: Sandbox) -> list[Tracker]:
    """Two machines, each with a home of its own."""
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(Tracker(tmp_path / name, sandbox.url))
    return found


def in_readme() -> list[list[str]]:
    """The commands of the README's part on teams, without their program."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## One budget for a team\n.*?```\w*\n(.*?)```", text, re.DOTALL)
    commands = [line for line in block.splitlines() if "cost_tracker.py" in line]
    return [shlex.split(line, comments=True)[2:] for line in commands]


def test_the_three_commands_of_the_readme_bring_two_machines_under_one_cap(
    postgres: Any, machines: list[Tracker], sandbox: Sandbox
) -> None:
    postgres.run("CREATE DATABASE from_nothing")
    boss = {"OPENROUTER_LEDGER": postgres.url(database="from_nothing", password=PASSWORD)}
    one, two = machines
    begin, invite, limit = in_readme()
    assert one(*begin, env=boss, secrets=[PASSWORD]).code == 0
    assert one(*invite, env=boss, secrets=[PASSWORD], cwd=one.home).code == 0
    invitation = one.home / invite[-1]
    line = invitation.read_text()
    assert invitation.stat().st_mode & 0o777 == 0o600 and re.fullmatch(r"OPENROUTER_LEDGER='postgresql://\S+'\n", line)
    assert one(*limit[:-1], "0.02825", env=boss, secrets=[PASSWORD]).code == 0
    address = line.split("'")[1]
    env = {"OPENROUTER_LEDGER": address}
    secret = address.split("@")[0].rpartition(":")[2]
    first = one("call", *HELLO, *LIMIT, env=env, secrets=[secret])
    assert first.code == 0, first.err
    second = two("call", *HELLO, *LIMIT, "--json", env=env, secrets=[secret])
    billed = sandbox.account.bill
    assert second.code == 3 and second.json["error"]["code"] == "over_budget", second.out
    # 2,000 tokens at $14 a million are held: they fit into the cap, but not beside what the first call has cost.
    assert 0 < billed < Decimal("0.02825") < billed + Decimal("0.02820475")
    shown = two("stats", "--by", "member", "--json", env=env, secrets=[secret]).data
    assert [(row["name"], row["cost_usd"]) for row in shown["groups"]] == [("laptop", billed)]
    raised = two("budget", "set", "--team", "--daily", "9", env=env, secrets=[secret])
    assert raised.code == 6 and "permission denied" in raised.err
    again = one(*invite, env=boss, cwd=two.home, secrets=[PASSWORD])
    assert again.code == 6 and "has a user laptop already" in again.err and not (two.home / invite[-1]).exists()


def test_without_the_server_or_its_package_a_call_is_refused_and_nothing_is_sent(
    machines: list[Tracker], postgres: Any, sandbox: Sandbox, tmp_path: Path
) -> None:
    one, _ = machines
    (tmp_path / "psycopg.py").write_text("raise ImportError('no such package')")
    missing = one("call", *HELLO, env={"OPENROUTER_LEDGER": "postgresql://me@/db", "PYTHONPATH": str(tmp_path)})
    assert missing.code == 2 and "pip install 'psycopg[binary,pool]'" in missing.error_line
    away = {"OPENROUTER_LEDGER": f"postgresql://me:{PASSWORD.replace('/', '%2F').replace(' ', '%20')}@/db?host={tmp_path}"}
    for argv in (("call", *HELLO), ("stats",), ("team",), ("budget", "--json")):
        ran = one(*argv, env=away, secrets=[PASSWORD])
        assert ran.code == 6 and "the shared ledger db cannot be used" in ran.err + ran.out, argv
    unknown = one("stats", env={"OPENROUTER_LEDGER": postgres.url(database="nowhere")})
    assert unknown.code == 6 and "does not exist" in unknown.error_line
    bare = one("stats", env={"OPENROUTER_LEDGER": postgres.url(database="postgres")})
    assert bare.code == 6 and "team init" in bare.error_line
    assert sandbox.received("POST /chat/completions") == [] and not one.ledger.exists()


@pytest.mark.parametrize(
    ("url", "shown", "security"),
    [
        ("postgresql:///db", "db", {}),
        ("postgres://me:secret-1@localhost:5433/db", "db on localhost", {}),
        ("postgresql://me:secret-1@%2Ftmp%2Fpg/db", "db", {}),
        ("postgresql://me@db.example/db", "db on db.example", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://me@a.example:1,b.example:2/db?password=secret-1", "db on a.example", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://me@db.example/db?sslrootcert=/ca.pem", "db on db.example", {"sslmode": "verify-full"}),
        ("postgresql://me@db.example/db?sslmode=require", "db on db.example", {}),
        ("postgresql://me@[::1]/db", "db on ::1", {}),
        ("postgresql:///?service=team", "(service team)", {}),
    ],
)  # fmt: skip
def test_an_address_is_a_secret_and_trusts_nobody_over_a_network(url: str, shown: str, security: dict[str, str]) -> None:
    address = shared_ledger({"OPENROUTER_LEDGER": f" {url} "})
    assert address is not None
    assert (address.shown, address.security) == (f"the shared ledger {shown}", security)
    assert "secret" not in repr(address) and redaction.scrubbed(f"a {url} b") == "a [OPENROUTER_LEDGER] b"
    if "secret-1" in url:
        assert "secret-1" not in redaction.scrubbed("the password secret-1 is wrong")


def test_what_is_no_address_of_postgresql_is_not_used_and_not_shown() -> None:
    assert shared_ledger({}) is None and shared_ledger({"OPENROUTER_LEDGER": " "}) is None
    for url in ("mysql://me:secret-1@db/x", "host=db password=secret-1", "/var/lib/secret-1", "postgresql://[secret-1",
                "postgresql://me:secret-1/x@db/y", "postgresql://me:sec?secret-1@db/y", "postgresql://me:a#secret-1@db/y"):  # fmt: skip
        with pytest.raises(SettingsError) as refused:
            shared_ledger({"OPENROUTER_LEDGER": url})
        assert "secret-1" not in f"{refused.value.message} {refused.value.hint}"
    url = "postgresql://boss:old@db.example:6432/db?password=old&sslmode=require&user=boss"
    assert address_for(url, "me", "n/w") == "postgresql://me:n%2Fw@db.example:6432/db?sslmode=require"


def test_an_address_that_libpq_does_not_understand_is_a_wrong_setting_and_nothing_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = TrackerAt(Tracker(tmp_path), monkeypatch, capsys)
    words = {"me:secret-1@db:notaport/x": "port", "me:secret-1@db:99999/x": "99999", "me@/db?nosuch=1": "nosuch",
             "me@/db?sslmode=bogus": "sslmode", "/?service=nosuch": "service", "a@h1,h2/db?port=1,2,3": "3",
             "me:secret-1%zz@/db": "percent", "me:a@secret-1@h/db": "%40", "me@[::1/db": "URL"}  # fmt: skip
    for rest, word in words.items():
        for argv in (("stats",), ("export", "--format", "csv"), ("budget", "--json"), ("team",)):
            ran = at(None, *argv, env={"OPENROUTER_LEDGER": f"postgresql://{rest}"})
            assert ran.code == 2 and "OPENROUTER_LEDGER is not used" in ran.err + ran.out, (rest, argv, ran)
            assert word in ran.err + ran.out and "secret-1" not in ran.err + ran.out, (rest, argv)
    for face in ("csv", "json", "markdown"):
        away = at(None, "export", "--format", face, env={"OPENROUTER_LEDGER": f"postgresql://me@/db?host={tmp_path}"})
        assert away.code == 6 and (away.json["kind"] == "error" if face == "json" else away.out == "")


def test_a_member_logs_in_by_scram_with_the_password_of_its_address_or_of_a_file_and_no_other(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    at, named = TrackerAt(Tracker(home), monkeypatch, capsys), tmp_path / "scrammed.env"
    server, name = team.server, "scrammed"
    with server.asking_for_passwords(team.database):
        boss = {"OPENROUTER_LEDGER": team.url("boss")}
        assert at(None, "team", "invite", name, "--output", str(named), env=boss).code == 0
        (kept,) = server.run(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")[0]
        address = named.read_text().split("'")[1]
        password = address.partition("@")[0].rpartition(":")[2]
        assert kept.startswith("SCRAM-SHA-256$") and password not in kept
        bare = address.replace(f":{password}@", "@")

        def login(address: str, password: str, **env: str) -> Booked:
            ran = Tracker(home)("team", env={"OPENROUTER_LEDGER": address, **env}, secrets=[password])
            assert password not in ran.out + ran.err
            return ran

        def in_file(password: str) -> str:
            path = tmp_path / "pgpass"
            path.write_text(f"*:*:*:{name}:{password}\n")
            path.chmod(0o600)
            return str(path)

        assert f"as {name} on" in login(address, password).out
        assert f"as {name} on" in login(bare, password, PGPASSFILE=in_file(password)).out
        wrong = "wrong-password-of-nobody"
        for ran in (
            login(address.replace(password, wrong), wrong),
            login(bare, wrong, PGPASSFILE=in_file(wrong)),
            login(bare, password, PGPASSFILE=str(tmp_path / "none")),
        ):
            assert ran.code == 6 and f"the shared ledger {team.database} does not let this user in: " in ran.error_line
            assert ran.error_line.endswith("-- check OPENROUTER_LEDGER, and its password or ~/.pgpass\n")


def test_calls_that_meet_in_a_gateway_pass_no_cap_of_the_team_and_are_all_in_its_ledger(
    team: Team, home: Path, sandbox: Sandbox
) -> None:
    team.ledger("boss").set_caps(MACHINE, {"daily": Decimal("0.5")}, "strict")
    sandbox.account.reply = Reply(cost=Decimal("0.001"), delay_s=0.05)
    with running(home, sandbox, env={"OPENROUTER_LEDGER": team.url()}) as gateway:
        with ThreadPoolExecutor(12) as pool:
            codes = list(pool.map(lambda _: gateway.post().status, range(36)))
        assert codes == [200] * 36
        wait_until(lambda: team.ledger("bob").totals().total.requests == 36)
        team.ledger("boss").set_caps(MACHINE, {"daily": Decimal("0.037")}, "strict")
        with ThreadPoolExecutor(12) as pool:
            codes = list(pool.map(lambda _: gateway.post().status, range(12)))
        assert 402 in codes and sandbox.account.bill_high_water <= Decimal("0.037")
    ledger = team.ledger("bob")
    assert ledger.totals().total.cost == sandbox.account.bill and ledger.health().holds == ()
    (kept,) = team.sql("SELECT sum(held), sum(holds), sum(cost) FROM rollup WHERE facet = ''")
    assert kept == (0, 0, sandbox.account.bill)


def test_a_look_around_names_the_shared_ledger_and_counts_on_it(
    team: Team, home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = TeamTracker(home, sandbox.url, {"OPENROUTER_LEDGER": team.url(password=PASSWORD)}, team)
    at = TrackerAt(tracker, monkeypatch, capsys)
    tracker.write(hold("open", most="0.25"), call(cost="0.5", id="gen-1"))
    assert f"the shared ledger {team.database}, as alice, version {VERSION}" in at(NOON, "budget").out
    team.ledger("boss").set_caps(MACHINE, {"total": Decimal(3)}, "strict")
    place = {"name": team.database, "is_shared": True, "member": "alice", "version": VERSION}
    assert at(NOON, "budget", "--json").data["ledger"] == place
    assert f"of all who share the shared ledger {team.database}, as alice" in at(NOON, "budget").out
    told = at(None, "doctor")
    assert f"the shared ledger {team.database} answers, to alice: schema version {VERSION}, 1 owner with caps" in told.out
    assert "1 call running or unsettled, $0.25 held" in told.out and "usage.jsonl" not in told.out
    assert "is not asked (--offline)" in at(None, "doctor", "--offline").out
    line = ("--line", "--line-format", "{budget}")
    env = {"OPENROUTER_LEDGER": team.url()}
    assert Stats(home, sandbox.url)(*line, key=INFERENCE_KEY, env=env).out == "$2.25 of total budget left\n"
    with running(home, sandbox, env={"OPENROUTER_LEDGER": team.url()}) as gateway:
        gateway.post()
        wait_until(lambda: team.ledger("bob").totals().total.requests == 2)
        assert at(None, "gateway", "status", "--json").data["ledger"] == place
        assert f"In the shared ledger {team.database}, as alice, version {VERSION}: $0.25 held" in at(None, "gateway", "status").out
        away = {"OPENROUTER_LEDGER": f"postgresql://me:secret-1@/db?host={home}"}
        ran = at(None, "gateway", "status", env=away)
        assert ran.code == 6 and f"runs at {gateway.url}, but the shared ledger db cannot be used" in ran.error_line
        checked = at(None, "doctor", env=away)
        assert checked.code == 6 and "the shared ledger db cannot be used" in checked.out and "secret-1" not in checked.out
    tracker.write(call((datetime.now(timezone.utc) - timedelta(days=1)).strftime("%Y-%m-%dT12:00:00Z"), cost="0.5", id="gen-2"))
    summary = Stats(home, sandbox.url)("--days", "3", key=INFERENCE_KEY, env=env)
    assert ", from the shared ledger)" in summary.out and "local" not in summary.out
    assert ", from the shared ledger:" in at(None, "what-if", "--model", "openai/gpt-5-mini").out


def test_a_file_moves_in_and_out_with_the_same_totals_however_often_it_is_tried(
    team: Team, tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    tracker = TeamTracker(home, sandbox.url, {"OPENROUTER_LEDGER": team.url()}, team)
    Tracker(home).write(sample(), call(cost="0.5"), call(cost="0.5"), hold("open"))
    at = TrackerAt(tracker, monkeypatch, capsys)
    before = Ledger(tracker.ledger)
    assert at(None, "team", "push", "--json").data["added"] == 11
    team.ledger("bob").append(next(iter(before.entries())))
    assert at(None, "team", "push").out.startswith("0 calls added")
    pulled = tmp_path / "pulled.jsonl"
    assert at(None, "team", "pull", "--output", str(pulled)).out.startswith("11 calls")
    assert at(None, "team", "pull", "--output", str(pulled)).code == 2
    after, shared = Ledger(pulled), team.ledger()
    for by in ("model", "day", "session", "provider", "project"):
        assert before.totals(by=by) == shared.totals(by=by) == after.totals(by=by), by
    assert after.totals(by="member").groups == shared.totals(by="member").groups
    assert after.totals(by="machine").groups.keys() == {shared.machine}
    assert shared.health().holds == ()
    for ledger in (before, after):
        ledger.close()


def test_the_sql_is_shown_without_a_server_and_a_wrong_use_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    at = TrackerAt(Tracker(tmp_path), monkeypatch, capsys)
    assert at(None, "team", "init", "--dry-run").out == script()
    for argv in ((), ("init",), ("push",)):
        assert "OPENROUTER_LEDGER" in at(None, "team", *argv).error_line
    for argv in (("invite", "bob"), ("invite", "--output", "x"), ("pull",), ("push", "bob"), ("init", "--force"),
                 ("pull", "--output", "x", "--dry-run")):  # fmt: skip
        assert at(None, "team", *argv).code == 2
    assert "--machine needs --team" in at(None, "budget", "set", "--machine", "x", "--daily", "1").error_line
    assert "a file of this machine" in at(None, "budget", "set", "--team", "--daily", "1").error_line
