"""Every error this software raises on purpose, with the exit code each one ends a program with.

OpenRouterUsageError            the root; catch it to catch them all
├── SettingsError           2   wrong usage or settings, missing packages
│   ├── MissingKey          2   a key is needed and was not found (also a ValueError)
│   ├── InvalidValue        2   not a valid figure, time or name (also a ValueError)
│   ├── NotInstalled        2   part of the package, and not of an install of the skill alone
│   └── BadRequest          2   OpenRouter calls the request malformed: 400, 413, 422
├── Refused                 3   the answer is no: over budget, alert fired, outside tolerance (also a ValueError)
├── Denied                  4   OpenRouter said no: 401, 402, 403
├── Unreachable             5   OpenRouter could not be reached or kept failing
│   ├── TimedOut            5   no complete answer before the deadline
│   ├── NotFound            5   nothing there: 404, 405, 410
│   │   └── UnknownId       3   OpenRouter does not know the call or key of this id, however often it is asked
│   └── BadAnswer           5   an answer that cannot be understood
│       └── Unbelievable    5   an implausible bill: negative, not a number, above a million USD
└── LedgerError             6   the ledger cannot be read or written
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openrouter_usage.called import as_called
from openrouter_usage.text import named

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class OpenRouterUsageError(Exception):
    """Anything that went wrong and is not a bug: a message, a way out, and an exit code."""

    exit_code = 1
    code = "error"
    arrives = False

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        """Keep one line on what happened, one on what to try, and the slug that `--json` shows."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code
        # For a call that failed: whether it may be billed all the same, and its generation where that is known.
        self.may_have_arrived = type(self).arrives
        self.generation = ""


def note_arrival(error: BaseException, may_have_arrived: bool) -> None:
    """Note on any exception, also on ^C, whether the request that was broken off may have arrived."""
    error.may_have_arrived = may_have_arrived  # type: ignore[attr-defined]  # any exception can carry it


def may_have_arrived(error: BaseException) -> bool:
    """Check whether a request that ended with an exception may have arrived; True unless noted otherwise."""
    return bool(getattr(error, "may_have_arrived", True))


class SettingsError(OpenRouterUsageError):
    """The program was called or set up wrongly."""

    exit_code = 2
    code = "settings"


class MissingKey(SettingsError, ValueError):
    """No OpenRouter key was found where one is needed."""

    code = "missing_key"


class InvalidValue(SettingsError, ValueError):
    """A value is not what its name promises."""

    code = "invalid_value"


class NotInstalled(SettingsError):
    """The package has this part, and an install of the skill alone does not."""

    code = "not_installed"


def of_missing_part(error: ModuleNotFoundError) -> NotInstalled | None:
    """Return the error for a part that the skill alone lacks, with how to get it; None for any other missing module."""
    if not (error.name or "").startswith("openrouter_usage."):
        return None
    of_team = "team" in str(error.name)
    part, extra, verb = ("ledger of a team", "team", "team") if of_team else ("gateway", "gateway", "gateway")
    package, command = f"openrouter-usage[{extra}]", f"openrouter-usage {verb}"
    return NotInstalled(
        f"this install is the skill alone, without the {part}",
        hint=f"the package has it: uvx --from '{package}' {command}  (or, from its repository: "
        f"uvx --from '{package} @ git+URL' {command})",
    )


class BadRequest(SettingsError):
    """OpenRouter calls the request malformed."""

    code = "bad_request"


class Refused(OpenRouterUsageError, ValueError):
    """The answer to a yes-or-no question is no.

    Also a ValueError, because the budget middleware of the guides raises one, and callers catch it.
    """

    exit_code = 3
    code = "refused"


class BudgetExceeded(Refused):
    """A call may cost more than a cap leaves; nothing was sent. Amounts are USD, `resets_at` is UTC."""

    code = "over_budget"

    def __init__(
        self,
        *,
        scope: str,
        spent: Decimal,
        held: Decimal,
        asked: Decimal,
        cap: Decimal,
        resets_at: datetime | None,
        ahead: Decimal | None = None,
        ahead_calls: int = 0,
        kind: str = "machine",
        name: str = "",
        policy: str = "strict",
    ) -> None:
        """Keep the cap, whose it is (`kind` and `name`), what counts against the cap, and when it resets.

        `ahead` USD of that are in calls dated in the future, which count until their date is corrected.
        """
        against = f"{_usd(spent)} spent + {_usd(held)} held + " if scope != "per-request" else ""
        until = f"; it resets on {resets_at:%Y-%m-%d} at midnight UTC" if resets_at else ""
        hint = "nothing was sent; ask for a shorter answer (--max-tokens), use a cheaper model, or raise the budget"
        if resets_at and ahead:
            calls = "1 call" if ahead_calls == 1 else f"{ahead_calls:,} calls"
            until = f"{until}, but {_usd(ahead)} of it stays: {calls} dated in the future by a wrong clock"
            hint = "nothing was sent; `settle` asks OpenRouter when those calls were made, `clean --ahead` removes them"
        of = _of(kind, name)
        super().__init__(
            f"the {scope} budget of {_usd(cap)}{of} does not allow this call: {against}{_usd(asked)} asked{until}",
            hint=hint,
        )
        self.scope = scope
        self.kind = kind
        self.name = name
        self.policy = policy
        self.spent = spent
        self.held = held
        self.asked = asked
        self.cap = cap
        self.resets_at = resets_at
        self.ahead = ahead
        self.ahead_calls = ahead_calls

    @property
    def is_only_held(self) -> bool:
        """Check whether the call would fit if the calls that run now cost nothing: waiting for them may help."""
        return self.held > 0 and self.spent + self.asked <= self.cap


class Braked(Refused):
    """A brake stops a call: too much money within a few minutes. Amounts are USD; nothing was sent."""

    code = "brake"

    def __init__(
        self,
        *,
        spent: Decimal,
        held: Decimal,
        asked: Decimal,
        cap: Decimal,
        seconds: int,
        kind: str = "machine",
        name: str = "",
        policy: str = "strict",
    ) -> None:
        """Keep the brake, whose it is, and what counts against it."""
        span = f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
        of = _of(kind, name)
        super().__init__(
            f"the brake of {_usd(cap)} in {span}{of} stops this call: {_usd(spent)} spent in that time + "
            f"{_usd(held)} held + {_usd(asked)} asked",
            hint="nothing was sent; look for a loop, or wait a few minutes",
        )
        self.scope = "brake"
        self.kind = kind
        self.name = name
        self.policy = policy
        self.spent = spent
        self.held = held
        self.asked = asked
        self.cap = cap
        self.resets_at = None


class Repeated(Refused):
    """The same request was made too often within a minute: most likely a program repeats itself for ever."""

    code = "repeated"

    def __init__(self, times: int, *, kind: str = "machine", name: str = "") -> None:
        """Keep how often it may be made, and whose budget says so."""
        of = _of(kind, name)
        often = "once" if times == 1 else f"{times:,} times"
        super().__init__(
            f"the brake{of} stops this call: the same request was made {often} within a minute already",
            hint="nothing was sent; look for a loop, or wait a minute",
        )
        self.scope = "repeats"
        self.kind = kind
        self.name = name


class UnbelievableBill(Refused):
    """A call has an implausible bill; under a budget nothing is sent until a person has looked at the bill."""

    code = "unbelievable_bill"

    def __init__(self, identity: str, told: str, count: int) -> None:
        """Keep the id of the call, and the cost that OpenRouter named."""
        more = f", and {count - 1:,} more like it" if count > 1 else ""
        super().__init__(
            f"under a budget nothing is sent, because the call {identity} has the implausible bill {told!r}{more}",
            hint=f"look at it on OpenRouter, then run: {as_called('cost_tracker.py settle')} --id {identity}",
        )
        self.generation = identity


def _of(kind: str, name: str) -> str:
    """Return whose budget it is, as words that go on a sentence; nothing for the machine's own."""
    return f" for {kind} {named(name)}" if name else ""


def _usd(amount: Decimal) -> str:
    """Return an amount exactly, with two decimals at least; money.py imports this module and cannot be used here."""
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"${whole}.{fraction.rstrip('0'):0<2}"


class Denied(OpenRouterUsageError):
    """OpenRouter refuses: the key, the credits or the permission is not enough."""

    exit_code = 4
    code = "denied"


class Unreachable(OpenRouterUsageError):
    """OpenRouter could not be reached, or kept failing."""

    exit_code = 5
    code = "unreachable"
    arrives = True


class TimedOut(Unreachable):
    """No complete answer came before the deadline."""

    code = "timeout"


class NotFound(Unreachable):
    """OpenRouter does not know what was asked for; `is_told` where OpenRouter says so itself, not a proxy."""

    code = "not_found"
    is_told = False


class UnknownId(NotFound):
    """OpenRouter was reached, and knows no call or key of this id: the answer is no."""

    exit_code = 3
    code = "unknown_id"


class BadAnswer(Unreachable):
    """OpenRouter, or something in between, sent an answer that cannot be understood."""

    code = "bad_answer"


class Unbelievable(BadAnswer):
    """OpenRouter names a cost that no call can have; `told` is that cost as text."""

    code = "unbelievable_bill"

    def __init__(self, message: str, *, told: str = "") -> None:
        """Keep the message, and the cost as OpenRouter wrote it."""
        super().__init__(message, hint="look at the call on OpenRouter")
        self.told = told


class LedgerError(OpenRouterUsageError):
    """The ledger cannot be read or written."""

    exit_code = 6
    code = "ledger"
