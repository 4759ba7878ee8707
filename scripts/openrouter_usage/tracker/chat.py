"""Tracked chat calls, whole and streamed: bounded, held, sent, and settled with what was billed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from openrouter_usage.budgets import Budget
from openrouter_usage.entry import LARGEST_COST, LONGEST_NAME, MOST_TAGS, Caps, safe_tag
from openrouter_usage.errors import (
    BadAnswer,
    InvalidValue,
    OpenRouterUsageError,
    Refused,
    Unreachable,
    may_have_arrived,
)
from openrouter_usage.figures.limits import LONGEST_CALL
from openrouter_usage.figures.model_names import without_prefix
from openrouter_usage.figures.pricing import (
    DEFAULT_MAX_TOKENS,
    PriceList,
    Unbounded,
    WorstCase,
    fitted,
    limited,
    price_capped,
    worst_case,
)
from openrouter_usage.figures.repeats import Repeats
from openrouter_usage.home.settings import Settings, load_budgets, load_settings
from openrouter_usage.jobs.price_list import current_prices, price_file
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.money import ZERO, Json, dumps, loads, loads_oddly, usd
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation, read_call
from openrouter_usage.openrouter.endpoints import OpenRouter
from openrouter_usage.openrouter.inference import Inference
from openrouter_usage.openrouter.network import SharedContext
from openrouter_usage.openrouter.refusals import complaint_in
from openrouter_usage.openrouter.retry import LOOK_UPS_AFTER_A_CALL
from openrouter_usage.openrouter.transport import Answer, Transport
from openrouter_usage.text import quoted
from openrouter_usage.tracker.booking import Booking, falling_under
from openrouter_usage.tracker.chat_stream import ChunkStream
from openrouter_usage.tracker.lookup import patiently
from openrouter_usage.tracker.session import current_session

# -- Makes everything ready for one tracked call, before anything is written or sent.


def prepare(
    ledger: Ledger,
    messages: object,
    model: str,
    params: Mapping[str, object],
    *,
    api_key: str | None,
    caps: Caps | None,
    max_cost: object,
    session: str | None,
    tags: Mapping[str, str] | None,
    timeout_s: float,
    clock: Callable[[], datetime],
    tracked: bool = True,
) -> Call:
    """Find the key and the budget, and bound the request; nothing is written or sent yet.

    A call that is not `tracked` is not recorded; under a budget it is all the same, so that none can slip past it.
    """
    body = request_body(messages, model, params)
    checked_tags = {safe_tag(name): safe_tag(value) for name, value in (tags or {}).items()}
    most = None if max_cost is None else usd(max_cost)
    _refuse_odd(most, session, checked_tags, timeout_s)
    in_force = load_budgets() if caps is None else (Budget(caps=caps),)
    settings = load_settings()
    key = settings.require_key(api_key)
    session = current_session() if session is None else session
    under, is_bounded = falling_under(ledger, in_force, session, checked_tags.items())
    tls = SharedContext()
    asking = OpenRouter(Transport(settings.base_url, tls=tls), key)
    inference = Inference(Transport(settings.base_url, timeout_s=timeout_s, tls=tls), key)
    booking = Booking(
        ledger if tracked or is_bounded else None,
        model=model,
        budgets=under,
        clock=clock,
        session=session,
        tags=checked_tags,
    )
    plan = Plan(body, None, None, None)
    try:
        if is_bounded or most is not None:
            plan = bounded(body, most, _prices(settings, asking, clock(), may_be_missing=most is not None))
        _refuse_repeated(booking.budgets, body, clock())
    except Refused as error:
        booking.remember(error)
        raise
    return Call(plan, booking, asking, inference)


def _prices(settings: Settings, asking: OpenRouter, now: datetime, *, may_be_missing: bool) -> PriceList | None:
    try:
        return current_prices(price_file(settings), asking.models, now, source=settings.base_url.url)
    except Unreachable:
        if may_be_missing:
            return None
        raise


_repeats, _counting = Repeats(), threading.Lock()


def _refuse_repeated(budgets: Sequence[Budget], body: Json, now: datetime) -> None:
    """Raise Repeated for a request that this process has made too often within a minute, where a budget says so."""
    if any(budget.repeats is not None for budget in budgets):
        digest = sha256(dumps(body).encode()).digest()
        with _counting:
            _repeats.check(budgets, digest, now)


def _refuse_odd(most: Decimal | None, session: str | None, tags: Mapping[str, str], timeout_s: float) -> None:
    """Raise InvalidValue for what no line of the ledger can hold, and for a call that outlasts its hold."""
    if most is not None and not 0 <= most <= LARGEST_COST:
        raise InvalidValue(f"max_cost must be an amount from 0 to {LARGEST_COST:,} USD")
    if session is not None and (not isinstance(session, str) or len(session) > LONGEST_NAME):
        raise InvalidValue(f"session must be a text of at most {LONGEST_NAME:,} characters")
    if len(tags) > MOST_TAGS:
        raise InvalidValue(f"tags must be at most {MOST_TAGS} names, each with a text")
    if not 0 < timeout_s <= LONGEST_CALL.total_seconds():
        raise InvalidValue(f"timeout_s must be above 0 and at most {LONGEST_CALL.total_seconds():,.0f} seconds")


# -- Tracked chat calls, whole and streamed: bounded, held, sent, and settled with what was billed.


class Plan(NamedTuple):
    """A request as it will be sent, and what it can cost at most in USD; None where nobody bounded it."""

    body: dict[str, Json]
    max_cost: Decimal | None
    worst: WorstCase | None
    prices_from: datetime | None


def bounded(body: dict[str, Json], max_cost: Decimal | None, prices: PriceList | None) -> Plan:
    """Bound a request by the prices, or by `max_cost` where there are none; Unbounded when that cannot be done."""
    if prices is not None:
        try:
            worst = worst_case(body, prices)
        except Unbounded:
            if max_cost is None:
                raise
        else:
            if max_cost is not None and worst.cost > max_cost:
                worst = fitted(body, prices, max_cost)
            return Plan(limited(body, worst), worst.cost, worst, prices.fetched_at)
    most = max_cost or ZERO
    try:
        worst = price_capped(body, most)
    except Unbounded:
        # Images, plugins: no limit on tokens or prices covers them, so the caller's word is what is held.
        return Plan({"max_tokens": DEFAULT_MAX_TOKENS, **body}, most, None, None)
    return Plan(limited(body, worst), most, worst, None)


class Call:
    """One chat call, from its bounded request to its line in the ledger; it can be made once."""

    def __init__(self, plan: Plan, booking: Booking, asking: OpenRouter, inference: Inference) -> None:
        """Make the planned call with `inference`; `asking` finds out a bill that the answer does not tell."""
        self.plan = plan
        self.booking = booking
        self._asking = asking
        self._inference = inference

    def chat(self) -> dict[str, Any]:
        """Make the call and return the answer as JSON; its hold is ended whatever happens."""
        # Written before anything is held: a request that cannot be written must not leave a hold behind.
        text = dumps({name: value for name, value in self.plan.body.items() if name != "stream"})
        self.booking.open(self.plan.max_cost)
        began = time.monotonic()
        try:
            answer = self._inference.chat(text)
            parsed = _parsed(answer)
        except BaseException as error:
            self._end_failed(error)
            raise
        usage = read_call(parsed)
        usage = replace(usage, id=usage.id or answer.generation)
        failed = complaint(parsed)
        try:
            if failed is None or usage.cost is not None or usage.told:
                self._settle(usage, streamed=False, latency_ms=_since(began))
            else:
                failed.generation = usage.id
                self._end_failed(failed)
        except KeyboardInterrupt:
            self.booking.name_generation(usage.id)
            raise
        if failed is not None:
            if usage.cost is not None or usage.told:
                failed.hint = _joined(failed.hint, self.booking.remark)
            raise failed
        return json.loads(answer.body)  # type: ignore[no-any-return]  # an object, as _parsed has seen

    def stream(self) -> ChunkStream:
        """Make the call and return the chunks as they come; its hold is ended when the stream is."""
        text = dumps({**self.plan.body, "stream": True})
        self.booking.open(self.plan.max_cost)
        began = time.monotonic()
        try:
            opened = self._inference.open(text, streamed=True)
        except BaseException as error:
            self._end_failed(error)
            raise

        def ended(usage: CallUsage) -> None:
            self._settle(usage, streamed=True, latency_ms=_since(began))

        def left(usage: CallUsage) -> None:
            self.booking.leave(usage, latency_ms=_since(began))

        def failed(error: OpenRouterUsageError) -> None:
            error.hint = _joined(error.hint, self.booking.remark)

        named = self.booking.name_generation
        return ChunkStream(opened, named=named, ended=ended, left=left, complaint=complaint, failed=failed)

    def _end_failed(self, error: BaseException) -> None:
        if not isinstance(error, OpenRouterUsageError):
            # ^C, or a bug: the hold stays, unless it is sure that nothing was sent.
            if not may_have_arrived(error):
                self.booking.release()
            return
        self.booking.end_after(error)
        if error.may_have_arrived and error.generation:
            self.booking.settle_by_asking(self.look_up, CallUsage(id=error.generation), streamed=False, latency_ms=None)
        error.hint = _joined(error.hint, self.booking.remark)

    def _settle(self, usage: CallUsage, *, streamed: bool, latency_ms: int) -> None:
        """End the hold by the answer's own cost, else by a look-up, else by what was held."""
        if usage.cost is not None:
            self.booking.settle(usage, streamed=streamed, latency_ms=latency_ms)
            return
        # First of all written down: whatever ends the look-up, `settle` can ask again.
        self.booking.name_generation(usage.id)
        # An implausible bill is left to a person, who looks at it: it must not be explained away in passing.
        if usage.told:
            self.booking.settle_estimated(usage, streamed=streamed, latency_ms=latency_ms)
        elif self.booking.settle_by_asking(self.look_up, usage, streamed=streamed, latency_ms=latency_ms):
            pass
        elif usage.has_usage or (not streamed and usage.id):
            self.booking.settle_estimated(usage, streamed=streamed, latency_ms=latency_ms)
        # Else the stream was cut and nobody knows yet: the hold stays open, and `settle` asks again.

    def look_up(self, generation: str) -> Generation:
        """Ask what a call was billed, a few times while it is not known yet."""
        return patiently(lambda: self._asking.generation(generation), retries=LOOK_UPS_AFTER_A_CALL)


def _parsed(answer: Answer) -> Json:
    """Parse a good answer; BadAnswer when it is no JSON object, or one that answers nothing."""
    try:
        parsed = loads_oddly(answer.body)
    except ValueError:
        parsed = None
    wrong = "" if isinstance(parsed, dict) else "is no JSON object"
    # An error in it is told as what it is; a usage alone tells at least what was paid.
    if isinstance(parsed, dict) and not any(parsed.get(name) for name in ("choices", "usage", "error")):
        wrong = "has neither choices nor a usage"
    if wrong:
        error = BadAnswer(f"the answer to the call {wrong}", hint="a proxy may stand in between")
        error.generation = read_call(parsed).id or answer.generation
        raise error
    return parsed


def complaint(answer: Json) -> Unreachable | None:
    """Return the error that an answer of status 200, or a chunk of one, tells at its top or in a choice."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    for place in (answer, first):
        error = place.get("error") if isinstance(place, dict) else None
        if error:
            said = complaint_in(place).message or dumps(error)
            return Unreachable(f"the call failed: OpenRouter said {quoted(said)}", hint="try again, or another model")
    if isinstance(first, dict) and first.get("finish_reason") == "error":
        return Unreachable("the call failed: OpenRouter did not say why", hint="try again, or another model")
    return None


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)


def request_body(messages: object, model: str, params: Mapping[str, object]) -> dict[str, Json]:
    """Write a chat request; InvalidValue when it has no messages or cannot be written as JSON."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, (list, tuple)) or not messages:
        raise InvalidValue("messages must be a list of {'role': ..., 'content': ...}")
    if not isinstance(model, str) or not 0 < len(model) <= LONGEST_NAME:
        raise InvalidValue("model must be the name of a model, such as openai/gpt-5-mini")
    try:
        # Written and read once, so that what is bounded, sent and counted is one and the same.
        asked = {"model": without_prefix(model), "messages": list(messages), **params}
        fallbacks = params.get("models")
        if isinstance(fallbacks, (list, tuple)):
            asked["models"] = [without_prefix(name) if isinstance(name, str) else name for name in fallbacks]
        return loads(dumps(asked))  # type: ignore[return-value]  # an object
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"the request cannot be written as JSON: {error}") from None
