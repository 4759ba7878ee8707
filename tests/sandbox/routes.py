"""Which endpoint answers which path."""

from __future__ import annotations

import re
from collections.abc import Callable

from . import (
    endpoints_account,
    endpoints_analytics,
    endpoints_chat,
    endpoints_generation,
    endpoints_inference,
    endpoints_keys,
    endpoints_models,
)
from .answer import Answer, ApiError
from .call import Call

Endpoint = Callable[[Call], Answer]

ROUTES: list[tuple[str, str, Endpoint]] = [
    ("GET", "/key", endpoints_account.get_key),
    ("GET", "/auth/key", endpoints_account.get_key),
    ("GET", "/credits", endpoints_account.get_credits),
    ("GET", "/activity", endpoints_account.get_activity),
    ("GET", "/models", endpoints_models.get_models),
    ("GET", "/models/user", endpoints_models.get_user_models),
    ("GET", "/models/count", endpoints_models.get_count),
    ("GET", "/model/{author}/{slug}", endpoints_models.get_model),
    ("GET", "/models/{author}/{slug}/endpoints", endpoints_models.get_endpoints),
    ("GET", "/keys", endpoints_keys.list_keys),
    ("POST", "/keys", endpoints_keys.create_key),
    ("GET", "/keys/{hash}", endpoints_keys.get_key),
    ("PATCH", "/keys/{hash}", endpoints_keys.update_key),
    ("DELETE", "/keys/{hash}", endpoints_keys.delete_key),
    ("GET", "/workspaces", endpoints_keys.list_workspaces),
    ("GET", "/generation", endpoints_generation.get_generation),
    ("POST", "/chat/completions", endpoints_chat.post_chat),
    ("POST", "/responses", endpoints_inference.post_responses),
    ("POST", "/messages", endpoints_inference.post_messages),
    ("POST", "/messages/count_tokens", endpoints_inference.post_count_tokens),
    ("POST", "/completions", endpoints_chat.post_completions),
    ("POST", "/embeddings", endpoints_inference.post_embeddings),
    ("POST", "/rerank", endpoints_inference.post_rerank),
    ("POST", "/images", endpoints_inference.post_images),
    ("POST", "/audio/speech", endpoints_inference.post_speech),
    ("POST", "/audio/transcriptions", endpoints_inference.post_transcription),
    ("POST", "/videos", endpoints_inference.post_video),
    ("GET", "/videos/{job}", endpoints_inference.get_video),
    ("GET", "/analytics/meta", endpoints_analytics.get_meta),
    ("POST", "/analytics/query", endpoints_analytics.post_query),
]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


TABLE = [(method, _pattern(path), endpoint) for method, path, endpoint in ROUTES]


def run(call: Call) -> Answer:
    """Runs the endpoint of a call; refusals become answers."""
    try:
        return _endpoint(call)(call)
    except ApiError as refusal:
        return refusal.answer()


def _endpoint(call: Call) -> Endpoint:
    allowed = []
    for method, pattern, endpoint in TABLE:
        match = pattern.fullmatch(call.request.path)
        if match and method == call.request.method:
            call.parts = match.groupdict()
            return endpoint
        if match:
            allowed.append(method)
    if allowed:
        raise ApiError(405, "Method Not Allowed", headers={"Allow": ", ".join(allowed)})
    raise ApiError(404, "Not Found")
