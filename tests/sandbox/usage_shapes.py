"""The usage object of each inference endpoint."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .order import Order

ZERO = Decimal(0)


def _money(order: Order, prompt_name: str, completion_name: str) -> dict[str, Any]:
    """`cost` and its parts; without BYOK the upstream cost is the same money once more."""
    charged = order.charged
    upstream = charged.cost if charged.upstream is None else charged.upstream
    prompt = min(order.full.prompt_part, upstream) if charged.upstream is None else upstream / 4
    tools = order.reply.tool_cost
    return {
        "cost": charged.cost,
        "is_byok": charged.upstream is not None,
        "cost_details": {
            "upstream_inference_cost": upstream,
            f"upstream_inference_{prompt_name}_cost": prompt,
            f"upstream_inference_{completion_name}_cost": upstream - prompt,
            **({"server_tool_cost": tools} if tools else {}),
        },
    }


def _tokens(order: Order) -> tuple[int, int]:
    """What went in and what came out; an answer from the response cache counts nothing."""
    if order.reply.cache_hit:
        return 0, 0
    return order.generation.prompt_tokens, order.charged.completion_tokens


def of_chat(order: Order) -> dict[str, Any]:
    """As on `/chat/completions`."""
    prompt, completion = _tokens(order)
    reply = order.reply
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **_money(order, "prompt", "completions"),
        "prompt_tokens_details": {
            "cached_tokens": reply.cached_tokens,
            "cache_write_tokens": reply.cache_write_tokens,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reply.reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def of_responses(order: Order) -> dict[str, Any]:
    """As on `/responses`."""
    prompt, completion = _tokens(order)
    reply = order.reply
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": reply.cached_tokens,
            "cache_write_tokens": reply.cache_write_tokens,
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
        "total_tokens": prompt + completion,
        **_money(order, "input", "output"),
    }


def of_messages(order: Order) -> dict[str, Any]:
    """As on `/messages`; cached tokens are not part of `input_tokens` there."""
    prompt, completion = _tokens(order)
    reply = order.reply
    return {
        "input_tokens": max(0, prompt - reply.cached_tokens - reply.cache_write_tokens),
        "output_tokens": completion,
        "output_tokens_details": None,
        "cache_creation_input_tokens": reply.cache_write_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "cache_creation": None,
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": "standard",
        **_money(order, "prompt", "completions"),
    }


def of_rerank(order: Order) -> dict[str, Any]:
    """As on `/rerank`: searches, and no tokens of an answer."""
    prompt, _ = _tokens(order)
    return {"search_units": 1, "total_tokens": prompt, **_money(order, "prompt", "completions")}


def of_images(order: Order) -> dict[str, Any]:
    """As on `/images`."""
    prompt, completion = _tokens(order)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **_money(order, "prompt", "completions"),
    }


def of_transcription(order: Order) -> dict[str, Any]:
    """As on `/audio/transcriptions`: the only usage without `is_byok` and `cost_details`."""
    prompt, completion = _tokens(order)
    return {"cost": order.charged.cost, "seconds": 1.5, "input_tokens": prompt, "output_tokens": completion,
            "total_tokens": prompt + completion}  # fmt: skip


def of_embeddings(order: Order) -> dict[str, Any]:
    """As on `/embeddings`: no completion."""
    prompt, _ = _tokens(order)
    return {"prompt_tokens": prompt, "total_tokens": prompt, **_money(order, "prompt", "completions")}
