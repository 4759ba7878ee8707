"""What a request of any shape can cost at most, and which limits have to be set in it for that to be true; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue
from openrouter_usage.figures import pricing
from openrouter_usage.figures.pricing import PriceList, bound, no_such_model, unbounded
from openrouter_usage.gateway import paths
from openrouter_usage.gateway.insert import put_first, set_member
from openrouter_usage.gateway.memory import Recalled
from openrouter_usage.money import EXACT, ZERO, Json, add, dumps
from openrouter_usage.text import named

# What a provider puts around a prompt and around tools, in tokens; what was measured stays below this.
_AROUND = 64 + 2_048
_TEXT_SHAPES = (paths.CHAT, paths.RESPONSES, paths.MESSAGES, paths.COMPLETIONS)
_LIMIT_NAMES = {
    paths.CHAT: ("max_completion_tokens", "max_tokens"),
    paths.RESPONSES: ("max_output_tokens", "max_tokens"),
    paths.MESSAGES: ("max_tokens",),
    paths.COMPLETIONS: ("max_tokens",),
}
_TEXTS = frozenset(
    ("text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal", "thinking", "redacted_thinking",
     "tool_use", "tool_result", "tool_reference", "message", "function_call", "function_call_output", "reasoning",
     "custom_tool_call", "custom_tool_call_output", "local_shell_call", "local_shell_call_output")
)  # fmt: skip
_IMAGES = frozenset(("image", "image_url", "input_image"))
# Tools that the client runs itself; those of Anthropic have a date at their end.
_CLIENT_TOOLS = ("function", "custom", "local_shell", "bash_", "text_editor_", "computer_", "memory_")
_MESSAGE_EXTRAS = ("mcp_servers", "container", "fallbacks", "inference_geo")


class Bounded(NamedTuple):
    """The most that a request can cost in USD, and its text with the limits that hold it to that.

    It `is_wide` where only the model's whole context bounds the prompt, as with images.
    """

    max_cost: Decimal
    text: bytes
    is_wide: bool
    prompt_tokens: int
    answer_tokens: int
    # What images cost beside their tokens, in USD; part of `max_cost`.
    beside: Decimal


def bounded(shape: str, body: Mapping[str, Json], text: bytes, prices: PriceList) -> Bounded:
    """Bound a request; Unbounded for what costs money beside tokens, InvalidValue for one that is malformed."""
    if shape not in (*_TEXT_SHAPES, paths.EMBEDDINGS):
        raise unbounded(f"nobody can say beforehand what {shape} costs")
    images, sounds = _count_media(shape, body)
    _refuse_extras(shape, body)
    window, longest, per_image = _capacity(body, prices)
    per_sound = _more_for_sound(body, prices, window) if sounds else ZERO
    # No tokenizer makes more tokens than bytes, and what is written as JSON is never shorter than what it says.
    prompt = len(text) + _AROUND
    if images or sounds:
        if window is None:
            raise unbounded("images and sound cost what only their provider knows, as the model's context is not known")
        prompt = window
    elif window is not None and shape != paths.EMBEDDINGS:
        prompt = min(prompt, window)
    answer, limit = _answer(shape, body, len(text) + _AROUND, window, longest)
    counted = body if shape != paths.COMPLETIONS else {**body, "n": pricing.number_of_answers(body) * _prompts(body)}
    # Caches of an hour are asked for by name, which may be written with escapes.
    is_brief = b"1h" not in text and b"\\u" not in text
    worst = bound(counted, prices, prompt_tokens=prompt, max_tokens=answer, is_brief=is_brief)
    missing: list[str] = []
    if limit is not None:
        name = _LIMIT_NAMES[shape][0] if shape != paths.CHAT else "max_tokens"
        if name in body:  # as null
            text = set_member(text, (name,), str(limit))
        else:
            missing.append(f'"{name}":{limit}')
    if "provider" in body:
        own = pricing.own_max_price(body)
        for name in worst.max_price.keys() - own.keys():
            text = set_member(text, ("provider", "max_price", name), dumps(worst.max_price[name]))
    else:
        missing.append(_max_price(*worst.max_price.items()))
    text = put_first(text, missing)
    beside = add(EXACT.multiply(per_image, Decimal(images)), EXACT.multiply(per_sound, Decimal(prompt)))
    beside = EXACT.multiply(beside, Decimal(pricing.number_of_answers(counted)))
    return Bounded(add(worst.cost, beside), text, images + sounds > 0, prompt, answer, beside)


def measured(shape: str, body: Mapping[str, Json], prices: PriceList, worst: Bounded, recalled: Recalled) -> Decimal:
    """Return what budgets of the policy `measured` hold for a bounded request, in USD; never more than the worst case.

    What is new of the prompt counts by its bytes. What is known counts with what was billed for it, and answers with
    the length, that 99 % of the calls of this client and model did not pass, once enough of them were seen.
    """
    known = min(recalled.prefix_tokens or 0, worst.prompt_tokens)
    fresh = worst.prompt_tokens - known
    if recalled.prefix_tokens is not None and not any(_media_in(_messages(shape, body)[recalled.common :])):
        fresh = min(fresh, recalled.fresh_bytes + _AROUND)
    longest = recalled.learned.answer()
    likely = pricing.likely_cost(
        body,
        prices,
        fresh_tokens=fresh,
        known_tokens=known,
        missed=recalled.learned.missed_share(recalled.state) if recalled.state else Decimal(1),
        answer_tokens=worst.answer_tokens if longest is None else min(longest, worst.answer_tokens),
    )
    return min(worst.max_cost, add(likely, worst.beside))


def _messages(shape: str, body: Mapping[str, Json]) -> list[Json]:
    said = body.get("input" if shape == paths.RESPONSES else "messages")
    return said if isinstance(said, list) else [said]


@lru_cache(maxsize=256)
def _max_price(*prices: tuple[str, Json]) -> str:
    return f'"provider":{dumps({"max_price": dict(prices)})}'


def _answer(
    shape: str, body: Mapping[str, Json], prompt: int, window: int | None, longest: int | None
) -> tuple[int, int | None]:
    """Return the longest answer in tokens, and the limit that has to be set for it; None where there is one already."""
    if shape == paths.EMBEDDINGS:
        return 0, None
    given = [pricing.whole_number(body.get(name), name) for name in _LIMIT_NAMES[shape]]
    known = [count for count in given if count is not None]
    if known:
        return max(known), None
    if longest is not None and (window is None or prompt + longest <= window):
        # The model's own longest answer: no answer gets shorter by it, and no provider finds it too long.
        return longest, longest
    if window is not None:
        return window, None
    raise unbounded("it says nowhere how long the answer may be (max_tokens), nor does the price list")


def _capacity(body: Mapping[str, Json], prices: PriceList) -> tuple[int | None, int | None, Decimal]:
    """Return the largest context and the longest answer of the models that may serve, and the highest image price."""
    windows: list[int | None] = []
    longest: list[int | None] = []
    per_image = Decimal(0)
    for name in pricing.models_asked(body):
        model = prices.find(name)
        if model is None:
            raise no_such_model(name, prices)
        windows.append(model.context_length)
        longest.append(model.longest_answer)
        if model.image_price is None:
            raise unbounded(f"the price of images of {named(name)} varies")
        per_image = max(per_image, model.image_price)
    return _largest(windows), _largest(longest), per_image


def _more_for_sound(body: Mapping[str, Json], prices: PriceList, window: int | None) -> Decimal:
    """Return by how much a token of sound can cost more than any other of a prompt, in USD."""
    most = ZERO
    for name in pricing.models_asked(body):
        model = prices.find(name)
        price = model.audio_price if model else None
        other = model.prices.highest(window or 0).plain_prompt if model else None
        if price is None or other is None:
            raise unbounded(f"what sound costs with {named(name)} is not listed")
        most = max(most, add(price, -other))
    return most


def _largest(values: list[int | None]) -> int | None:
    known = [value for value in values if value]
    return max(known) if known and len(known) == len(values) else None


def _prompts(body: Mapping[str, Json]) -> int:
    prompt = body.get("prompt")
    return max(1, len(prompt)) if isinstance(prompt, list) else 1


def _refuse_extras(shape: str, body: Mapping[str, Json]) -> None:
    pricing.refuse_choosing_models(body)
    _refuse_server_tools(shape, body.get("tools"))
    plain = {name: value for name, value in body.items() if name != "tools"}
    if plain.get("service_tier") == "standard_only":
        del plain["service_tier"]
    pricing.refuse_extras(plain)
    for name in _MESSAGE_EXTRAS:
        if body.get(name):
            raise unbounded(f"{name} costs extra that no price list tells")
    if body.get("speed") not in (None, "standard"):
        raise unbounded("speed costs more than the list price")
    if body.get("previous_response_id") or body.get("conversation"):
        raise unbounded("what was said before is kept on the server, and its length is not known")


def _refuse_server_tools(shape: str, tools: Json) -> None:
    for tool in tools if isinstance(tools, list) else []:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(tool, dict) and kind == "namespace":  # Codex puts the tools of one server together
            _refuse_server_tools(shape, tool.get("tools"))
        elif not (kind is None and shape == paths.MESSAGES) and not (
            isinstance(kind, str) and kind.startswith(_CLIENT_TOOLS)
        ):
            raise unbounded(f"the tool {named(str(kind))} runs on the server and costs extra")


def _count_media(shape: str, body: Mapping[str, Json]) -> tuple[int, int]:
    """Count the images and the sounds of a prompt; Unbounded for video and files."""
    if shape == paths.COMPLETIONS:
        _all_texts(body.get("prompt"))
        return 0, 0
    if shape == paths.EMBEDDINGS:
        _all_texts(body.get("input"))
        return 0, 0
    said = body.get("input") if shape == paths.RESPONSES else body.get("messages")
    if not (isinstance(said, str) and said) and not (isinstance(said, list) and said):
        raise InvalidValue("a request has messages")
    parts: list[Json] = [said, body.get("system"), body.get("instructions")]
    kinds = list(_media_in(parts))
    return kinds.count("image"), kinds.count("sound")


def _all_texts(value: Json) -> None:
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        tokens = isinstance(part, list) and all(isinstance(each, int) for each in part)
        if not (isinstance(part, (str, int)) or tokens):
            raise unbounded("images, sound and files cost what only their provider knows")


def _media_in(value: Json) -> Iterator[str]:
    """Return `image` or `sound` for each of them; Unbounded for what costs what nobody lists."""
    if isinstance(value, list):
        for part in value:
            yield from _media_in(part)
        return
    if not isinstance(value, dict):
        return
    for extra in ("audio", "images", "files"):
        if value.get(extra):
            raise unbounded("images, sound and files cost what only their provider knows")
    kind = value.get("type")
    if kind in _IMAGES or kind == "input_audio":
        yield "image" if kind in _IMAGES else "sound"
        return
    if kind is not None and kind not in _TEXTS:
        raise unbounded(f"{named(str(kind))} in a prompt costs what only its provider knows")
    # What is within a message or a tool's result; a tool's arguments are text, whatever is in them.
    for name in ("content", "output", "summary"):
        yield from _media_in(value.get(name))
