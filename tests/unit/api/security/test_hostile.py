"""Hostile requests and texts: nested too deeply, too slow, outside the folder, or aimed at another program."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.types import Message

from api.main import THREADS, create_app
from api.security.guards import DEEPEST, Guards
from api.service import Service
from eva.settings import Settings
from eva.types import Prompt
from store.game.prompts import insert_prompts
from store.runs.runs import create_run
from store.session import Store
from tests.support.service_fixtures import Served, serving

TEXTS = [
    "<script>alert(1)</script>",
    "'; DROP TABLE runs; --",
    "\u202etxt.exe",
    "\x1b[2J",
    "{{7*7}}",
    "\r\nX-Evil: 1",
    "javascript:alert(1)",
    "\ufeff",
    "=cmd|' /C calc'!A0",
]


@pytest.fixture
def hostile(store: Store, store_settings: Settings) -> Iterator[tuple[Served, str]]:
    """A run whose prompts are hostile, and a folder of logs with something worth stealing beside it."""
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        insert_prompts(conn, run.id, [Prompt(number, text, root=number) for number, text in enumerate(TEXTS)])
    logs = store_settings.logs_dir / run.name
    logs.mkdir(parents=True)
    (logs / "eva.log").write_text("<script>alert(1)</script>\n")
    (store_settings.data_dir / "stolen").write_text("stolen")
    with serving(Service(store, store_settings)) as started:
        yield started, run.name


def test_hostile_texts_come_back_as_data(hostile: tuple[Served, str]) -> None:
    served, name = hostile
    answer = served.client.get(f"/v1/runs/{name}/prompts")
    assert [one["text"] for one in answer.json()["items"]] == TEXTS
    assert answer.headers["content-type"] == "application/json"
    assert "x-evil" not in answer.headers
    for text in TEXTS:
        found = served.client.get(f"/v1/runs/{name}/prompts", params={"text": text}).json()["items"]
        assert text in [one["text"] for one in found]


@pytest.mark.parametrize("name", ["../../stolen", "..%2f..%2fstolen", "/etc/passwd", "eva.log/../../../stolen", "."])
def test_no_log_name_leads_out_of_its_folder(hostile: tuple[Served, str], name: str) -> None:
    served, run = hostile
    answer = served.client.get(f"/v1/runs/{run}/logs", params={"name": name})
    assert answer.status_code == 404 and "stolen\n" not in answer.text
    assert served.client.get(f"/v1/runs/{run}/logs").json()["lines"] == ["<script>alert(1)</script>"]


@pytest.mark.parametrize("path", ["/v1/runs/../../etc/passwd", "/..%2f..%2fetc/passwd", "/v1/runs/%2e%2e/logs"])
def test_no_path_leads_to_a_file(hostile: tuple[Served, str], path: str) -> None:
    served, _ = hostile
    answer = served.client.get(served.client.base_url.copy_with(raw_path=path.encode()))
    assert answer.status_code == 404 and "root:" not in answer.text


@pytest.mark.parametrize(
    "body", [b"[" * (DEEPEST + 1), b'{"a":' * (DEEPEST + 1), b'["]"' + b",[" * DEEPEST, b'["\\"",' + b"[" * DEEPEST]
)
def test_what_is_nested_too_deep_is_refused_before_it_is_parsed(served: Served, body: bytes) -> None:
    answer = served.client.post("/v1/session", content=body)
    assert answer.status_code == 422
    assert f"{DEEPEST} levels" in answer.json()["given"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEPEST + b"]" * DEEPEST,
        b"[]" * 100,
        json.dumps(["[" * 1000]).encode(),
        json.dumps(['"' + "{" * 99]).encode(),
    ],
)
def test_brackets_that_are_not_nested_do_not_count_as_depth(served: Served, body: bytes) -> None:
    answer = served.client.post("/v1/session", content=body)
    assert answer.status_code == 422 and "levels" not in answer.text


@pytest.mark.parametrize("path", ["/v1/session", "/login"])
def test_a_body_that_needs_no_key_is_small(served: Served, path: str) -> None:
    answer = served.client.post(path, content=b"[]" * 2**19, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "4,096" in answer.json()["expected"]


def test_a_body_with_very_many_parts_is_refused_before_it_is_parsed(served: Served) -> None:
    answer = served.client.post("/v1/runs", content=b"[" + b"[]," * 30_000 + b"1]")
    assert answer.status_code == 422 and "30,001 opening brackets" in answer.json()["given"]


def test_health_answers_while_every_thread_is_busy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    release, busy = threading.Event(), threading.Barrier(THREADS + 1)

    def block(*_: object, **__: object) -> None:
        busy.wait(20)
        release.wait(20)

    monkeypatch.setattr("api.runs.endpoints.run_page", block)
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for _ in range(THREADS):
                pool.submit(served.client.get, "/v1/runs")
            busy.wait(20)
            assert served.client.get("/healthz", timeout=5).json() == {"status": "ok"}
        finally:
            release.set()


def test_a_slow_body_is_refused_after_a_time_limit(store: Store, store_settings: Settings) -> None:
    app = Guards(create_app(Service(store, store_settings)), slowest_s=0.05)
    sent: list[Any] = []

    async def receive() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/session",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["next_move"]


def test_pages_and_answers_for_programs_have_their_own_policies(served: Served) -> None:
    for path in ("/", "/login", "/static/app.js", "/anything"):
        policy = served.client.get(path).headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    for path in ("/v1/runs", "/healthz", "/v1/nowhere", "/metrics"):
        policy = served.client.get(path).headers["content-security-policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
