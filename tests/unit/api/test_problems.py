"""Every error is a problem document that says what was given and what to do; hostile requests are refused."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import make_url

from api.cursors import read_cursor, write_cursor
from api.security.guards import MOST_BODY
from api.service import Service
from eva.errors import InputError
from eva.settings import Settings
from store.runs.runs import annotate_run, create_run
from store.session import Store
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served, serving

REFUSED = [
    ("GET", "/v1/nowhere", {}, 404),
    ("GET", "/v1/runs/nobody-here", {}, 404),
    ("GET", "/v1/runs/last/prompts/999999", {}, 404),
    ("POST", "/v1/runs/last/events", {}, 405),
    ("DELETE", "/v1/runs/last/events", {}, 405),
    ("GET", "/v1/runs?limit=0", {}, 422),
    ("GET", "/v1/runs?limit=1000000", {}, 422),
    ("GET", "/v1/runs?cursor=%00", {}, 422),
    ("GET", "/v1/runs?status=flying", {}, 422),
    ("GET", "/v1/runs?created_after=yesterday", {}, 422),
    ("GET", "/v1/runs?created_after=0.5", {}, 422),
    ("GET", "/v1/runs/last:nothing", {}, 404),
    ("GET", "/v1/runs/last/prompts/99999999999999999999", {}, 422),
    ("GET", "/v1/runs/last/prompts?info_min=nan", {}, 422),
    ("GET", "/v1/runs/last/prompts?info_min=1&info_max=0", {}, 422),
    ("GET", "/v1/runs/last/events?after=-1", {}, 422),
    ("GET", "/v1/runs/last/events/stream", {"Last-Event-ID": "x"}, 422),
    ("GET", "/v1/runs", {"Host": "evil.example"}, 421),
    ("POST", "/v1/runs", {"Origin": "http://evil.example"}, 403),
]


def test_an_address_without_a_view_has_a_page_for_a_browser_and_a_problem_for_a_program(played_service: Served) -> None:
    asked = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = played_service.client.get("/nothing/here", headers=asked)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (404, "text/html")
    for path, headers in (("/nothing/here", {}), ("/v1/nothing", asked), ("/static/nothing.js", asked)):
        refused = played_service.client.get(path, headers=headers)
        assert refused.status_code == 404 and "there is nothing at" in refused.json()["detail"], path


@pytest.mark.parametrize(("method", "path", "headers", "status"), REFUSED)
def test_what_is_refused_is_explained(
    played_service: Served, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = played_service.client.request(method, path, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:eva:problem:")
    assert document["title"] and document["given"] and document["detail"]
    assert document.get("next_move"), "nobody is left without a next move"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/v1/runs", "GET, POST"),
        ("POST", "/v1/runs/last", "DELETE, GET, PATCH"),
        ("PATCH", "/v1/runs/last:pause", "POST"),
    ],
)
def test_a_method_that_is_not_allowed_is_answered_with_all_that_are(
    played_service: Served, method: str, path: str, allowed: str
) -> None:
    answer = played_service.client.request(method, path, json={})
    assert (answer.status_code, answer.headers["allow"], answer.json()["expected"]) == (405, allowed, allowed)


def test_a_field_that_does_not_validate_is_named_with_what_was_given(played_service: Served) -> None:
    document = played_service.client.get("/v1/runs?limit=9999&status=flying").json()
    fields = {error["where"]: error for error in document["errors"]}
    assert set(fields) == {"query.limit", "query.status.0"}
    assert "9999" in fields["query.limit"]["given"]
    assert "interrupted" in fields["query.status.0"]["expected"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_refused_as_soon_as_it_is_too_large(played_service: Served, chunked: bool) -> None:
    body = b"x" * (MOST_BODY + 1)
    content = iter([body[:MOST_BODY], body[MOST_BODY:]]) if chunked else body
    answer = played_service.client.post("/v1/runs", content=content)
    assert answer.status_code == 413
    assert f"{MOST_BODY:,}" in answer.json()["expected"]


def test_an_internal_error_reveals_nothing_about_the_service(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a password: hunter2")

    monkeypatch.setattr("api.runs.endpoints.run_page", broken)
    answer = served.client.get("/v1/runs")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" not in answer.text


def test_a_database_that_is_gone_is_503_and_the_process_still_alive(
    served: Served, database_url: str, store_settings: Settings
) -> None:
    assert served.client.get("/readyz").json()["status"] == "ok"
    gone = Store(make_url(database_url).set(drivername="postgresql+psycopg", database="nowhere"))
    with serving(Service(gone, store_settings)) as started:
        refused = started.client.get("/readyz")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert started.client.get("/v1/runs").json()["type"] == "urn:eva:problem:store"
        assert started.client.get("/healthz").status_code == 200
    gone.close()


def test_every_answer_has_the_headers_against_misuse(played_service: Served) -> None:
    for path in ("/v1/runs", "/v1/nowhere", "/v1/runs/last"):
        headers = played_service.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_pages_of_other_sites_are_refused(played_service: Served) -> None:
    asked = played_service.client.options(
        "/v1/runs", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert asked.status_code in (403, 405)
    assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize("cursor", ["", "e30", "W10", "WyJhIl0", "é", "WzFd!", "WzEuNV0", "Wy0xXQ", "W3RydWVd"])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        read_cursor(cursor, int)


def test_a_cursor_returns_exactly_the_place_that_was_written() -> None:
    assert read_cursor("WzFd", int) == (1,)
    for value in (0.1 + 0.2, -1e-300, None):
        assert read_cursor(write_cursor("info", value, 7), str, float, int) == ("info", value, 7)


def test_hostile_text_comes_back_as_data(served: Served) -> None:
    hostile = "<script>alert(1)</script>\r\nSet-Cookie: a=b \u202e'; DROP TABLE runs; --"
    with served.service.store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        annotate_run(conn, run.id, note=hostile, tags=(hostile,))
    answer = served.client.get(f"/v1/runs/{run.name}")
    assert answer.json()["note"] == hostile
    assert json.loads(answer.content)["tags"] == [hostile]
    assert "set-cookie" not in answer.headers


def test_the_run_of_the_fixture_is_there(played_service: Served, played: Played) -> None:
    assert played_service.client.get("/v1/runs/last").json()["name"] == played.name


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/v1/runs?page=2", "Pages are walked with `cursor`"),
        ("/v1/runs?tags=a", "Did you mean tag?"),
        ("/v1/runs?limt=3", "Did you mean limit?"),
        ("/v1/runs/last?verbose=1", "Leave it out"),
        ("/healthz?x=1", "Leave it out"),
    ],
)
def test_an_unknown_query_parameter_is_refused_with_the_right_one(
    played_service: Served, path: str, advice: str
) -> None:
    refused = played_service.client.get(path)
    assert refused.status_code == 422
    assert "has no query parameter" in refused.json()["given"] and advice in refused.json()["next_move"]


def test_an_action_behind_a_slash_is_shown_with_its_colon(played_service: Served) -> None:
    refused = played_service.client.post("/v1/runs/last/cancel", json={})
    assert refused.status_code == 404
    assert refused.json()["next_move"] == "Actions follow a colon: POST /v1/runs/last:cancel"


@pytest.mark.parametrize(
    ("media_type", "given"), [(None, "no Content-Type"), ("text/plain", "Content-Type text/plain")]
)
def test_a_body_that_is_not_called_json_is_told_so(played_service: Served, media_type: str | None, given: str) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    refused = played_service.client.post("/v1/runs", content=b'{"preset": "playground"}', headers=headers)
    assert refused.status_code == 422
    assert given in refused.json()["given"] and "application/json" in refused.json()["expected"]


def test_large_responses_are_compressed_for_clients_that_accept_it(played_service: Served) -> None:
    path = "/v1/runs/last/prompts?limit=100"
    zipped = played_service.client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = played_service.client.get(path, headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert zipped.json() == plain.json()
    assert int(zipped.headers["content-length"]) < int(plain.headers["content-length"]) / 2
