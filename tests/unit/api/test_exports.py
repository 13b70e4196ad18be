"""Exports contain what the store holds, survive a restart of the service, and need a key to download."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from sqlalchemy import text

from api.exports.writer import ExportWriter
from api.service import Service
from eva.settings import Settings
from store.runs import export_jobs
from store.runs.runs import create_run
from store.session import Store
from store.views import exports
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served, await_export, awaited, serving

BASE = "/v1/runs/last"


def stored(played: Played, kind: str) -> list[dict[str, Any]]:
    with played.store.transaction() as conn:
        return list(exports.EXPORTS[kind](conn, played.run_id))


@pytest.mark.parametrize("kind", ["pairs", "prompts", "responses", "judged", "heldout"])
def test_a_file_holds_what_the_store_does(played_service: Served, played: Played, kind: str) -> None:
    rows = stored(played, kind)
    for form in ("jsonl", "parquet"):
        export = await_export(played_service, "last", kind, form)
        assert (export["status"], export["rows"], export["error"]) == ("done", len(rows), None)
        answer = played_service.client.get(f"{BASE}/exports/{export['id']}/file")
        assert answer.status_code == 200 and len(answer.content) == export["bytes"]
        assert f"{played.name}-{kind}.{form}" in answer.headers["content-disposition"]
        found = (
            [json.loads(line) for line in answer.text.splitlines()]
            if form == "jsonl"
            else pq.read_table(io.BytesIO(answer.content)).to_pylist()
        )  # pyright: ignore[reportUnknownMemberType]
        assert found == rows


def test_judged_prompts_carry_the_rewards_that_their_info_comes_from(played: Played) -> None:
    rows = stored(played, "judged")
    assert {row["part"] for row in rows} == {"pool", "batch"}
    judged = [row for row in rows if row["info"]]
    assert judged
    for row in judged:
        assert len(row["responses"]) == len(row["rewards"]) == 6
        assert row["info"] == pytest.approx(max(row["rewards"]) - min(row["rewards"]))


@pytest.fixture
def idle(store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A service with a run, whose writer does nothing."""
    monkeypatch.setattr(ExportWriter, "start", lambda self: None)
    with store.transaction() as conn:
        create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
    with serving(Service(store, store_settings)) as started:
        yield started


def test_the_next_service_writes_the_exports_that_wait(idle: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = idle.client.post(f"{BASE}/exports", json={"kind": "prompts"}).json()
    again = idle.client.post(f"{BASE}/exports", json={"kind": "prompts"}).json()
    assert asked["id"] == again["id"] and asked["status"] == "waiting"
    early = idle.client.get(f"{BASE}/exports/{asked['id']}/file")
    assert (early.status_code, early.headers["retry-after"]) == (409, "2")
    with idle.service.store.transaction() as conn:  # a writer claimed it and died
        assert export_jobs.claim_export(conn) is not None
    with idle.service.store.transaction() as conn:
        assert export_jobs.claim_export(conn) is None, "while its claim lasts nobody else writes it"
        conn.execute(text("UPDATE exports SET claimed_until = clock_timestamp()"))
    monkeypatch.undo()
    with serving(idle.service) as other:
        done = awaited(other, f"{BASE}/exports/{asked['id']}")
        assert (done["status"], done["rows"]) == ("done", 0)
        assert [one["id"] for one in other.client.get(f"{BASE}/exports").json()["items"]] == [asked["id"]]


def test_expired_files_are_removed(idle: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with serving(idle.service) as other:
        done = await_export(other, "last", "prompts", "jsonl")
        folder = idle.service.settings.data_dir / "exports"
        assert [path.name for path in folder.iterdir()] == [f"{done['id']}.jsonl"]
        with idle.service.store.transaction() as conn:
            conn.execute(text("UPDATE exports SET expires_at = clock_timestamp()"))
        later = await_export(other, "last", "pairs", "jsonl")
        assert other.client.get(f"{BASE}/exports/{done['id']}").status_code == 404
        assert [path.name for path in folder.iterdir()] == [f"{later['id']}.jsonl"]


def test_an_export_that_fails_says_so_and_the_next_is_written(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.service.store.transaction() as conn:
        create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)

    def broken(*_: object) -> Iterator[dict[str, Any]]:
        raise RuntimeError("inside: hunter2hunter2")

    monkeypatch.setitem(exports.EXPORTS, "pairs", broken)
    failed = await_export(served, "last", "pairs", "jsonl")
    assert failed["status"] == "failed" and "hunter2" not in failed["error"]
    assert await_export(served, "last", "prompts", "jsonl")["status"] == "done"


def test_rollouts_of_a_run_without_token_records_fail_and_say_why(played_service: Served, played: Played) -> None:
    failed = await_export(played_service, "last", "rollouts", "parquet")
    assert failed["status"] == "failed" and f"run {played.name} has no token records" in failed["error"]


@pytest.mark.parametrize(
    "body", [{}, {"kind": "secrets"}, {"kind": "pairs", "format": "../x"}, {"kind": "pairs", "path": "/x"}, [], "x"]
)
def test_what_cannot_be_written_is_refused(idle: Served, body: Any) -> None:
    assert idle.client.post(f"{BASE}/exports", json=body).status_code == 422


def test_only_a_limited_number_of_exports_may_wait(idle: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.exports.endpoints.MOST_UNFINISHED", 1)
    assert idle.client.post(f"{BASE}/exports", json={"kind": "pairs"}).status_code == 202
    refused = idle.client.post(f"{BASE}/exports", json={"kind": "prompts"})
    assert refused.status_code == 429 and refused.headers["retry-after"]


def test_the_card_counts_the_rows_of_the_run(played_service: Served, played: Played) -> None:
    answer = played_service.client.get(f"{BASE}/card")
    assert answer.headers["content-type"].startswith("text/markdown")
    head = yaml.safe_load(answer.text.split("---")[1])
    assert head["pretty_name"] == played.name
    assert {one["config_name"] for one in head["configs"]} == {*exports.EXPORTS}
    for kind in exports.EXPORTS:
        assert f"| `{played.name}-{kind}.jsonl` | {len(stored(played, kind)):,} |" in answer.text
