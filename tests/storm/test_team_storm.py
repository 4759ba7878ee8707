"""Machines with wrong clocks spend from one budget, while programs, the server and its standby fail: no cap is passed."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import postgres as servers
from tests.running import HANG_GUARD_S, ROOT
from tests.sandbox import Account, Sandbox
from tests.storm.test_storm import CHAT, NOON, faults, let_loose, replies
from tests.team import Team, TeamTracker, made

# How wrong the clock of each machine is, and who spends there.
MACHINES = {"alice": timedelta(hours=-9), "bob": timedelta(hours=5), "carol": timedelta(days=2)}


@pytest.fixture
def sandbox() -> Any:
    with Sandbox(Account.simple(now=lambda: NOON)) as running:
        yield running


class TeamStorm:
    """Processes on three machines, and what is done to them and to the server."""

    def __init__(
        self, team: Team, url: Callable[[str], str], sandbox: Sandbox, folder: Path, *, cap: Decimal, seed: int
    ) -> None:
        self.cap, self.each = cap, cap * Decimal("0.6")
        self.team, self.sandbox, self.chance = team, sandbox, random.Random(seed)
        sandbox.account.reply, sandbox.account.total_credits = replies(self.chance), Decimal(1000)
        self.machines: dict[str, TeamTracker] = {}
        for member in MACHINES:
            (folder / member).mkdir()
            self.machines[member] = TeamTracker(folder / member, sandbox.url, {"OPENROUTER_LEDGER": url(member)}, team)
        self.processes: list[subprocess.Popen[bytes]] = []
        boss = team.ledger("boss")
        boss.server.ask("set_cap('', '', 'strict', 'total', %s::numeric)", (self.cap,))
        boss.server.ask("set_cap('member', '*', 'strict', 'total', %s::numeric)", (self.each,))
        # And a limit that only one machine has, measured on what all have spent.
        self.machines["carol"].env["OPENROUTER_DAILY_LIMIT"] = str(cap * Decimal("0.8"))

    def run(self, *, processes: int, calls: int, disturb: Callable[[], None]) -> None:
        """Let all spend at once, kill a third, and disturb the server meanwhile; give back when all is over."""
        self.sandbox.misbehave(CHAT, *faults(self.chance, processes * calls))
        for number in range(processes):
            member, skew = list(MACHINES.items())[number % 3]
            words = [str(calls), str(self.chance.randrange(10**9)), (NOON + skew).isoformat()]
            pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            command = [sys.executable, "-m", "tests.storm.worker", *words]
            env = self.machines[member].environment({})
            self.processes.append(subprocess.Popen(command, cwd=ROOT, env=env, **pipes))
        let_loose(self.processes)
        self.after(2)
        failures: list[BaseException] = []
        disturber = threading.Thread(target=lambda: _kept(disturb, failures))
        disturber.start()
        for victim in self.processes[::3]:
            self.after(self.chance.randint(1, 3))
            victim.kill()
        disturber.join()
        told = [process.communicate(timeout=HANG_GUARD_S * 5)[1].decode() for process in self.processes]
        assert failures == [] and not any("Traceback" in text for text in told), (failures, told)
        self.sandbox.wait_until(lambda: not self.sandbox.account.in_flight)

    def after(self, calls: int) -> None:
        """Wait until so many more calls have come, or no more will."""
        seen = self.sandbox.calls(CHAT) + calls
        done = lambda: self.sandbox.calls(CHAT) >= seen or all(each.poll() is not None for each in self.processes)  # noqa: E731
        self.sandbox.wait_until(done, timeout=HANG_GUARD_S * 5)

    def assert_all_is_well(self) -> None:
        """No cap was passed at any instant, and the ledger agrees with the bill to the last digit."""
        account = self.sandbox.account
        assert account.bill_high_water <= self.cap
        # What those that were killed hold counts too: by both, the cap was reached, or nearly.
        ((spent, held),) = self.team.sql("SELECT sum(cost), sum(held) FROM rollup WHERE facet = ''")
        assert self.cap * Decimal("0.5") < spent + held <= self.cap and spent > 0, (spent, held)  # type: ignore[operator]
        print(f"bill {account.bill_high_water} of {self.cap}, {spent} settled and {held} held when all were over")
        # The leases of those that were killed run out: any machine may look their calls up.
        self.team.at(datetime.now(timezone.utc) + timedelta(hours=2))
        for machine in self.machines.values():
            ran = machine("settle")
            assert ran.code == 0, ran.err
        ledger = self.team.ledger("boss")
        billed = {call.id: call.cost for call in account.generations.values()}
        entries = list(ledger.entries())
        settled = {entry.id: entry.cost for entry in entries}
        assert len(settled) == len(entries)
        unnamed = {identity: cost for identity, cost in billed.items() if identity not in settled}
        assert settled == {identity: cost for identity, cost in billed.items() if identity not in unnamed}
        holds = ledger.health().holds
        assert not {hold.generation for hold in holds} & billed.keys()
        assert account.bill == ledger.totals().total.cost + sum(unnamed.values())
        held = sum((hold.max_cost or Decimal(0) for hold in holds), Decimal(0))
        assert sum(unnamed.values()) <= held
        assert all(usage.cost <= self.each for usage in ledger.totals(by="member").groups.values())
        # The sums that are kept are those of the calls and the holds.
        (kept,) = self.team.sql("SELECT sum(held), sum(holds), sum(cost), sum(requests) FROM rollup WHERE facet = ''")
        assert kept == (held, len(holds), ledger.totals().total.cost, len(entries))


def _kept(work: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as failure:
        failures.append(failure)


def test_a_storm_over_a_team_passes_no_cap_and_loses_no_cent_when_the_server_is_killed(
    postgres: servers.Server, tmp_path: Path, sandbox: Sandbox
) -> None:
    with made(postgres, tmp_path) as team:
        storm = TeamStorm(team, team.url, sandbox, tmp_path, cap=Decimal("0.3"), seed=1)

        def disturb() -> None:
            postgres.kill()
            time.sleep(0.2)
            postgres.start()

        storm.run(processes=6, calls=8, disturb=disturb)
        storm.assert_all_is_well()


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_storm_of_64_processes_outlives_a_kill_and_a_failover_to_a_synchronous_standby(
    seed: int, tmp_path: Path, sandbox: Sandbox
) -> None:
    servers.require()
    with servers.running({"max_connections": "300", "max_wal_senders": "8"}) as first, made(first, tmp_path) as team:
        second = first.standby()
        try:
            second.start()
            first.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            first.run("SELECT pg_reload_conf()")
            both = f"host={first.folder!s},{second.folder!s}&target_session_attrs=read-write".replace("/", "%2F")
            storm = TeamStorm(
                team,
                lambda member: f"postgresql://{member}@/{team.database}?{both}",
                sandbox,
                tmp_path,
                cap=Decimal(1),
                seed=seed,
            )

            def disturb() -> None:
                first.kill()
                first.start()
                storm.after(20)
                first.kill()
                second.promote()

            storm.run(processes=64, calls=10, disturb=disturb)
            team.server = second
            for ledger in team.opened:
                ledger.close()
            second.run("ALTER SYSTEM SET synchronous_standby_names = ''")
            second.run("SELECT pg_reload_conf()")
            storm.assert_all_is_well()
        finally:
            second.remove()
