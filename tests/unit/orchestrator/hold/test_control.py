"""Pause and cancel from outside: what becomes of a run that somebody plays, that nobody plays, that is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.errors import ConflictError, RunStoppedError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.hold.control import request_stop, wait_for_stop
from orchestrator.hold.lease import claim
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import prepare
from store.rows import RunRow
from store.runs import events, leases, runs
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Recorder, always, fake_config, fake_roles

SMALL = {"iterations": 2}


def row_of(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def play(store: Store, folder: Path, run: RunRow, listener: Recorder | None = None) -> None:
    drive(store, Settings(folder, None, None), row_of(store, run), listener or Recorder(), build=always(fake_roles()))


def test_a_run_that_nobody_plays_is_paused_at_once_and_goes_on_later(store: Store, tmp_path: Path) -> None:
    run, other = register_run(store, fake_config(**SMALL)), register_run(store, fake_config(**SMALL))
    row = request_stop(store, run, "pause")
    assert (row.status, row.desired) == ("paused", "pause")
    assert request_stop(store, row, "pause").status == "paused", "asking again changes nothing"
    for ready in (prepare(store, row), other):
        play(store, tmp_path, ready)
    assert row_of(store, run).status == "finished"
    assert fingerprint_of(store, run) == fingerprint_of(store, other)


def test_a_run_whose_driver_died_is_cancelled_at_once_and_is_over(store: Store, tmp_path: Path) -> None:
    run = register_run(store, fake_config(**SMALL))
    with store.transaction() as conn:
        leases.claim(conn, run.id, {"host": "elsewhere", "pid": 1}, 0.0)
        runs.set_status(conn, run.id, "running")
    row = request_stop(store, row_of(store, run), "cancel")
    assert row.status == "cancelled" and row.finished_at is not None
    with store.transaction() as conn:
        assert [event.kind for event in events.events_after(conn, run.id)][-2:] == ["asked", "cancelled"]
    with pytest.raises(ConflictError, match="is cancelled"):
        play(store, tmp_path, run)


@pytest.mark.parametrize(("wish", "reached"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_driver_obeys_at_its_next_batch(store: Store, tmp_path: Path, wish: str, reached: str) -> None:
    run = register_run(store, fake_config(**SMALL))

    def asked(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "judge_pool"):
            row = request_stop(store, row_of(store, run), "pause" if wish == "pause" else "cancel")
            assert (row.status, row.desired) == ("running", wish), "only its driver changes its state"

    with pytest.raises(RunStoppedError):
        play(store, tmp_path, run, Recorder(on_close=asked))
    assert row_of(store, run).status == reached
    assert row_of(store, run).iteration == 1


def test_a_run_that_is_over_cannot_be_paused_or_cancelled(store: Store, tmp_path: Path) -> None:
    run = register_run(store, fake_config(iterations=1))
    play(store, tmp_path, run)
    for wish in ("pause", "cancel"):
        with pytest.raises(ConflictError, match="is finished"):
            request_stop(store, row_of(store, run), wish)
    with store.transaction() as conn:
        runs.set_status(conn, run.id, "failed", "broken")
    with pytest.raises(ConflictError, match=r"has failed.*eva resume"):
        request_stop(store, row_of(store, run), "pause")
    assert request_stop(store, row_of(store, run), "cancel").status == "cancelled"


def test_waiting_ends_with_a_message_when_the_driver_does_not_obey(store: Store) -> None:
    run = register_run(store, fake_config(**SMALL))
    with claim(store, run):
        with store.transaction() as conn:
            runs.set_status(conn, run.id, "running")
        request_stop(store, row_of(store, run), "pause")
        now = iter(range(100))
        with pytest.raises(ConflictError, match=r"did not pause within 3 s; process \d+ on .* is playing it"):
            wait_for_stop(store, run, "pause", 3, clock=lambda: float(next(now)), sleep=lambda _: None)


def test_a_driver_that_has_only_just_started_obeys_a_request(store: Store, tmp_path: Path) -> None:
    run = register_run(store, fake_config(**SMALL))
    for wish, reached in (("pause", "paused"), ("cancel", "cancelled")):
        with claim(store, run):  # the driver has the run and has written nothing
            request_stop(store, run, wish)  # type: ignore[arg-type]
        heard = Recorder()
        with pytest.raises(RunStoppedError):
            play(store, tmp_path, run, heard)
        assert heard.stages == []
        assert (row_of(store, run).status, row_of(store, run).desired) == (reached, wish)


def test_a_paused_run_whose_driver_is_on_its_way_is_asked_again(store: Store) -> None:
    run = register_run(store, fake_config(**SMALL))
    request_stop(store, run, "pause")
    assert prepare(store, row_of(store, run)).desired == "run"
    assert request_stop(store, run, "pause").desired == "pause"


def test_waiting_takes_over_from_a_driver_that_died(store: Store) -> None:
    run = register_run(store, fake_config(**SMALL))
    lease = claim(store, run)
    with store.transaction() as conn:
        runs.set_status(conn, run.id, "running")
    request_stop(store, row_of(store, run), "pause")
    waited: list[float] = []

    def meanwhile(pause_s: float) -> None:
        waited.append(pause_s)
        if len(waited) == 3:
            with store.transaction() as conn:
                leases.release(conn, lease.fence)

    assert wait_for_stop(store, run, "pause", 600, clock=lambda: 0.0, sleep=meanwhile).status == "paused"
    assert len(waited) == 3


def test_waiting_ends_when_another_request_replaces_this_one(store: Store) -> None:
    run = register_run(store, fake_config(**SMALL))
    with claim(store, run):
        request_stop(store, run, "cancel")

        def meanwhile(_: float) -> None:
            with store.transaction() as conn:
                runs.set_desired(conn, run.id, "run")

        with pytest.raises(ConflictError, match=r"the request to cancel run .* was replaced by a request to run"):
            wait_for_stop(store, run, "cancel", 600, clock=lambda: 0.0, sleep=meanwhile)


def test_waiting_says_when_the_run_ended_another_way(store: Store) -> None:
    run = register_run(store, fake_config(**SMALL))
    with store.transaction() as conn:
        runs.set_status(conn, run.id, "finished")
    with pytest.raises(ConflictError, match="finished before it could pause"):
        wait_for_stop(store, run, "pause", 1)


def test_the_commands_report_the_state_of_the_run(store: Store, eva: Command) -> None:
    run = register_run(store, fake_config(**SMALL))
    assert f"{run.name} is paused in iteration 0 (1 of 2)" in eva("pause", run.name).stdout
    assert f"{run.name} is already paused" in eva("pause", run.name, "--wait").stdout
    assert f"{run.name} is cancelled" in eva("cancel", run.name).stdout
    refused = eva("pause", run.name)
    assert refused.exit_code == 3 and f"run {run.name} is cancelled" in refused.stderr
    resumed = eva("resume", run.name)
    assert resumed.exit_code == 3 and f"eva fork {run.name}" in resumed.stderr
    with claim(store, other := register_run(store, fake_config(**SMALL))):
        asked = eva("pause", other.name)
        waited = eva("pause", other.name, "--wait", "--timeout", "0")
    assert asked.exit_code == 0 and f"{other.name} will pause: process" in asked.stdout
    assert waited.exit_code == 3 and "did not pause within 0 s" in waited.stderr
