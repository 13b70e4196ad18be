"""A run that waits says for what, since when, and how long that took in earlier runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update

from store.rows import RunRow
from store.runs.events import append_event
from store.runs.runs import create_run, set_status
from store.schema.tables import events, leases, stages
from store.session import Store
from tests.support.service_fixtures import Served

NOW = datetime.now(UTC)


def run_of(store: Store, model: str, begun_s: float, status: str = "running") -> RunRow:
    """A run whose driver began some seconds ago."""
    config = {"iterations": 1, "model": {"path": model}}
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config=config, config_hash="h", seed=1)
        set_status(conn, run.id, status)
        append_event(conn, run.id, "running", {})
        conn.execute(update(events).where(events.c.run_id == run.id).values(at=NOW - timedelta(seconds=begun_s)))
    return run


def stage_of(store: Store, run: RunRow, name: str, begun_s: float, done: int, seconds: float | None = None) -> None:
    over = {} if seconds is None else {"status": "done", "seconds": seconds, "finished_at": NOW}
    began = NOW - timedelta(seconds=begun_s)
    row = {"iteration": 0, "name": name, "position": 0, "done": done, "total": 8, "started_at": began}
    with store.transaction() as conn:
        conn.execute(insert(stages).values(run_id=run.id, **row, **over))


def test_a_run_says_what_it_waits_for_and_how_long_that_usually_takes(served: Served, store: Store) -> None:
    def wait(run: RunRow) -> Any:
        return served.client.get(f"/v1/runs/{run.name}").json()["wait"]

    alone = run_of(store, "m", 500, "finished")
    assert wait(alone) is None
    stage_of(store, alone, "evaluate_initial", 460, 8, 30.0)
    other = run_of(store, "another model", 900, "finished")
    stage_of(store, other, "evaluate_initial", 100, 8, 300.0)

    run = run_of(store, "m", 20)
    held(store, run)
    found = wait(run)
    assert (found["what"], found["usual_s"], found["runs"]) == ("start", 40.0, 1)
    assert datetime.fromisoformat(found["since"]) == NOW - timedelta(seconds=20)
    stage_of(store, run, "evaluate_initial", 5, 0)
    found = wait(run)
    assert (found["what"], found["usual_s"], found["runs"]) == ("evaluate_initial", 30.0, 1)
    assert datetime.fromisoformat(found["since"]) == NOW - timedelta(seconds=5)
    with store.transaction() as conn:
        conn.execute(update(stages).where(stages.c.run_id == run.id).values(done=1))
    assert wait(run) is None


def test_a_first_run_has_nothing_to_compare_with(served: Served, store: Store) -> None:
    run = run_of(store, "m", 20)
    held(store, run)
    assert served.client.get(f"/v1/runs/{run.name}").json()["wait"]["usual_s"] is None


def held(store: Store, run: RunRow) -> None:
    """A driver holds the run."""
    later = NOW + timedelta(hours=1)
    with store.transaction() as conn:
        held = leases.update().where(leases.c.run_id == run.id)
        conn.execute(held.values(owner={"pid": 1, "host": "h"}, expires_at=later))
