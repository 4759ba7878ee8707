"""The ledger of a team on PostgreSQL, behind the same verbs as the one in a file.

The server decides: a hold is one function that checks every cap and sets the money aside, by the server's own clock.
What cannot be written now waits in the spool of this machine, and is brought in by its id: nothing counts twice.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from openrouter_usage.budgets import MACHINE, Budget, Owner
from openrouter_usage.entry import NOTHING, Caps, Entry, Hold, Usage, read_line, record_values, write_line
from openrouter_usage.errors import Braked, BudgetExceeded, LedgerError, UnbelievableBill
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.ledger import Ahead, Appended, Committed, Health, Ledger, Member, OwnBooks
from openrouter_usage.ledger.merge import completing, merged
from openrouter_usage.ledger.sums import Groups, Totals
from openrouter_usage.ledger.team_server import Row, Server
from openrouter_usage.money import dumps, loads, usd
from openrouter_usage.period import FOREVER, UTC, Period
from openrouter_usage.text import plural
from openrouter_usage.vocabulary import Where, joined, parts_of, time_name

if TYPE_CHECKING:
    from openrouter_usage.home.settings import SharedAddress

T = TypeVar("T")
Read = Callable[[str, tuple[object, ...]], list[Row]]
# A call that takes longer is surely over: whoever wants may look up what became of it.
LEASE = timedelta(hours=1)
_PAGE = 2_000
# Shown of a brake, and enough of any: the server itself sums all calls when it decides.
_MOST_RECENT = 100_000
_CALLS = "calls(%s::timestamptz, %s::timestamptz, %s::timestamptz, %s::bigint, %s::integer)"
_AT_ONCE = 500
_MOST_TRIES = 20
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
# How the server names the windows, and how refusals do.
_CAPS = {"request": "per_request", "day": "daily", "week": "weekly", "month": "monthly", "total": "total"}
_CAPS_AGE_S = 30
_NAMES = {"request": "per-request", "day": "daily", "week": "weekly", "month": "monthly", "total": "total"}


def machine_name() -> str:
    """Return the name of this machine, by which its calls are told from those of others."""
    import platform  # late: only a shared ledger needs it

    return platform.node().partition(".")[0][:100] or "unnamed"


class Taken(NamedTuple):
    """An allowance that a machine has taken, in USD, and what is left of it as far as the server knows."""

    id: str
    at: datetime
    until: datetime
    amount: Decimal
    left: Decimal
    member: str
    machine: str


class TeamCommitted(Committed):
    """What is spent and held, as of one moment of the server."""

    def __init__(self, read: Read, machine: str) -> None:
        """Keep the way to ask the server."""
        self._read = read
        self._machine = machine

    def spent(self, period: Period, owner: Owner = MACHINE) -> Usage:
        """Sum the settled calls of whole UTC days, all or those of one owner."""
        return _spent(self._read, owner.kind if owner.name else "", owner.name, period)

    def holds(self) -> list[Hold]:
        """Return the holds that have not ended, with the time at which the server wrote them."""
        return [each.hold for each in self._held()]

    def _held(self) -> list[_Held]:
        return _holds(self._read, self._machine)

    def since(self, moment: datetime) -> list[Entry]:
        """Return the settled calls from a moment on."""
        return [entry for entry, _, _ in self._since(moment)]

    def _since(self, moment: datetime) -> list[tuple[Entry, str, str]]:
        rows = self._read(_CALLS, (moment, FOREVER, moment, 0, _MOST_RECENT))
        return [(_entry(record), member, machine) for _, _, record, member, machine in rows]

    def of(self, owner: Owner) -> OwnBooks:
        """Return the same of the calls of one owner."""
        return _TeamOwnBooks(self, owner)

    def doubtful(self) -> list[Entry]:
        """Return the calls with an implausible bill that nobody has looked at."""
        return _unsettled(self._read, only_doubtful=True)


class _TeamOwnBooks(OwnBooks):
    """What one owner has spent and holds: whose a hold is says the server, not a tag."""

    def __init__(self, books: TeamCommitted, owner: Owner) -> None:
        super().__init__(books, owner)
        self._team = books

    def holds(self) -> list[Hold]:
        kind, name = self._owner
        if kind not in ("member", "machine"):
            return super().holds()
        return [each.hold for each in self._team._held() if name == getattr(each, kind)]

    def since(self, moment: datetime) -> list[Entry]:
        kind, name = self._owner
        if kind not in ("member", "machine"):
            return super().since(moment)
        place = 1 if kind == "member" else 2
        return [found[0] for found in self._team._since(moment) if found[place] == name]


class TeamLedger(Ledger):
    """The ledger that a team shares; every verb raises LedgerError when the server cannot be used."""

    def __init__(
        self,
        address: SharedAddress,
        path: Path,
        *,
        wait_s: float = 10.0,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Keep the address; nothing is connected before the first verb.

        `path` names the lines in the spool that wait for this ledger: there is no file of that name.
        """
        self.path = path
        self.source = address.shown.removeprefix("the shared ledger").strip()
        self.shown = address.shown
        self.machine = machine_name()
        self.server = Server(address, wait_s=wait_s)
        self._notice = notice
        self._taking = threading.Lock()
        self._member: str | None = None
        self._budgets: tuple[float, tuple[Budget, ...]] | None = None

    is_shared = True

    @property
    def is_missing(self) -> bool:
        """Return False: whether the server can be used is known when it is asked."""
        return False

    def close(self) -> None:
        """Close the connections; the next verb opens them again."""
        self.server.close()

    # -- Calls that were made.

    def append_all(
        self, entries: Iterable[Entry], *, durable: bool = False, may_lower: bool = True, may_redate: bool = False
    ) -> Appended:
        """Write what is new of some calls. Without `may_lower` no call counts for less than before."""
        self._take_spool()
        return self._append(entries, may_lower=may_lower, may_redate=may_redate)

    def bring_in(self, entries: Iterable[Entry], key: Callable[[Entry], str], *, allowance: str = "") -> Appended:
        """Write calls from elsewhere; one without an id is known again by its `key`, if they are brought in twice.

        What was spent of an `allowance` is not held any more.
        """
        return self._append(entries, may_lower=False, key=key, allowance=allowance)

    def _append(
        self,
        entries: Iterable[Entry],
        *,
        may_lower: bool = True,
        may_redate: bool = False,
        key: Callable[[Entry], str] | None = None,
        allowance: str = "",
    ) -> Appended:
        new = completed = 0
        call = (
            "spend_allowance(%s, %s::jsonb[], %s::text[], %s)" if allowance else "append(%s::jsonb[], %s::text[], %s)"
        )
        begin = (allowance,) if allowance else ()
        better: list[Entry] = []
        part: dict[str, Entry] = {}

        def write() -> None:
            nonlocal new, completed
            keys = list(part)
            rows, unsure = self.server.ask(call, (*begin, [_json(part[key]) for key in keys], keys, self.machine))
            known = loads(rows[0][0])
            assert isinstance(known, list)  # noqa: S101  # what the function returns
            new += len(keys) - len(known)
            for each in known:
                assert isinstance(each, dict)  # noqa: S101
                entry = part[keys[int(str(each["place"]))]]
                changed = self._complete(entry, may_lower=may_lower, may_redate=may_redate) if entry.id else False
                # After a lost answer the call may be known because this program has just written it.
                is_ours = unsure and not changed and _entry(dumps(each["record"])) == _clean(entry)
                new, completed = new + is_ours, completed + changed
            part.clear()

        for entry in entries:
            name = key(entry) if key else entry.id or f"line:{uuid.uuid4().hex}"
            if name in part:
                better.append(entry)
                continue
            part[name] = entry
            if len(part) >= _AT_ONCE:
                write()
        if part:
            write()
        for entry in better:
            completed += self._complete(entry, may_lower=may_lower, may_redate=may_redate) if entry.id else False
        return Appended(new, completed)

    def _complete(self, entry: Entry, *, may_lower: bool = True, may_redate: bool = False, hold: str = "") -> bool:
        """Add what an entry knows to the recorded call; False when that is nothing, and it ends no hold."""
        entry = _clean(entry)
        for _ in range(_MOST_TRIES):
            rows, _ = self.server.ask("known(%s)", (entry.id,))
            if not rows:
                raise LedgerError(f"{self.shown} has lost a call that it knew")
            known = _entry(rows[0][0])
            line = completing(entry, known, may_lower=may_lower, may_redate=may_redate)
            if line is None and not hold:
                return False
            whole = merged([known, line]) if line else known
            done, unsure = self._state(
                "complete(%s, %s, %s::integer, %s::jsonb)", (hold, entry.id, rows[0][1], _json(whole))
            )
            if done["state"] == "completed" or unsure:
                return line is not None or bool(done.get("ended")) or unsure
        raise LedgerError(f"{self.shown} keeps changing under a call that is being completed", hint="try again")

    def known(self, identity: str) -> Entry | None:
        """Return the call that is recorded under an id, None without one."""
        rows, _ = self.server.ask("known(%s)", (identity,)) if identity else ([], False)
        return _entry(rows[0][0]) if rows else None

    def certain(self, identities: Iterable[str]) -> set[str]:
        """Return those of some ids under which a call with a certain cost is recorded; one question for each."""
        found = ((identity, self.known(identity)) for identity in identities)
        return {identity for identity, entry in found if entry is not None and entry.is_certain}

    def unsettled(self) -> list[Entry]:
        """Return the recorded calls that OpenRouter can still be asked about, or whose bill is implausible."""
        return self.server.read(_unsettled)

    def ahead(self, moment: datetime, *, untouched: bool = False) -> Ahead | None:
        """Return the sum of the calls dated on the UTC day of a moment or later; None without any."""

        def work(read: Read) -> Ahead | None:
            usage = _spent(read, "", "", Period(moment, FOREVER, "ahead"))
            last = read("bounds()", ())[0][1]
            return Ahead(usage, last) if usage.requests else None

        return self.server.read(work)

    def entries(self, period: Period | None = None) -> Iterator[Entry]:
        """Return the calls of a period, or all, in the order of their time, each id once."""
        return (entry for entry, _, _ in self.attributed(period))

    def attributed(self, period: Period | None = None) -> Iterator[tuple[Entry, str, str]]:
        """Return the same with the member and the machine of each call."""
        return _pages(lambda call, values: self.server.ask(call, values)[0], period)

    # -- Sums.

    def totals(self, period: Period | None = None, by: str = "model", zone: tzinfo = UTC, where: Where = ()) -> Totals:
        """Sum the calls of a period, or all, that filters take: by one grouping, or by two with a comma.

        Filters, two groupings and hours are read from the calls, everything else from the sums.
        """
        if by == "model" and not where and period and _is_whole(period):
            # One question, whose answer is of one moment by itself.
            return _totals(lambda call, values: self.server.ask(call, values)[0], period, by, zone)
        return self.server.read(lambda read: _sum(read, period, by, zone, where))

    def totals_of(self, wanted: Sequence[tuple[Period, str]], zone: tzinfo = UTC, where: Where = ()) -> list[Totals]:
        """Sum several periods, each by a grouping, all as of one moment, and of them the calls that filters take."""
        return self.server.read(lambda read: [_sum(read, each, by, zone, where) for each, by in wanted])

    def committed(self, look: Callable[[Committed], None]) -> None:
        """Pass what is spent and held, as of one moment, to `look`."""
        self.server.read(lambda read: look(TeamCommitted(read, self.machine)))

    def health(self, *, untouched: bool = False) -> Health:
        """Return the holds that have not ended, and the calls without a certain cost; the size is a count of calls."""

        def work(read: Read) -> Health:
            found = _unsettled(read)
            doubtful = tuple(entry for entry in found if entry.is_doubtful)
            holds = tuple(each.hold for each in _holds(read, self.machine))
            return Health(int(read("bounds()", ())[0][2]), (), 0, holds, len(found), doubtful)

        return self.server.read(work)

    def holds_to_settle(self) -> tuple[Hold, ...]:
        """Return the open holds of this machine, and those of others whose lease is over."""
        return self.server.read(lambda read: tuple(each.hold for each in _holds(read, self.machine) if each.is_due))

    # -- Holds.

    def together(self, work: Callable[[], T]) -> T:
        """Do work of several verbs: each of them is a transaction of its own on the server, and safe to repeat."""
        return work()

    def hold(self, hold: Hold, check: Callable[[Committed], None], budgets: Iterable[Budget] = ()) -> None:
        """Write a hold if it fits every cap of `budgets`, and those that an administrator has set.

        The server checks and writes in one step, by its own clock; `check` is not needed here. Raises BudgetExceeded
        and UnbelievableBill as `check` does.
        """
        self._take_spool()
        limits = list(_limits(budgets))
        lists: list[list[Any]] = [list(each) for each in zip(*limits, strict=True)] if limits else [[]] * 5
        done, _ = self._state(
            "hold(%s, %s::jsonb, %s::numeric, %s::numeric, %s, %s::interval, %s::text[], %s::text[], %s::text[],"
            " %s::text[], %s::numeric[])",
            (hold.id, _json(hold), hold.max_cost, hold.measured, self.machine, LEASE, *lists),
        )
        if done["state"] != "held":
            raise self._refusal(done)

    def _refusal(self, done: Mapping[str, Any]) -> Exception:
        if done["state"] == "doubtful":
            return UnbelievableBill(str(done["id"] or ""), str(done["told"]), int(done["calls"]))
        if done["state"] == "unbounded":
            self._budgets = None
            return LedgerError(
                f"{self.shown} has a cap for this call, set a moment ago, and nobody has computed what it can cost",
                hint="make the call again",
            )
        if done["state"] != "refused":
            return LedgerError(f"{self.shown} knows this hold already, and it has ended")
        span, resets = str(done["span"]), done["resets"]
        if span not in _NAMES:
            return Braked(
                spent=usd(done["spent"]),
                held=usd(done["held"]),
                asked=usd(done["asked"]),
                cap=usd(done["cap"]),
                seconds=int(span.partition(":")[2]),
                kind=str(done["kind"]) or "machine",
                name=str(done["name"]),
                policy=str(done["policy"]),
            )
        return BudgetExceeded(
            scope=_NAMES[span],
            spent=usd(done["spent"]),
            held=usd(done["held"]),
            asked=usd(done["asked"]),
            cap=usd(done["cap"]),
            resets_at=_midnight(date.fromisoformat(resets)) if resets else None,
            kind=str(done["kind"]) or "machine",
            name=str(done["name"]),
            policy=str(done["policy"]),
        )

    def budgets(self) -> tuple[Budget, ...]:
        """Return the caps that an administrator has set, at most half a minute old."""
        now = monotonic()
        kept = self._budgets
        if kept is None or now - kept[0] > _CAPS_AGE_S:
            kept = self._budgets = (now, tuple(self._in_force()))
        return kept[1]

    def names(self) -> dict[str, str]:
        """Return by which member and which machine the server knows the calls that are made here."""
        if self._member is None:
            self._member = self.whoami().name
        return {"member": self._member, "machine": self.machine}

    def whoami(self) -> Member:
        """Ask the server who this program is."""
        ((row,), _) = self.server.ask("whoami()", ())
        return Member(str(row[0]), int(row[1]), bool(row[2]))

    def refresh(self) -> None:
        """Ask the server for what `names` and `budgets` return, if that is due."""
        self.names()
        self.budgets()

    def set_caps(self, owner: Owner, caps: Mapping[str, Decimal | None], policy: str) -> None:
        """Set some caps of an owner in the ledger itself, None to remove one; LedgerError for all but administrators.

        `caps` has names of `Caps`.
        """
        kind = "" if owner == MACHINE else owner.kind
        for span, name in _CAPS.items():
            if name in caps:
                self.server.ask("set_cap(%s, %s, %s, %s, %s::numeric)", (kind, owner.name, policy, span, caps[name]))
        self._budgets = None

    def caps(self) -> list[Budget]:
        """Return all caps that administrators have set, whoever they are for."""
        return list(_budgets(row[:5] for row in self.server.ask("caps(%s)", (self.machine,))[0]))

    def _in_force(self) -> Iterator[Budget]:
        """Return the caps that calls from here may fall under, those that surely hold as the whole ledger's."""
        for kind, name, policy, span, amount, applies in self.server.ask("caps(%s)", (self.machine,))[0]:
            if applies is not False:
                owner = MACHINE if applies else Owner(kind, name)
                yield Budget(owner, Caps(**{_CAPS[span]: amount}), policy)

    def take_allowance(self, hold: Hold, seconds: int, budgets: Iterable[Budget]) -> tuple[Decimal, int]:
        """Take the amount of a hold in advance, if it fits every cap; return what was taken, and for how many seconds.

        Safe to repeat with the same hold. Raises BudgetExceeded and UnbelievableBill as `hold` does.
        """
        record = dumps({**record_values(hold), "allowance": True})
        limits = [each for each in _limits(budgets) if each[3] in _CAPS and each[3] != "request"]
        lists: list[list[Any]] = [list(each) for each in zip(*limits, strict=True)] if limits else [[]] * 5
        done, _ = self._state(
            "take_allowance(%s, %s::jsonb, %s::numeric, %s::interval, %s, %s::text[], %s::text[], %s::text[],"
            " %s::text[], %s::numeric[])",
            (hold.id, record, hold.max_cost, timedelta(seconds=seconds), self.machine, *lists),
        )
        if done["state"] != "taken":
            raise self._refusal(done)
        return usd(done["taken"]), int(usd(done["seconds"]))

    def end_allowance(self, identity: str) -> Decimal | None:
        """Give the rest of an allowance back and return it, None when it was given back before."""
        rows, _ = self.server.ask("end_allowance(%s, %s)", (identity, self.machine))
        rest: Decimal | None = rows[0][0]
        return rest

    def allowances(self) -> list[Taken]:
        """Return all allowances that were taken and not given back, of every machine."""
        return [Taken(*row) for row in self.server.ask("allowances()", ())[0]]

    def settle(self, entry: Entry) -> bool:
        """End a hold with what was billed; return False, and write nothing, when that call is known already.

        A call whose hold has ended without it is written anyway, because it was billed.
        """
        self._take_spool()
        return self._settle(entry, entry.id or f"hold:{entry.hold}")

    def _settle(self, entry: Entry, key: str) -> bool:
        done, unsure = self._state("settle(%s, %s::jsonb, %s, %s)", (entry.hold, _json(entry), key, self.machine))
        if done["state"] == "settled":
            return True
        if done["state"] == "ended":
            return False
        # A call without an id is known by its hold, and was settled before. Of others more may be known now.
        is_written = unsure and _entry(dumps(done["record"])).hold == entry.hold
        if not entry.id:
            return is_written
        return self._complete(entry, hold=entry.hold) or is_written

    def release(self, hold: str, now: datetime) -> bool:
        """End a hold for which nothing can have been billed; return False when it has ended already."""
        rows, unsure = self.server.ask_together("release(%s)", (hold,))
        return bool(rows[0][0]) or unsure

    def name_generation(self, hold: str, generation: str) -> bool:
        """Write which generation an open hold is for, so that it can be looked up whatever happens."""
        rows, unsure = self.server.ask_together("name_generation(%s, %s)", (hold, _printable(generation)))
        return bool(rows[0][0]) or unsure

    def _state(self, call: str, values: tuple[object, ...]) -> tuple[dict[str, Any], bool]:
        rows, unsure = self.server.ask_together(call, values)
        done = loads(rows[0][0])
        assert isinstance(done, dict)  # noqa: S101  # what each of these functions returns
        return done, unsure

    # -- Lines of calls that were made while the server could not be reached.

    def _take_spool(self) -> None:
        waiting = spool.waiting(self.path)
        if not waiting or not self._taking.acquire(blocking=False):
            return
        try:
            taken = sum(map(self._take, waiting))
        finally:
            self._taking.release()
        if taken:
            verb = "is" if taken == 1 else "are"
            self._notice(f"{plural(taken, 'line')} that could not be saved before {verb} in {self.shown} now")

    def _take(self, path: Path) -> int:
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            return 0
        found = [record for record in map(read_line, lines) if isinstance(record, Entry)]
        for place, entry in enumerate(found):
            # The name of the file tells a line apart that has no id: it is the same at a second try.
            key = entry.id or (f"hold:{entry.hold}" if entry.hold else f"spool:{path.name}:{place}")
            self._settle(entry, key) if entry.hold else self._append([entry], key=lambda _, key=key: key)  # type: ignore[misc]
        with suppress(OSError):
            path.unlink()
        return len(found)


def _limits(budgets: Iterable[Budget]) -> Iterator[tuple[str, str, str, str, Decimal]]:
    for budget in budgets:
        kind = "" if budget.owner.kind == "machine" else budget.owner.kind
        for span, name in _CAPS.items():
            amount = getattr(budget.caps, name)
            if amount is not None:
                yield kind, budget.owner.name, budget.policy, span, amount
        if budget.burst is not None:
            yield kind, budget.owner.name, budget.policy, f"burst:{budget.burst.seconds}", budget.burst.amount


def _budgets(rows: Iterable[Row]) -> Iterator[Budget]:
    found: dict[tuple[str, str, str], dict[str, Decimal]] = {}
    for kind, name, policy, span, amount in rows:
        found.setdefault((kind, name, policy), {})[_CAPS[span]] = amount
    for (kind, name, policy), amounts in found.items():
        yield Budget(Owner(kind or "machine", name), Caps(**amounts), policy)


def _pages(read: Read, period: Period | None) -> Iterator[tuple[Entry, str, str]]:
    """Return the calls of a period with member and machine; a failure to read the first page is raised at once."""
    start, end = (period.start, period.end) if period else (_BEGINNING, FOREVER)

    def page(after: datetime, place: int) -> list[Row]:
        return read(_CALLS, (start, end, after, place, _PAGE))

    def all_of(rows: list[Row]) -> Iterator[tuple[Entry, str, str]]:
        while True:
            for _, _, record, member, machine in rows:
                yield _entry(record), member, machine
            if len(rows) < _PAGE:
                return
            rows = page(*rows[-1][:2])

    return all_of(page(start, 0))


def _sum(read: Read, period: Period | None, by: str, zone: tzinfo, where: Where) -> Totals:
    if by in ("week", "month", "weekday") and not where:
        found, spans = _totals(read, period, "day", zone), Groups()
        for day, usage in found.groups.items():
            name = time_name(by, date.fromisoformat(day))
            spans[name] = spans.get(name, NOTHING) + usage
        return Totals(found.total, spans)
    if not where and "," not in by and by != "hour":
        return _totals(read, period, by, zone)
    from openrouter_usage.ledger.cross import Call  # late: the usual reports do without

    parts = parts_of(by)
    names_members = {"member", "machine"} & {*parts, *(each.kind for each in where)}
    groups: Groups = {}
    for entry, member, machine in _pages(read, period):
        at = entry.ts.astimezone(zone)
        named = {**dict(entry.tags), "member": member, "machine": machine}
        tags = tuple(sorted(named.items())) if names_members else entry.tags
        call = Call(at.date(), at.hour, entry.model, entry.provider, entry.session, tags)
        if all(call.is_asked(each) for each in where):
            name = joined(call.name(part) for part in parts)
            groups[name] = groups.get(name, NOTHING) + entry.usage
    return Totals(sum(groups.values(), NOTHING), groups)


def _totals(read: Read, period: Period | None, by: str, zone: tzinfo) -> Totals:
    start, end = _BEGINNING, FOREVER
    if by == "day":  # every day is looked at, so it has to be known where the calls begin and end
        first, last, calls = read("bounds()", ())[0]
        if not calls:
            return Totals(NOTHING, {})
        start, end = _midnight(first.date()), _midnight(last.date() + timedelta(days=1))
    if period:
        start, end = max(start, period.start.astimezone(UTC)), min(end, period.end.astimezone(UTC))
    if start >= end:
        return Totals(NOTHING, {})
    if by == "day":
        groups = _by_day(read, start, end, zone)
        return Totals(sum(groups.values(), NOTHING), groups)
    groups = _by_group(read, start, end, by)
    everything = sum(groups.values(), NOTHING)
    if by != "model":
        whole = _by_group(read, start, end, "").get("", NOTHING)
        if (whole - everything).requests:
            groups[""] = groups.get("", NOTHING) + (whole - everything)
        everything = whole
    return Totals(everything, groups)


def _by_group(read: Read, start: datetime, end: datetime, facet: str) -> Groups:
    first, stop = _day_from(start), end.date()
    if first >= stop:
        edges = [(start, end)]
    else:
        edges = [(low, high) for low, high in ((start, _midnight(first)), (_midnight(stop), end)) if low < high]
    groups: Groups = {}
    if first < stop:
        for name, *values in read("totals(%s, %s, %s)", (facet, first, stop)):
            groups[name] = _usage(values)
    for _, name, *values in _within(read, facet, edges):
        groups[name] = groups.get(name, NOTHING) + _usage(values)
    return groups


def _by_day(read: Read, start: datetime, end: datetime, zone: tzinfo) -> Groups:
    """Sum the days of a zone: UTC days from their rows, all others from the calls themselves."""
    first, stop = _day_from(start), end.date()
    groups: Groups = {}
    if zone is UTC and first < stop:
        for name, *values in read("totals_by_day(%s, %s)", (first, stop)):
            groups[name] = _usage(values)
    days: list[tuple[str, datetime, datetime]] = []
    day, low = start.astimezone(zone).date(), start
    while low < end:
        high = min(datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC), end)
        is_known = zone is UTC and first <= day < stop
        if low < high and not is_known:
            days.append((day.isoformat(), low, high))
        day, low = day + timedelta(days=1), max(low, high)
    for place, _, *values in _within(read, "", [(low, high) for _, low, high in days]):
        name = days[place][0]
        groups[name] = groups.get(name, NOTHING) + _usage(values)
    return dict(sorted(groups.items()))


def _within(read: Read, facet: str, stretches: list[tuple[datetime, datetime]]) -> list[Row]:
    if not stretches:
        return []
    starts, ends = map(list, zip(*stretches, strict=True))
    return read("totals_within(%s, %s::timestamptz[], %s::timestamptz[])", (facet, starts, ends))


def _spent(read: Read, kind: str, name: str, period: Period) -> Usage:
    start = period.start.astimezone(UTC).date()
    end = date(9999, 12, 31) if period.end >= FOREVER else period.end.astimezone(UTC).date()
    rows = read("spent(%s, %s, %s, %s)", (kind, name, start, end))
    return _usage(rows[0]) if rows else NOTHING


def _usage(values: Iterable[Any]) -> Usage:
    requests, unknown, estimated, prompt, completion, reasoning, cached, written, cost, byok = values
    return Usage(requests, prompt, completion, reasoning, cached, cost, byok, written, unknown, estimated)


def _day_from(moment: datetime) -> date:
    """Return the first UTC day that begins at a moment or after it."""
    return moment.date() if moment == _midnight(moment.date()) else moment.date() + timedelta(days=1)


def _is_whole(period: Period) -> bool:
    """Check whether a period is whole UTC days."""
    return all(moment.astimezone(UTC) == _midnight(moment.astimezone(UTC).date()) for moment in period[:2])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


class _Held(NamedTuple):
    """A hold, whether this machine may look it up, and whose it is."""

    hold: Hold
    is_due: bool
    member: str
    machine: str


def _holds(read: Read, machine: str) -> list[_Held]:
    found = []
    for at, record, amount, measured, is_due, member, of in read("holds(%s)", (machine,)):
        hold = read_line(record.encode())
        if isinstance(hold, Hold):
            # The time is the server's, by which every window was judged.
            kept = replace(hold, ts=at.astimezone(UTC), max_cost=amount, measured=measured)
            found.append(_Held(kept, is_due, member, of))
    return found


def _unsettled(read: Read, *, only_doubtful: bool = False) -> list[Entry]:
    return [_entry(record) for (record,) in read("unsettled(%s)", (only_doubtful,))]


def _entry(record: str) -> Entry:
    entry = read_line(record.encode())
    if not isinstance(entry, Entry):
        raise LedgerError("the shared ledger has a call that cannot be read", hint="update this skill")
    return entry


def _json(record: Entry | Hold) -> str:
    return write_line(_clean(record)).decode()


def _clean(record: Any) -> Any:
    """Return a record without NUL characters, which PostgreSQL cannot keep."""
    if "\\u0000" not in write_line(record).decode():
        return record
    named = {name: getattr(record, name) for name in record.__slots__}
    values = {name: _printable(value) for name, value in named.items() if isinstance(value, str)}
    tags = tuple(sorted({_printable(name): _printable(value) for name, value in record.tags}.items()))
    return replace(record, **values, tags=tags)


def _printable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
