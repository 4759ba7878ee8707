"""Make a chat call and write down what it cost; under a budget, the most it can cost is held first."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from openrouter_usage.answers.parts import Gap
from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.output import AnswerText, OutputClosed, complain, write
from openrouter_usage.cli.parser import Parser, checked, whole_number
from openrouter_usage.cli.run import INTERRUPTED
from openrouter_usage.collect import collect_funds
from openrouter_usage.entry import safe_tag
from openrouter_usage.errors import InvalidValue, LedgerError, OpenRouterUsageError, SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.latest import error_of
from openrouter_usage.money import usd
from openrouter_usage.period import UTC, iso
from openrouter_usage.preferences import load_caps
from openrouter_usage.render.as_json import envelope
from openrouter_usage.render.call_status import render_balance, render_held, render_usage, usage_data
from openrouter_usage.routing import TASKS, route
from openrouter_usage.settings import load_settings
from openrouter_usage.summary.build import build_summary
from openrouter_usage.text import named
from openrouter_usage.tracker.balance import TIMEOUT_S, balance_error, key_balance

if TYPE_CHECKING:
    from openrouter_usage.summary.model import Summary
    from openrouter_usage.tracker.booking import Booking
    from openrouter_usage.tracker.prepared import PreparedCall

EXAMPLES = """examples:
  cost_tracker.py call --model google/gemini-2.5-flash --prompt "Hello, world!"
  cost_tracker.py call --model anthropic/claude-sonnet-4.5:floor --prompt - --stream < question.txt
  cost_tracker.py call --task summarization --prompt - < article.txt
  cost_tracker.py call --model openrouter/auto --prompt "Hi" --max-cost 0.05
"""
PROGRAM = "cost_tracker.py call"
_STOPPED = "interrupted"
LARGEST_PROMPT = 8 * 1024 * 1024


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="the model, with :floor, :free or :nitro if wanted")
    which.add_argument("--task", choices=TASKS, help="let the kind of task choose the model")
    parser.add_argument(
        "--fallback", action="append", default=[], metavar="MODEL", help="a model to try next; again for more"
    )
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what to say; - reads standard input")
    parser.add_argument("--system", metavar="TEXT", help="instructions put before the prompt")
    parser.add_argument("--max-tokens", type=whole_number(1, 10_000_000), metavar="N", help="longest answer, in tokens")
    parser.add_argument("--stream", action="store_true", help="show the answer as it comes")
    track = parser.add_mutually_exclusive_group()
    track.add_argument("--track", action="store_true", default=True, help="write the cost to the ledger (the default)")
    track.add_argument(
        "--no-track", action="store_false", dest="track", help="leave the ledger alone; not under a budget"
    )
    parser.add_argument("--session", default=None, metavar="NAME", help="what the call belongs to")
    parser.add_argument(
        "--tag", type=checked(_tag), action="append", default=[], metavar="K=V", help="a tag; again for more"
    )
    parser.add_argument("--max-cost", type=checked(usd), metavar="USD", help="the most this call may cost")
    parser.add_argument("--timeout", type=whole_number(1, 3600), default=300, metavar="S", help="seconds to wait (300)")


def _tag(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidValue("a tag is written like project=website")
    return safe_tag(name), safe_tag(value)


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Make the call, print the answer, and then what it used; the answer goes to standard output alone."""
    from openrouter_usage.tracker.prepared import prepare

    if sys.stdout is None:
        raise OutputClosed("there is no output to write the answer to: nothing was sent")
    if options.task:
        chosen = route(options.task)
        options.model = chosen.model
        complain(PROGRAM, f"{options.task}: {named(chosen.model)}, for {chosen.why}")
    if not options.track and load_caps().any:
        raise SettingsError("under a budget every call is tracked", hint="leave --no-track out, or clear the budget")
    # A polite end: whatever the signal, the connection is closed and the call booked.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    call = prepare(
        open_ledger(PROGRAM),
        _messages(options),
        options.model,
        _params(options),
        api_key=None,
        caps=None,
        max_cost=options.max_cost,
        session=options.session,
        tags=dict(options.tag),
        timeout_s=options.timeout,
        clock=lambda: now or datetime.now(UTC).replace(microsecond=0),
        tracked=options.track,
    )
    said = Said()
    try:
        _make(call, said, stream=options.stream, quiet=options.json)
        return _report(options, call, said)
    except OutputClosed as error:
        raise _unshown(call, error) from None
    except OpenRouterUsageError as error:
        if not (options.json and said.parts):
            raise
        return _broken_off(call, said, error)
    except KeyboardInterrupt:
        if options.json and said.parts:
            return _broken_off(call, said, OpenRouterUsageError("interrupted", hint=call.booking.remark, code=_STOPPED))
        if call.booking.remark:
            complain(PROGRAM, call.booking.remark)
        raise


@dataclass
class Said:
    """What the model has said so far."""

    parts: list[str] = field(default_factory=list)
    finish: str = ""

    def add(self, answer: Mapping[str, Any]) -> str:
        """Take the text and the finish reason of an answer or a chunk, defensively, and give the text."""
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


def _make(call: PreparedCall, said: Said, *, stream: bool, quiet: bool) -> None:
    """Make the call and show the answer, a stream's as it comes."""
    shown = AnswerText()
    if not stream:
        text = said.add(call.caller.chat(call.plan, call.booking))
        if not quiet:
            text = shown.feed(text) + shown.end()
            write(text if text.endswith("\n") else text + "\n")
        return
    try:
        # Should the reader of our output go away, the connection is closed and the call booked here, not some time.
        with call.caller.stream(call.plan, call.booking) as chunks:
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
            "the prompt is empty", hint='say something with --prompt "...", or - to read it', code="usage"
        )
    system = [{"role": "system", "content": options.system}] if options.system else []
    return [*system, {"role": "user", "content": prompt}]


def _standard_input() -> str:
    raw = sys.stdin.buffer.read(LARGEST_PROMPT + 1) if sys.stdin else b""
    if len(raw) > LARGEST_PROMPT:
        raise SettingsError(f"the prompt is larger than {LARGEST_PROMPT // 1024 // 1024} MiB", hint="send less")
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


def _report(options: Namespace, call: PreparedCall, said: Said) -> int:
    now = datetime.now(UTC)
    balance, summary = _standing(now)
    booking, plan = call.booking, call.plan
    longest = plan.body.get("max_tokens")
    if longest is not None and options.max_tokens is None:
        was = "was cut off at" if said.finish == "length" else "was limited to"
        complain(PROGRAM, f"the answer {was} {longest:,} tokens, for the budget; --max-tokens sets another limit")
    if options.json:
        saved = options.track and booking.unsaved is None
        write(envelope("call", now, {**_data(call, said), "balance": balance, "left": _left(summary), "saved": saved}))
    elif sys.stderr is not None:  # else it would come after the answer
        held = render_held(plan.max_cost, plan.prices_from, now) if plan.max_cost is not None else ""
        write(render_usage(booking.entry) + held + render_balance(balance, summary), sys.stderr)
    return _tell_unsaved(booking)


def _standing(now: datetime) -> tuple[dict[str, Json], Summary | None]:
    """Ask how the key stands and what is left, which must take nothing from a call that is made."""
    try:
        parts = collect_funds(load_settings(), now, timeout_s=TIMEOUT_S)
    except OpenRouterUsageError as error:
        return balance_error(error), None
    if isinstance(parts.key, Gap):
        return balance_error(error_of(parts.key)), None
    return key_balance(parts.key), build_summary(parts)


def _left(summary: Summary | None) -> Json:
    """Return what can still be spent: null where one of the figures that bind is not known."""
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
        where = f"waits in {booking.kept_in} for the next one" if booking.kept_in else "has to be added to it by hand"
        line = booking.unsaved.decode().strip()
        complain(PROGRAM, f"the call could not be written to the ledger; its line {where}: {line}")
        return LedgerError.exit_code
    return 0


def _unshown(call: PreparedCall, error: OutputClosed) -> OutputClosed:
    """Say of an answer that could not be shown that it is paid for: whoever tries again pays again."""
    code, booking = _tell_unsaved(call.booking), call.booking
    in_books = "is booked" if booking.is_kept and not code else "is not in the ledger"
    why = error.message or "the reader of the output has gone"
    hint = booking.remark or "what it cost is not known"
    return OutputClosed(f"{why}, but the call was made and {in_books}", hint=hint)


def _broken_off(call: PreparedCall, said: Said, error: OpenRouterUsageError) -> int:
    """Show what came before the end: words that were paid for are not thrown away."""
    for each in (signal.SIGINT, signal.SIGTERM):  # another one would tear the JSON apart
        signal.signal(each, signal.SIG_IGN)
    write(envelope("call", datetime.now(UTC), _data(call, said), error=error))
    complain(PROGRAM, error.message, error.hint)
    return INTERRUPTED if error.code == _STOPPED else error.exit_code


def _data(call: PreparedCall, said: Said) -> dict[str, Json]:
    plan = call.plan
    limits: dict[str, Json] = {
        "max_tokens": plan.body.get("max_tokens") or plan.body.get("max_completion_tokens"),
        "held_usd": plan.max_cost,
        "prices_of": iso(plan.prices_from) if plan.prices_from else None,
    }
    usage = usage_data(call.booking.entry)
    return {"text": said.text, "finish_reason": said.finish or None, "usage": usage, "limits": limits}
