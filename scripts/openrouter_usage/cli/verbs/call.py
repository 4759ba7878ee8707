"""Make a chat call and write down what it cost; under a budget, the most it can cost is held first."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, checked, whole_number
from openrouter_usage.entry import Entry, safe_tag
from openrouter_usage.errors import InvalidValue, LedgerError, SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.money import usd
from openrouter_usage.period import UTC
from openrouter_usage.render.as_json import envelope
from openrouter_usage.render.call_status import render_balance, render_usage
from openrouter_usage.routing import TASKS, route
from openrouter_usage.text import named
from openrouter_usage.tracker.balance import get_key_balance

EXAMPLES = """examples:
  cost_tracker.py call --model google/gemini-2.5-flash --prompt "Hello, world!"
  cost_tracker.py call --model anthropic/claude-sonnet-4.5:floor --prompt - --stream < question.txt
  cost_tracker.py call --task summarization --prompt - < article.txt
  cost_tracker.py call --model openrouter/auto --prompt "Hi" --max-cost 0.05
"""
PROGRAM = "cost_tracker.py call"
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


def run(options: Namespace) -> int:
    """Make the call, print the answer, and then what it used; the answer goes to standard output alone."""
    from openrouter_usage.tracker.prepared import prepare

    if options.task:
        chosen = route(options.task)
        options.model = chosen.model
        complain(PROGRAM, f"{options.task}: {named(chosen.model)}, for {chosen.why}")
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
        clock=lambda: datetime.now(UTC).replace(microsecond=0),
        tracked=options.track,
    )
    worst = call.plan.worst
    if worst is not None and options.max_tokens is None:
        complain(
            PROGRAM, f"the answer is limited to {worst.max_tokens:,} tokens, for the budget; --max-tokens sets another"
        )
    if options.stream:
        text, finish = _streamed(call.caller.stream(call.plan, call.booking), quiet=options.json)
    else:
        text, finish = _content(call.caller.chat(call.plan, call.booking))
        if not options.json:
            write(text if text.endswith("\n") else text + "\n")
    return _report(options, text, finish, call.booking.entry, call.booking.unsaved)


def _messages(options: Namespace) -> list[dict[str, str]]:
    prompt = _standard_input() if options.prompt == "-" else options.prompt
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


def _streamed(chunks: Iterable[Mapping[str, Any]], *, quiet: bool) -> tuple[str, str]:
    """Show the text of a stream as it comes, and give it whole."""
    parts, finish = [], ""
    try:
        for chunk in chunks:
            part, reason = _content(chunk)
            parts.append(part)
            finish = reason or finish
            if part and not quiet:
                write(part)
    finally:
        if parts and not quiet:
            write("\n")
    return "".join(parts), finish


def _content(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Give the text and the finish reason of an answer or a chunk, defensively."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    said = first.get("message") or first.get("delta") or {}
    text, finish = said.get("content") if isinstance(said, dict) else None, first.get("finish_reason")
    return text if isinstance(text, str) else "", finish if isinstance(finish, str) else ""


def _report(options: Namespace, text: str, finish: str, entry: Entry | None, unsaved: bytes | None) -> int:
    balance = get_key_balance()
    if options.json:
        data: dict[str, Json] = {
            "text": text,
            "finish_reason": finish or None,
            "usage": _usage(entry),
            "balance": balance,
        }
        write(envelope("call", datetime.now(UTC), {**data, "saved": options.track and unsaved is None}))
    else:
        write(render_usage(entry) + render_balance(balance), sys.stderr)
    if unsaved is not None:
        line = unsaved.decode().strip()
        complain(PROGRAM, f"the call could not be written to the ledger and will be with the next one: {line}")
        return LedgerError.exit_code
    return 0


def _usage(entry: Entry | None) -> Json:
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
