"""Make a chat call and record what it cost; under a budget, the most it can cost is held first."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import (
    INTERRUPTED,
    AnswerText,
    OutputClosed,
    Parser,
    checked,
    complain,
    whole_number,
    write,
)
from openrouter_usage.entry import Entry, safe_tag
from openrouter_usage.errors import InvalidValue, LedgerError, OpenRouterUsageError, SettingsError
from openrouter_usage.figures.summary import Summary, build_summary
from openrouter_usage.home.settings import load_budgets, load_settings
from openrouter_usage.jobs.snapshot import error_of
from openrouter_usage.jobs.summary import collect_funds
from openrouter_usage.money import Json, format_usd, usd
from openrouter_usage.openrouter.answers.account import Gap
from openrouter_usage.period import iso
from openrouter_usage.render.amounts import limit_left, remaining
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import ago, named, safe
from openrouter_usage.tracker.lookup import TIMEOUT_S, balance_error, key_balance
from openrouter_usage.tracker.routing import TASKS, route

if TYPE_CHECKING:
    from openrouter_usage.tracker.booking import Booking
    from openrouter_usage.tracker.chat import Call

# -- The text after a call: its usage, and the state of the key.


def render_usage(entry: Entry | None) -> str:
    """Return the tokens and the cost of a call in USD, and the source of the cost unless it is the answer."""
    lines = ["", "📊 API Usage:"]
    if entry is None:
        return "\n".join(
            [*lines, "Tokens: unknown", as_called("Cost: unknown (the call is held; run: cost_tracker.py settle)"), ""]
        )
    total = entry.prompt_tokens + entry.completion_tokens
    lines.append(f"Tokens: {total:,} (Prompt: {entry.prompt_tokens:,}, Completion: {entry.completion_tokens:,})")
    cost = "unknown" if entry.cost is None else format_usd(entry.cost)
    remark = {"late": " (looked up)", "estimated": " (at most; OpenRouter did not say)"}.get(entry.cost_source, "")
    lines.append(f"Cost: {cost}{remark}")
    if entry.byok_cost:
        lines.append(f"BYOK: {format_usd(entry.byok_cost)} paid to the provider, not in the cost")
    return "\n".join([*lines, ""])


def render_held(most: Decimal, prices_from: datetime | None, now: datetime) -> str:
    """Return the most that was held for a call in USD, and the age of the prices behind it."""
    age = f"prices of {ago((now - prices_from).total_seconds())} ago" if prices_from else "as asked for"
    return f"Held before it: {format_usd(most)} at most ({age})\n"


def render_balance(balance: Mapping[str, Json], summary: Summary | None) -> str:
    """Return what is left for calls, and the state of the key, from GET /key and GET /credits."""
    lines = ["💰 API Key Balance:"]
    if "error" in balance:
        return "\n".join([*lines, f"unknown: {safe(balance['error'], 300)}", ""])
    limit = summary.key_limit if summary else None
    lines.append(f"Credits Used: {_amount(balance.get('usage'))}")
    lines.append(f"Credits Remaining: {remaining(summary) if summary else 'unknown'}")
    lines.append(f"Credit Limit: {'unknown' if limit is None else limit_left(limit)}")
    lines.append(f"Free Tier: {'Yes' if balance.get('is_free_tier') else 'No'}")
    return "\n".join([*lines, ""])


def _amount(value: Json) -> str:
    return format_usd(value) if isinstance(value, Decimal) else "unknown"


def usage_data(entry: Entry | None) -> Json:
    """Return the usage of a call, for JSON; null when it is not known yet."""
    if entry is None:
        return None
    return {
        "generation_id": entry.id or None,
        "model": entry.model,
        "provider": entry.provider or None,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
        "total_tokens": entry.prompt_tokens + entry.completion_tokens,
        "cost_usd": entry.cost,
        "cost_source": entry.cost_source or "unknown",
        "byok_cost_usd": entry.byok_cost,
    }


EXAMPLES = """examples:
  cost_tracker.py call --model google/gemini-2.5-flash --prompt "Hello, world!"
  cost_tracker.py call --model anthropic/claude-sonnet-4.5:floor --prompt - --stream < question.txt
  cost_tracker.py call --task summarization --prompt - < article.txt
  cost_tracker.py call --model openrouter/auto --prompt "Hi" --max-cost 0.05
"""
PROGRAM = as_called("cost_tracker.py call")
_STOPPED = "interrupted"
LARGEST_PROMPT = 8 * 1024 * 1024


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="the model, optionally with :floor, :free or :nitro")
    which.add_argument("--task", choices=TASKS, help="choose the model by the kind of task")
    parser.add_argument(
        "--fallback", action="append", default=[], metavar="MODEL", help="a model to try next; may be repeated"
    )
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the prompt; - reads standard input")
    parser.add_argument("--system", metavar="TEXT", help="system instructions before the prompt")
    parser.add_argument("--max-tokens", type=whole_number(1, 10_000_000), metavar="N", help="longest answer, in tokens")
    parser.add_argument("--stream", action="store_true", help="show the answer as it comes")
    track = parser.add_mutually_exclusive_group()
    track.add_argument("--track", action="store_true", default=True, help="record the cost in the ledger (the default)")
    track.add_argument(
        "--no-track", action="store_false", dest="track", help="do not record the cost; not under a budget"
    )
    parser.add_argument("--session", default=None, metavar="NAME", help="the session that the call belongs to")
    parser.add_argument(
        "--tag", type=checked(_tag), action="append", default=[], metavar="K=V", help="a tag; may be repeated"
    )
    parser.add_argument("--max-cost", type=checked(usd), metavar="USD", help="the most this call may cost")
    parser.add_argument("--timeout", type=whole_number(1, 3600), default=300, metavar="S", help="seconds to wait (300)")


def _tag(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidValue("a tag must be written like project=website")
    return safe_tag(name), safe_tag(value)


def run(options: Namespace, *, now: datetime) -> int:
    """Make the call, print the answer, and then its usage; only the answer goes to standard output."""
    from openrouter_usage.tracker.chat import prepare

    if sys.stdout is None:
        raise OutputClosed("nothing was sent, because standard output is closed and could not show the answer")
    if options.task:
        chosen = route(options.task)
        options.model = chosen.model
        complain(PROGRAM, f"{options.task}: {named(chosen.model)}, for {chosen.why}")
    ledger = open_ledger(PROGRAM)
    if not options.track and any(budget.is_bounding for budget in (*load_budgets(), *ledger.budgets())):
        raise SettingsError(
            "--no-track cannot be used under a budget", hint="leave --no-track out, or clear the budget"
        )
    # A clean end: whatever the signal, the connection is closed and the call recorded.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    moment = now.replace(microsecond=0)  # whole seconds, as the file format has them
    call = prepare(
        ledger,
        _messages(options),
        options.model,
        _params(options),
        api_key=None,
        caps=None,
        max_cost=options.max_cost,
        session=options.session,
        tags=dict(options.tag),
        timeout_s=options.timeout,
        clock=lambda: moment,
        tracked=options.track,
    )
    said = Said()
    try:
        _make(call, said, stream=options.stream, quiet=options.json)
        return _report(options, call, said, now)
    except OutputClosed as error:
        raise _unshown(call, error) from None
    except OpenRouterUsageError as error:
        if not (options.json and said.parts):
            raise
        return _broken_off(call, said, error, now)
    except KeyboardInterrupt:
        if options.json and said.parts:
            stopped = OpenRouterUsageError("interrupted", hint=call.booking.remark, code=_STOPPED)
            return _broken_off(call, said, stopped, now)
        if call.booking.remark:
            complain(PROGRAM, call.booking.remark)
        raise


@dataclass
class Said:
    """What the model has said so far."""

    parts: list[str] = field(default_factory=list)
    finish: str = ""

    def add(self, answer: Mapping[str, Any]) -> str:
        """Add the text and the finish reason of an answer or a chunk, defensively, and return the text."""
        choices = answer.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        said = first.get("message") or first.get("delta") or {}
        text, finish = said.get("content") if isinstance(said, dict) else None, first.get("finish_reason")
        self.finish = finish if isinstance(finish, str) else self.finish
        if not isinstance(text, str) or not text:
            return ""
        self.parts.append(text)
        return text

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)


def _make(call: Call, said: Said, *, stream: bool, quiet: bool) -> None:
    """Make the call and show the answer, a streamed one as it comes."""
    shown = AnswerText()
    if not stream:
        text = said.add(call.chat())
        if not quiet:
            text = shown.feed(text) + shown.end()
            write(text if text.endswith("\n") else text + "\n")
        return
    try:
        # If the reader of the output goes away, the connection is closed and the call recorded here, not later.
        with call.stream() as chunks:
            for chunk in chunks:
                text = said.add(chunk)
                if text and not quiet:
                    write(shown.feed(text))
    finally:
        if said.parts and not quiet:
            write(shown.end() + "\n")


def _messages(options: Namespace) -> list[dict[str, str]]:
    prompt = _standard_input() if options.prompt == "-" else options.prompt
    try:
        f"{prompt}{options.system or ''}".encode()
    except UnicodeEncodeError:
        raise SettingsError("the prompt is not UTF-8 text", hint="convert it with iconv") from None
    if not prompt.strip():
        raise SettingsError(
            "the prompt is empty", hint='pass a text with --prompt "...", or - to read one', code="usage"
        )
    system = [{"role": "system", "content": options.system}] if options.system else []
    return [*system, {"role": "user", "content": prompt}]


def _standard_input() -> str:
    raw = sys.stdin.buffer.read(LARGEST_PROMPT + 1) if sys.stdin else b""
    if len(raw) > LARGEST_PROMPT:
        raise SettingsError(
            f"the prompt is larger than {LARGEST_PROMPT // 1024 // 1024} MiB", hint="shorten the prompt"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError("the prompt on standard input is not UTF-8 text", hint="convert it with iconv") from None


def _params(options: Namespace) -> dict[str, object]:
    params: dict[str, object] = {}
    if options.max_tokens is not None:
        params["max_tokens"] = options.max_tokens
    if options.fallback:
        params["models"] = [options.model, *options.fallback]
    return params


def _report(options: Namespace, call: Call, said: Said, now: datetime) -> int:
    balance, summary = _standing(now)
    booking, plan = call.booking, call.plan
    longest = plan.body.get("max_tokens")
    if longest is not None and options.max_tokens is None:
        was = "was cut off at" if said.finish == "length" else "was limited to"
        complain(PROGRAM, f"the answer {was} {longest:,} tokens, to fit the budget; --max-tokens sets another limit")
    if options.json:
        saved = options.track and booking.unsaved is None
        write(envelope("call", now, {**_data(call, said), "balance": balance, "left": _left(summary), "saved": saved}))
    elif sys.stderr is not None:  # else it would come after the answer
        held = render_held(plan.max_cost, plan.prices_from, now) if plan.max_cost is not None else ""
        write(render_usage(booking.entry) + held + render_balance(balance, summary), sys.stderr)
    return _tell_unsaved(booking)


def _standing(now: datetime) -> tuple[dict[str, Json], Summary | None]:
    """Ask for the state of the key and what is left; a failure must not affect the call that was made."""
    try:
        parts = collect_funds(load_settings(), now, timeout_s=TIMEOUT_S)
    except OpenRouterUsageError as error:
        return balance_error(error), None
    if isinstance(parts.key, Gap):
        return balance_error(error_of(parts.key)), None
    return key_balance(parts.key), build_summary(parts)


def _left(summary: Summary | None) -> Json:
    """Return what can still be spent: null where one of the binding figures is unknown."""
    if summary is None:
        return None
    balance = summary.balance.balance if summary.balance else None
    return {
        "spendable_usd": summary.spendable,
        "bound_by": summary.bound_by or None,
        "account_balance_usd": balance,
    }


def _tell_unsaved(booking: Booking) -> int:
    if booking.unsaved is not None:
        where = f"waits in {booking.kept_in} for the next run" if booking.kept_in else "has to be added by hand"
        line = booking.unsaved.decode().strip()
        complain(PROGRAM, f"the call could not be written to the ledger; its line {where}: {line}")
        return LedgerError.exit_code
    return 0


def _unshown(call: Call, error: OutputClosed) -> OutputClosed:
    """Return an error saying that an answer that could not be shown is paid for, and that another try costs again."""
    code, booking = _tell_unsaved(call.booking), call.booking
    in_ledger = "is recorded" if booking.is_kept and not code else "is not in the ledger"
    why = error.message or "the reader of the output is gone"
    hint = booking.remark or "its cost is unknown"
    return OutputClosed(f"{why}, but the call was made and {in_ledger}", hint=hint)


def _broken_off(call: Call, said: Said, error: OpenRouterUsageError, now: datetime) -> int:
    """Show what came before the end, because those words were paid for."""
    for each in (signal.SIGINT, signal.SIGTERM):  # more output would break the JSON
        signal.signal(each, signal.SIG_IGN)
    write(envelope("call", now, _data(call, said), error=error))
    complain(PROGRAM, error.message, error.hint)
    return INTERRUPTED if error.code == _STOPPED else error.exit_code


def _data(call: Call, said: Said) -> dict[str, Json]:
    plan = call.plan
    limits: dict[str, Json] = {
        "max_tokens": plan.body.get("max_tokens") or plan.body.get("max_completion_tokens"),
        "held_usd": plan.max_cost,
        "prices_of": iso(plan.prices_from) if plan.prices_from else None,
    }
    usage = usage_data(call.booking.entry)
    return {"text": said.text, "finish_reason": said.finish or None, "usage": usage, "limits": limits}
