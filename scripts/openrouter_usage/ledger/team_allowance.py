"""An allowance: money of a shared ledger that this machine has taken in advance, to spend it without the server.

It is held in the shared ledger. Here it is the cap of a ledger file of its own, whose calls `team allowance return`
brings in. A small file beside the ledger says that there is one; it is changed under the lock of that ledger file, so
that no call is held any more from the moment at which an allowance is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.budgets import EVERY, MACHINE, Budget, Owner
from openrouter_usage.called import as_called
from openrouter_usage.entry import Caps, Entry, Hold
from openrouter_usage.errors import BudgetExceeded, InvalidValue, LedgerError, Refused, UnbelievableBill
from openrouter_usage.files import locked, make_private_folder, read_own, replace_file
from openrouter_usage.ledger.ledger import Appended, Committed, Ledger
from openrouter_usage.ledger.team import TeamLedger, machine_name
from openrouter_usage.money import Json, add, dumps, loads, usd
from openrouter_usage.period import EVER, UTC, iso, spoken

ASKED, TAKEN, RETURNING = "asked", "taken", "returning"
_LARGEST_FILE = 1024 * 1024


class Allowance(NamedTuple):
    """What is known of an allowance on its machine.

    `until` is by this machine's clock, None before the server has answered. `tags` are the owners whose calls it is
    for, beside those of the machine and the member; `capped` are owners with caps of their own in the shared ledger.
    """

    id: str
    amount: Decimal
    seconds: int
    state: str
    member: str
    tags: tuple[tuple[str, str], ...] = ()
    capped: tuple[tuple[str, str], ...] = ()
    per_request: Decimal | None = None
    until: datetime | None = None

    def is_for(self, owner: Owner) -> bool:
        """Check whether the calls of an owner may be paid with it, although that owner has caps of its own."""
        return (owner.kind, owner.name) in self.tags


def state_file(path: Path) -> Path:
    """Return where the allowance of the shared ledger is noted whose waiting lines have the name `path`."""
    return path.with_suffix(".allowance.json")


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Let nobody else take or return an allowance meanwhile; LedgerError where that cannot be known."""
    where = state_file(path).with_suffix(".lock")
    with ExitStack() as held:
        try:
            make_private_folder(where.parent)
            held.enter_context(locked(where))
        except OSError as error:
            raise LedgerError(f"{where} cannot be locked: {error.strerror or error}") from None
        yield


def books_of(path: Path, allowance: Allowance) -> Path:
    """Return the ledger file of what an allowance is spent on."""
    return path.with_name(f"{path.stem}.allowance-{allowance.id}.jsonl")


def load(path: Path) -> Allowance | None:
    """Return the allowance of a shared ledger on this machine, None without one; LedgerError for a damaged note."""
    where = state_file(path)
    try:
        kept = loads(read_own(where, _LARGEST_FILE))
        if not isinstance(kept, dict):
            raise ValueError("not an object")
        most, until = kept["per_request"], kept["until"]
        return Allowance(
            str(kept["id"]),
            usd(kept["amount"]),
            int(str(kept["seconds"])),
            str(kept["state"]),
            str(kept["member"]),
            _pairs(kept["tags"]),
            _pairs(kept["capped"]),
            None if most is None else usd(most),
            None if until is None else datetime.fromisoformat(str(until).replace("Z", "+00:00")),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, InvalidValue) as error:
        raise LedgerError(
            f"the note of an allowance cannot be read: {where}: {error}",
            hint=as_called(
                "an administrator ends it with: cost_tracker.py team allowance release ID; then delete the file"
            ),
        ) from None


def _pairs(value: Json) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
        raise ValueError("not a list of pairs")
    return tuple((str(each[0]), str(each[1])) for each in value if isinstance(each, list))


def save(path: Path, allowance: Allowance | None) -> None:
    """Note an allowance, or that there is none any more; LedgerError when it cannot be written."""
    where = state_file(path)
    try:
        if allowance is None:
            where.unlink(missing_ok=True)
            return
        make_private_folder(where.parent)
        values: dict[str, Json] = {
            **allowance._asdict(),
            "tags": [list(each) for each in allowance.tags],
            "capped": [list(each) for each in allowance.capped],
            "until": iso(allowance.until) if allowance.until else None,
        }
        replace_file(where, [dumps(values) + "\n"], durable=True)
    except OSError as error:
        raise LedgerError(f"the note of an allowance cannot be written: {where}: {error.strerror or error}") from None


class AllowanceLedger(Ledger):
    """The ledger file of what an allowance is spent on; nothing is held beyond the allowance, or after its end."""

    def __init__(
        self,
        allowance: Allowance,
        team: TeamLedger,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **options: object,
    ) -> None:
        """Keep the allowance; `team` is the shared ledger that it is of, and is asked nothing."""
        super().__init__(books_of(team.path, allowance), **options)  # type: ignore[arg-type]  # those of a ledger
        self.allowance, self.team = allowance, team
        self.source = f"allowance of {team.source}"
        self.shown = f"the allowance of {team.shown}"
        self._clock = clock

    @property
    def is_missing(self) -> bool:
        """Return False: an allowance of which nothing is spent is a ledger without calls."""
        return False

    def close(self) -> None:
        """Close the files, and the connections of the shared ledger, if there are any."""
        super().close()
        self.team.close()

    def names(self) -> dict[str, str]:
        """Return under which further names the calls will be booked."""
        return {"member": self.allowance.member, "machine": machine_name()}

    def budgets(self) -> tuple[Budget, ...]:
        """Return the allowance as a budget of this machine."""
        return (Budget(MACHINE, Caps(self.allowance.per_request, total=self.allowance.amount)),)

    def caps(self) -> list[Budget]:
        """Return the same."""
        return list(self.budgets())

    def hold(self, hold: Hold, check: Callable[[Committed], None], budgets: Iterable[Budget] = ()) -> None:
        """Write a hold if the allowance is in force and has room for it, and `check` does not raise."""

        def both(books: Committed) -> None:
            self._check(hold, books)
            check(books)

        super().hold(hold, both, budgets)

    def append_all(
        self, entries: Iterable[Entry], *, durable: bool = False, may_lower: bool = True, may_redate: bool = False
    ) -> Appended:
        """Write calls that were made; after the end of the allowance, to the shared ledger itself."""
        options = {"durable": durable, "may_lower": may_lower, "may_redate": may_redate}
        kept = load(self.team.path)
        is_over = kept is None or kept.id != self.allowance.id
        return self.team.append_all(entries, **options) if is_over else super().append_all(entries, **options)

    def _check(self, hold: Hold, books: Committed) -> None:
        """Raise what refuses a hold; called under the lock, under which an allowance is ended as well."""
        kept = load(self.team.path)
        if kept is None or kept.id != self.allowance.id or kept.state != TAKEN:
            raise LedgerError(f"{self.shown} was given back", hint="start the program again")
        if kept.until is not None and self._clock() >= kept.until:
            raise LedgerError(
                f"{self.shown} ended on {spoken(kept.until)}",
                hint=as_called("give the rest back: cost_tracker.py team allowance return"),
            )
        owners = [Owner("session", hold.session), *(Owner(kind, name) for kind, name in hold.tags)]
        for owner in owners:
            is_capped = owner.name and {(owner.kind, owner.name), (owner.kind, EVERY)} & {*kept.capped}
            if is_capped and not kept.is_for(owner):
                raise Refused(
                    f"{owner.kind} {owner.name} has caps in the shared ledger, and this allowance was not taken for it",
                    hint=as_called(f"take one with: cost_tracker.py team allowance take USD --{owner.kind} NAME"),
                    code="allowance",
                )
        doubtful = books.doubtful()
        if doubtful:
            raise UnbelievableBill(doubtful[0].id, doubtful[0].told, len(doubtful))
        if hold.max_cost is None:
            raise LedgerError(f"{self.shown} cannot pay for a call of which nobody knows what it can cost")
        spent = books.spent(EVER).cost
        held = sum((each.max_cost or Decimal(0) for each in books.holds()), Decimal(0))
        limits = (("per-request", kept.per_request, Decimal(0)), ("total", kept.amount, add(spent, held)))
        for scope, cap, before in limits:
            if cap is not None and hold.max_cost and add(before, hold.max_cost) > cap:
                raise BudgetExceeded(
                    scope=scope,
                    spent=spent,
                    held=held,
                    asked=hold.max_cost,
                    cap=cap,
                    resets_at=None,
                )
