"""Webhooks over the API are added, listed, tested and removed; their secret is shown once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from api.security.access import needed_scope
from tests.support.service_fixtures import Served

NEW = {"name": "ci", "url": "https://ci.example/hooks/sEcReTpAtH"}


def test_a_secret_is_shown_once_and_the_path_never(served: Served) -> None:
    made = served.client.post("/v1/webhooks", json=NEW)
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    assert made.json()["topics"] == ["finished", "failed", "paused", "warning"]
    again = served.client.post("/v1/webhooks", json=NEW)
    assert again.status_code == 409
    tested = served.client.post("/v1/webhooks/ci:test")
    assert (tested.status_code, tested.json()["state"], tested.json()["topic"]) == (202, "waiting", "test")
    shown = [
        served.client.get(path).text for path in ("/v1/webhooks", "/v1/webhooks/ci/deliveries", "/v1/webhooks/nope")
    ]
    for answer in (made.text.replace(made.json()["secret"], ""), again.text, tested.text, *shown):
        assert "sEcReTpAtH" not in answer and "whsec_" not in answer
    listed = served.client.get("/v1/webhooks").json()["items"][0]
    assert (listed["waiting"], listed["last"]) == (1, None), "nothing was sent"
    assert served.client.delete("/v1/webhooks/ci").status_code == 204
    assert served.client.get("/v1/webhooks").json() == {"items": []}
    assert served.client.delete("/v1/webhooks/ci").status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://me:pAsSwOrD@ci.example/sEcReTpAtH"},
        {"url": "ftp://ci.example/sEcReTpAtH"},
        {"url": "http://ci.example/sEcReTpAtH", "form": "slack"},
        {"name": "with space"},
        {"topics": []},
        {"topics": ["everything"]},
    ],
)
def test_what_cannot_be_used_is_refused_without_quoting_a_secret(served: Served, change: dict[str, Any]) -> None:
    refused = served.client.post("/v1/webhooks", json={**NEW, **change})
    assert refused.status_code == 422 and refused.json()["detail"]
    assert "pAsSwOrD" not in refused.text and "sEcReTpAtH" not in refused.text


def test_there_are_not_more_webhooks_than_a_service_can_tell(served: Served) -> None:
    for number in range(50):
        assert served.client.post("/v1/webhooks", json={**NEW, "name": f"w{number}"}).status_code == 201
    refused = served.client.post("/v1/webhooks", json=NEW)
    assert refused.status_code == 409 and "at most 50" in refused.text


def test_webhooks_need_a_key_of_scope_admin() -> None:
    for method in ("GET", "POST", "DELETE"):
        assert needed_scope(method, "/v1/webhooks") == needed_scope(method, "/v1/webhooks/ci:test") == "admin"


def test_a_secret_is_no_part_of_what_the_api_logs(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    secret = served.client.post("/v1/webhooks", json=NEW).json()["secret"]
    with served.service.store.transaction() as conn:
        conn.execute(text("ALTER TABLE webhook_deliveries RENAME TO gone"))
    try:
        assert served.client.get("/v1/webhooks").status_code == 500
    finally:
        with served.service.store.transaction() as conn:
            conn.execute(text("ALTER TABLE gone RENAME TO webhook_deliveries"))
    assert secret not in caplog.text and "sEcReTpAtH" not in caplog.text
