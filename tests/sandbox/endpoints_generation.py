"""`GET /generation?id=`."""

from __future__ import annotations

from datetime import timedelta

from .account import Account
from .answer import Answer, ApiError
from .call import Call
from .generation import Generation


def get_generation(call: Call) -> Answer:
    """The record of a call, for any key of its owner, once it can be looked up."""
    key, wanted = call.key(), call.request.query.get("id", "")
    if not wanted:
        raise ApiError(400, "Missing required query parameter: id")
    account = call.account
    with account.lock:
        generation = account.generations.get(wanted)
        if generation is None or not _readable(account, generation):
            raise ApiError(404, f"Generation {wanted} not found")
        if not key.is_management_key and key.creator_user_id != generation.owner:
            raise ApiError(403, "You do not have access to this generation")
        return Answer({"data": generation.as_json()})


def _readable(account: Account, generation: Generation) -> bool:
    """True once it has ended, been asked for often enough, and is old enough."""
    generation.lookups += 1
    lag = account.generation_lag_requests
    if generation.finished_at is None or lag == "never" or generation.lookups <= int(lag):
        return False
    return account.now() >= generation.finished_at + timedelta(seconds=account.generation_lag_s)
