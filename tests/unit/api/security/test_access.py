"""Access: keys with their scopes and expiry, browser sessions, and failed attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from api.main import bare_app
from api.security.access import COOKIE, Access, needed_scope
from api.security.attempts import BURST, REFILL_S, FailedAttempts, TooManyTriesError
from api.service import Service, Streams
from eva.runtime.api_keys import KEY, Scope, includes, make_key
from eva.settings import Settings
from orchestrator.launch.registration import register_run
from store.runs.api_keys import create_key, list_keys, revoke_key
from store.session import Store
from tests.support.fakes import fake_config
from tests.support.service_fixtures import Served, serving


@pytest.fixture
def guarded(store: Store, store_settings: Settings) -> Iterator[Served]:
    """A service that requires keys."""
    with serving(Service(store, store_settings, access=Access(store))) as started:
        yield started


def a_key(served: Served, scope: Scope = "read", lasts: timedelta | None = None) -> str:
    with served.service.store.transaction() as conn:
        key, _ = create_key(conn, "test", scope, lasts)
    return key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_only_the_health_of_the_process_is_shown(guarded: Served) -> None:
    refused = guarded.client.get("/v1/runs")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="eva"')
    assert refused.headers["content-type"] == "application/problem+json"
    assert "eva keys create" in refused.json()["next_move"]
    assert guarded.client.get("/healthz").status_code == guarded.client.get("/readyz").status_code == 200
    key = a_key(guarded)
    assert guarded.client.get("/v1/runs", headers=bearer(key)).status_code == 200


def test_a_key_allows_what_its_scope_includes(guarded: Served) -> None:
    reading = bearer(a_key(guarded, "read"))
    refused = guarded.client.post("/v1/runs", headers=reading, json={})
    assert refused.status_code == 403
    assert 'scope="write"' in refused.headers["www-authenticate"]
    writing = bearer(a_key(guarded, "write"))
    assert guarded.client.post("/v1/nowhere", headers=writing, json={}).status_code == 404
    assert guarded.client.get("/v1/keys", headers=writing).status_code == 403
    assert includes("admin", "write") and includes("write", "read") and not includes("read", "write")


def test_every_operation_has_a_scope_unless_it_is_listed_as_open() -> None:
    opened = {
        f"{method.upper()} {path}"
        for path, methods in bare_app().openapi()["paths"].items()
        for method in methods
        if needed_scope(method.upper(), path) is None
    }
    assert opened == {"GET /healthz", "GET /readyz", "GET /v1/session", "POST /v1/session", "DELETE /v1/session"}
    assert needed_scope("DELETE", "/v1/runs/x") == needed_scope("POST", "/v1/runs/x:pause") == "write"
    assert needed_scope("GET", "/metrics") == needed_scope("GET", "/v1/openapi.json") == "read"
    assert needed_scope("GET", "/static/app.js") is None, "pages and their parts show nothing by themselves"


def test_an_administrator_manages_keys_over_the_api(guarded: Served) -> None:
    admin = bearer(a_key(guarded, "admin"))
    made = guarded.client.post("/v1/keys", headers=admin, json={"name": "<b>anna</b>", "scope": "read", "days": 1})
    assert made.status_code == 201
    key = made.json()["secret"]
    assert guarded.client.get("/v1/runs", headers=bearer(key)).status_code == 200
    listed = guarded.client.get("/v1/keys", headers=admin)
    assert listed.json()["items"][0]["name"] == "<b>anna</b>" and key[13:] not in listed.text
    assert guarded.client.delete(f"/v1/keys/{key[:12]}", headers=admin).status_code == 204
    assert guarded.client.get("/v1/keys", headers=admin).json()["items"][0]["live"] is False
    assert guarded.client.delete("/v1/keys/nobody", headers=admin).status_code == 404


def test_a_service_that_requires_no_keys_makes_none(served: Served) -> None:
    for answer in (
        served.client.get("/v1/keys"),
        served.client.post("/v1/keys", json={"name": "x", "scope": "admin"}),
        served.client.delete("/v1/keys/abcdefgh"),
    ):
        assert answer.status_code == 409 and "eva keys" in answer.json()["next_move"]


def test_a_key_ends_when_it_expires_or_is_revoked(guarded: Served) -> None:
    expired = a_key(guarded, lasts=timedelta(seconds=-1))
    kept, revoked = a_key(guarded), a_key(guarded)
    with guarded.service.store.transaction() as conn:
        revoke_key(conn, revoked[4:12])
    assert [guarded.client.get("/v1/runs", headers=bearer(key)).status_code for key in (expired, revoked, kept)] == [
        401,
        401,
        200,
    ]


def test_no_key_can_be_derived_from_the_table_of_keys(guarded: Served) -> None:
    key = a_key(guarded)
    with guarded.service.store.transaction() as conn:
        stored = str(conn.execute(text("SELECT api_keys::text FROM api_keys")).scalar_one())
    assert key[4:12] in stored
    assert key[13:] not in stored and key[13:].encode().hex() not in stored


def test_the_last_use_is_known_to_the_hour(guarded: Served) -> None:
    assert guarded.client.get("/v1/runs", headers=bearer(a_key(guarded))).status_code == 200
    with guarded.service.store.transaction() as conn:
        used = list_keys(conn)[0].last_used_at
    assert used is not None and (used.minute, used.second, used.microsecond) == (0, 0, 0)


@pytest.mark.parametrize("given", ["Bearer x", "Bearer", "Basic eva", "Bearer eva_aaaaaaaa_" + "a" * 43, "Bearer é"])
def test_an_invalid_key_is_refused(guarded: Served, given: str) -> None:
    answer = guarded.client.get("/v1/runs", headers={b"Authorization": given.encode()})
    assert answer.status_code == 401


def test_guessing_is_slowed_down_and_a_valid_key_still_works(guarded: Served) -> None:
    known, new = a_key(guarded), a_key(guarded)
    assert guarded.client.get("/v1/runs", headers=bearer(known)).status_code == 200
    answers = [guarded.client.get("/v1/runs", headers=bearer(make_key()[0])) for _ in range(BURST + 5)]
    assert [answer.status_code for answer in answers[:BURST]] == [401] * BURST
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    for key in (known, new):
        assert guarded.client.get("/v1/runs", headers=bearer(key)).status_code == 200


def test_an_address_may_try_again_after_a_while() -> None:
    now = 0.0
    attempts = FailedAttempts(lambda: now)
    for _ in range(BURST):
        attempts.check("a")
        attempts.record_failure("a")
    with pytest.raises(TooManyTriesError):
        attempts.check("a")
    attempts.check("b")
    now = REFILL_S
    attempts.check("a")


def test_a_browser_logs_in_and_out(guarded: Served) -> None:
    key = a_key(guarded)
    assert guarded.client.get("/v1/session").status_code == 404
    opened = guarded.client.post("/v1/session", json={"key": key})
    assert (opened.status_code, opened.json()["scope"]) == (200, "read")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and key not in cookie
    assert guarded.client.get("/v1/runs").status_code == 200
    assert guarded.client.get("/v1/session").json()["key"] == f"eva_{key[4:12]}"
    token = guarded.client.cookies[COOKIE]
    assert guarded.client.delete("/v1/session").status_code == 204
    again = httpx.get(f"{guarded.url}/v1/runs", headers={"Cookie": f"{COOKIE}={token}"}, trust_env=False)
    assert again.status_code == 401, "the session ended on the server, not in the browser alone"


def test_a_session_ends_with_its_key(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    key = a_key(guarded)
    assert guarded.client.post("/v1/session", json={"key": key}).status_code == 200
    monkeypatch.setattr("api.security.access.FRESH_S", 0.0)
    with guarded.service.store.transaction() as conn:
        revoke_key(conn, key[4:12])
    assert guarded.client.get("/v1/runs").status_code == 401


def test_a_person_logs_in_by_a_form_without_script(guarded: Served) -> None:
    page = guarded.client.get("/login")
    assert "<script" not in page.text and "style=" not in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    # with no-referrer a browser would send `Origin: null`
    assert page.headers["referrer-policy"] == "same-origin"
    wrong = guarded.client.post("/login", data={"key": "eva_x<script>"}, headers={"Origin": guarded.url})
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers and "<script" not in wrong.text
    right = guarded.client.post("/login", data={"key": a_key(guarded)}, headers={"Origin": guarded.url})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert guarded.client.get("/v1/runs").status_code == 200


def test_another_site_can_neither_log_in_nor_use_a_session(guarded: Served) -> None:
    login = guarded.client.post("/v1/session", json={"key": a_key(guarded)}, headers={"Origin": "http://evil.example"})
    assert login.status_code == 403 and "set-cookie" not in login.headers
    behind_tls = guarded.client.post(
        "/v1/session", json={"key": a_key(guarded)}, headers={"Origin": guarded.url.replace("http:", "https:")}
    )
    assert "Secure" in behind_tls.headers["set-cookie"]


def test_the_session_says_when_no_key_is_required(served: Served) -> None:
    assert served.client.get("/v1/session").json() == {
        "keys_required": False,
        "scope": "admin",
        "key": None,
        "until": None,
    }
    assert served.client.post("/v1/session", json={"key": "eva_x"}).status_code == 409


def test_keys_are_random_and_of_one_shape() -> None:
    made = {make_key()[0] for _ in range(50)}
    assert len(made) == 50
    assert all(KEY.fullmatch(key) for key in made)


def test_one_key_cannot_hold_every_stream(store: Store, store_settings: Settings) -> None:
    service = Service(store, store_settings, access=Access(store), streams=Streams(most=3, most_of_key=2))
    path = f"/v1/runs/{register_run(store, fake_config()).name}/events/stream"
    with serving(service) as guarded, ExitStack() as opened:

        def open_with(key: str) -> httpx.Response:
            request = guarded.client.build_request("GET", path, headers=bearer(key))
            response = guarded.client.send(request, stream=True)
            opened.callback(response.close)
            return response

        first, second = a_key(guarded), a_key(guarded)
        assert [open_with(first).status_code for _ in range(3)] == [200, 200, 429]
        assert open_with(second).status_code == 200, "another key still has room"
        refused = open_with(second)
        assert refused.status_code == 429 and "3 event streams are open" in refused.read().decode()
