"""Keys, workspaces and prices, and the place where alerts arrive."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.sandbox import INFERENCE_KEY, MANAGEMENT_KEY, Fault, Reply, Sandbox, Webhook, Workspace
from tests.sandbox.conftest import NOW
from tests.sandbox_client import HELLO, get, post, send


def manage(sandbox: Sandbox, path: str) -> Any:
    """What a management key reads."""
    return get(sandbox, path, MANAGEMENT_KEY).json()


# -- keys ----------------------------------------------------------------------------------------------------------


def test_keys_come_in_pages_of_one_workspace(sandbox: Sandbox) -> None:
    sandbox.account.workspaces.append(Workspace("an-id", "Research", "research"))
    for number in range(250):
        sandbox.account.add_key(f"key-{number}", workspace_id="an-id" if number % 5 == 0 else None)
    pages = [len(manage(sandbox, f"/keys?offset={offset}")["data"]) for offset in (0, 100, 200, 300)]
    assert pages == [100, 100, 1, 0]
    assert len(manage(sandbox, "/keys?workspace_id=an-id")["data"]) == 50
    assert manage(sandbox, "/workspaces")["total_count"] == 2


def test_disabled_and_expired_keys_are_listed_on_request_and_others_never(sandbox: Sandbox) -> None:
    account = sandbox.account
    account.add_key("disabled", name="disabled", disabled=True)
    account.add_key("expired", name="expired", expires_at=NOW - timedelta(days=1))
    account.add_key("by-oauth", name="by oauth", made_by_oauth=True)
    account.add_key("deleted", name="deleted", deleted=True)
    names = [
        {key["name"] for key in manage(sandbox, f"/keys?{options}")["data"]}
        for options in ("", "include_disabled=true", "include_expired=true")
    ]
    assert names == [{"agent"}, {"agent", "disabled"}, {"agent", "expired"}]


def test_a_key_is_made_changed_and_removed(sandbox: Sandbox) -> None:
    made = post(sandbox, "/keys", {"name": "ci", "limit": 5, "limit_reset": "monthly"}, MANAGEMENT_KEY)
    secret, name = made.json()["key"], made.json()["data"]["hash"]
    assert made.status_code == 201
    assert post(sandbox, key=secret).status_code == 200
    changed = send(sandbox, "PATCH", f"/keys/{name}", {"limit": 2.5, "expires_at": None}, MANAGEMENT_KEY).json()
    assert changed["data"]["limit_remaining"] == 2.499
    send(sandbox, "PATCH", f"/keys/{name}", {"disabled": True}, MANAGEMENT_KEY)
    assert post(sandbox, key=secret).status_code == 401
    assert send(sandbox, "DELETE", f"/keys/{name}", None, MANAGEMENT_KEY).json() == {"deleted": True}
    assert get(sandbox, f"/keys/{name}", MANAGEMENT_KEY).status_code == 404


BAD_KEYS = [
    {},
    {"name": ""},
    {"name": "x", "limit": True},
    {"name": "x", "limit": -1},
    {"name": "x", "limit_reset": "yearly"},
    {"name": "x", "expires_at": "2026-12-01T10:00Z"},
    {"name": "x", "expires_at": "2026-12-01T10:00:00+01:00"},
    {"name": "x", "workspace_id": "unknown"},
]


@pytest.mark.parametrize("body", BAD_KEYS)
def test_a_key_that_makes_no_sense_is_not_made(sandbox: Sandbox, body: dict[str, Any]) -> None:
    assert post(sandbox, "/keys", body, MANAGEMENT_KEY).status_code == 400
    assert len(sandbox.account.keys) == 2


def test_an_update_without_a_field_is_refused(sandbox: Sandbox) -> None:
    answer = send(sandbox, "PATCH", f"/keys/{sandbox.account.keys[0].hash}", {"colour": "red"}, MANAGEMENT_KEY)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "No update fields provided")


def test_an_ordinary_key_cannot_manage_keys(sandbox: Sandbox) -> None:
    one = f"/keys/{sandbox.account.keys[0].hash}"
    asked = (("GET", "/keys"), ("POST", "/keys"), ("PATCH", one), ("DELETE", one))
    statuses = [send(sandbox, method, path, {"name": "x"}, INFERENCE_KEY).status_code for method, path in asked]
    assert statuses == [401, 403, 403, 401]


def test_a_key_can_be_made_although_no_answer_comes(sandbox: Sandbox) -> None:
    sandbox.misbehave("POST /keys", Fault.hang("billing"))
    with pytest.raises(requests.ReadTimeout):
        post(sandbox, "/keys", {"name": "ci"}, MANAGEMENT_KEY, timeout=0.2)
    assert [key["name"] for key in manage(sandbox, "/keys")["data"]] == ["agent", "ci"]


# -- prices --------------------------------------------------------------------------------------------------------


def test_one_model_is_found_by_its_names(sandbox: Sandbox) -> None:
    for name in ("openai/gpt-5.2", "openai/gpt-5.2:nitro", "openai/gpt-5.2-20251101"):
        assert manage(sandbox, f"/model/{name}")["data"]["id"] == "openai/gpt-5.2"
    assert get(sandbox, "/model/no/such").status_code == 404


def test_endpoints_have_prices_of_their_own_and_are_billed_so(sandbox: Sandbox) -> None:
    offers = manage(sandbox, "/models/qwen/qwen3-coder/endpoints")["data"]["endpoints"]
    assert [(offer["provider_name"], offer["pricing"]["completion"]) for offer in offers] == [
        ("Novita", "0.0000013"),
        ("DeepInfra", "0.00000095"),
    ]
    sandbox.account.reply = Reply(prompt_tokens=0, completion_tokens=1_000_000)
    capped = {"max_price": {"completion": 1}}
    for provider, wishes in (("Novita", {}), ("DeepInfra", {"sort": "price"}), ("DeepInfra", capped)):
        body = {**HELLO, "model": "qwen/qwen3-coder", "provider": wishes}
        assert post(sandbox, body=body).json()["provider"] == provider
    assert sandbox.account.bill == Decimal("1.3") + 2 * Decimal("0.95")


# -- webhooks ------------------------------------------------------------------------------------------------------


def test_alerts_arrive_like_at_slack_and_pagerduty() -> None:
    payload = {"summary": "s", "source": "x", "severity": "error"}
    event = {"routing_key": "r", "event_action": "trigger", "payload": payload}
    with Webhook() as webhook:
        assert requests.post(webhook.slack_url, json={"text": "over budget"}, timeout=30).text == "ok"
        assert requests.post(webhook.pagerduty_url, json=event, timeout=30).status_code == 202
        assert requests.post(webhook.slack_url, json={"text": ""}, timeout=30).text == "no_text"
        assert requests.post(webhook.slack_url, data=b"{", timeout=30).text == "invalid_payload"
        assert len(requests.post(webhook.pagerduty_url, json={}, timeout=30).json()["errors"]) == 2
        assert webhook.messages() == [{"text": "over budget"}, event]


def test_a_receiver_fails_as_often_as_it_is_told() -> None:
    with Webhook() as webhook:
        webhook.fail(2, 503)
        posts = [requests.post(webhook.slack_url, json={"text": "x"}, timeout=30).status_code for _ in range(3)]
        assert posts == [503, 503, 200]
        assert len(webhook.messages()) == 1
