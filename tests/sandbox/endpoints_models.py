"""The price list."""

from __future__ import annotations

from typing import Any

from .activity import endpoint_id_of
from .answer import Answer, ApiError
from .call import Call
from .catalogue import PARAMETERS, Model


def get_models(call: Call) -> Answer:
    """The models that answer in text, or those of `output_modalities`; in pages only when asked."""
    query = call.request.query
    models = _wanted(call)
    total = len(models)
    following = None
    if "limit" in query or "offset" in query:
        offset, limit = int(query.get("offset", 0)), min(1000, int(query.get("limit", 500)))
        models = models[offset : offset + limit]
        if offset + limit < total:
            following = f"/api/v1/models?offset={offset + limit}&limit={limit}"
    shown = [model.as_json() for model in models]
    return Answer({"data": shown, "total_count": total, "links": {"next": following}})


def get_user_models(call: Call) -> Answer:
    """The models that the key's owner may use, which are all."""
    call.key()
    return get_models(call)


def get_count(call: Call) -> Answer:
    """How many models there are."""
    return Answer({"data": {"count": len(_wanted(call))}})


def get_model(call: Call) -> Answer:
    """One model, also by an alias or with a variant."""
    return Answer({"data": _named(call).as_json()})


def get_endpoints(call: Call) -> Answer:
    """Who serves a model, and at which price."""
    model = _named(call)
    shown = model.as_json()
    fields = {name: shown[name] for name in ("id", "name", "created", "description", "architecture")}
    return Answer({"data": {**fields, "endpoints": [endpoint(model, provider) for provider in model.providers]}})


def endpoint(model: Model, provider: str) -> dict[str, Any]:
    """One provider's offer, in OpenRouter's fields."""
    nulls = ("max_prompt_tokens", "quantization", "service_tier", "latency_last_30m", "throughput_last_30m")
    return {
        **dict.fromkeys(nulls),
        "name": f"{provider} | {model.canonical_slug}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": provider,
        "tag": provider.lower().replace(" ", "-"),
        "context_length": model.context_length or 0,
        "max_completion_tokens": model.max_completion_tokens,
        "pricing": model.at(provider).pricing(),
        "supported_parameters": PARAMETERS,
        "supports_implicit_caching": "input_cache_read" in model.more,
        "supports_diarization": False,
        "supports_tool_choice": dict.fromkeys(("auto", "none", "required", "function"), True),
        "native_tools": {},
        "status": 0,
        "uptime_last_5m": 100,
        "uptime_last_30m": 99.5,
        "uptime_last_1d": 99.1,
        "endpoint_id": endpoint_id_of(model.id, provider),
    }


def _wanted(call: Call) -> list[Model]:
    wanted = call.request.query.get("output_modalities", "text").split(",")
    return [model for model in call.account.models if "all" in wanted or set(wanted) & set(model.output)]


def _named(call: Call) -> Model:
    slug = f"{call.parts['author']}/{call.parts['slug']}"
    model = call.account.model(slug)
    if model is None:
        raise ApiError(404, f"Model {slug} not found")
    return model
