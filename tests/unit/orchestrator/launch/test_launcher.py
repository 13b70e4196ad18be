"""The launcher: no crash loses a run or plays it twice; dead drivers are noticed, and replaced or reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, null, update

from eva.errors import ConflictError, InfrastructureError
from eva.runtime import failpoints
from eva.runtime.failpoints import POINTS
from orchestrator.hold.control import request_stop
from orchestrator.launch.launcher import Launcher, RestartPolicy, queue_again, queue_new, require_queued
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import events, launches, leases, runs
from store.runs.launches import LaunchRow
from store.schema.tables import launches as launch_table
from store.schema.tables import leases as lease_table
from store.session import Store
from tests.support.fake_jobs import FakeJobs
from tests.support.fakes import fake_config

SMALL = {"iterations": 1}


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def queued(store: Store, restart: RestartPolicy | None = None) -> RunRow:
    return register_run(
        store, fake_config(**SMALL), then=lambda conn, run: queue_new(conn, run, restart or RestartPolicy(backoff_s=0))
    )


def row_of(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def launch_of(store: Store, run: RunRow) -> LaunchRow:
    with store.transaction() as conn:
        found = launches.read_launch(conn, run.id)
    assert found is not None
    return found


def kinds(store: Store, run: RunRow) -> list[str]:
    with store.transaction() as conn:
        return [event.kind for event in events.events_after(conn, run.id)]


def begin(store: Store, run: RunRow, *, lease_s: float) -> None:
    """Lets a driver on another machine start to play and hold the run for `lease_s` seconds."""
    with store.transaction() as conn:
        leases.claim(conn, run.id, {"host": "elsewhere", "pid": 1}, lease_s)
        runs.set_status(conn, run.id, "running")


def test_runs_are_played_in_order_and_no_more_at_a_time_than_allowed(store: Store, tmp_path: Path) -> None:
    first, second, third = queued(store), queued(store), queued(store)
    jobs = FakeJobs()
    launcher = Launcher(store, jobs, most=2)
    assert launcher.tick() and not launcher.tick()
    assert [arguments[1] for arguments in jobs.jobs.values()] == [first.name, second.name]
    assert row_of(store, third).status == "queued"
    with store.transaction() as conn:
        assert launches.count_ahead(conn, launch_of(store, third)) == 0
    assert jobs.play(store, tmp_path) == [first.name, second.name]
    launcher.tick()
    jobs.play(store, tmp_path)
    launcher.tick()
    assert [row_of(store, run).status for run in (first, second, third)] == ["finished"] * 3
    assert {launch_of(store, run).state for run in (first, second, third)} == {"ended"}
    assert len(jobs.jobs) == len(jobs.submissions) == 3
    assert kinds(store, first)[:4] == ["registered", "queued", "launched", "running"]


LAUNCHER = sorted(name for name in POINTS if name.startswith("launch.") and "queue" not in name)


@pytest.mark.parametrize("point", LAUNCHER)
def test_a_launcher_that_dies_at_a_point_is_replaced_and_nothing_is_lost_or_doubled(
    store: Store, tmp_path: Path, point: str
) -> None:
    run = queued(store, RestartPolicy(times=1, backoff_s=0))
    jobs = FakeJobs()
    failpoints.arm(f"{point}=raise@1")
    died = 0
    for tick in range(8):
        try:
            Launcher(store, jobs, most=1).tick()  # a new one each time: it remembers nothing
        except InfrastructureError:
            died += 1
        if tick == 3:
            # the first driver dies before it has said anything
            jobs.states = dict.fromkeys(jobs.states, "ended")
    assert died == 1
    assert len(jobs.jobs) == 2, "one job and its replacement, however often they were asked for"
    assert launch_of(store, run).attempt == 2
    assert kinds(store, run) == ["registered", "queued", "launched", "driver_died", "launched"]
    assert jobs.play(store, tmp_path) == [run.name]
    Launcher(store, jobs, most=1).tick()
    assert (row_of(store, run).status, launch_of(store, run).state) == ("finished", "ended")


def test_a_driver_that_started_before_its_job_was_recorded_is_watched(store: Store) -> None:
    run = queued(store)
    jobs = FakeJobs()
    failpoints.arm("launch.submitted=raise@1")
    with pytest.raises(InfrastructureError):
        Launcher(store, jobs, most=1).tick()
    begin(store, run, lease_s=60)
    other = queued(store)
    Launcher(store, jobs, most=1).tick()
    assert launch_of(store, run).state == "submitted"
    assert launch_of(store, other).state == "queued", "the first one plays, though its launcher died"


def test_a_run_that_was_paused_between_its_name_and_its_job_gets_none(store: Store) -> None:
    run = queued(store)
    jobs = FakeJobs()
    failpoints.arm("launch.take.after_commit=raise@1")
    with pytest.raises(InfrastructureError):
        Launcher(store, jobs, most=1).tick()
    request_stop(store, row_of(store, run), "pause")
    Launcher(store, jobs, most=1).tick()
    assert jobs.jobs == {} and launch_of(store, run).state == "ended"


def test_a_run_is_stored_with_its_place_in_the_queue_or_not_at_all(store: Store) -> None:
    failpoints.arm("launch.queue.before_commit=raise@1")
    with pytest.raises(InfrastructureError):
        queued(store)
    with store.transaction() as conn:
        assert runs.list_runs(conn) == []


def test_a_dead_driver_is_replaced_as_often_as_the_policy_says_and_then_the_run_has_failed(store: Store) -> None:
    run = queued(store, RestartPolicy(times=2, backoff_s=0))
    jobs = FakeJobs(printed="the kernel said: out of memory")
    launcher = Launcher(store, jobs, most=1)
    for _ in range(6):
        launcher.tick()
        begin(store, run, lease_s=0) if row_of(store, run).status == "queued" else None
        jobs.states = dict.fromkeys(jobs.states, "ended")
    row = row_of(store, run)
    assert row.status == "failed" and row.error is not None
    assert "out of memory" in row.error and "resume" in row.error
    assert len(jobs.jobs) == 3
    assert kinds(store, run).count("driver_died") == 2
    assert not launcher.tick(), "a failed run waits for somebody"
    assert queue_again(store, row).status == "queued"
    assert launch_of(store, run).restarted == 0, "who asks again, starts with all restarts"
    assert launcher.tick() and len(jobs.jobs) == 4


def test_a_run_whose_cluster_is_gone_is_paused_with_the_reason(store: Store) -> None:
    run = queued(store)
    jobs = FakeJobs(printed="")
    launcher = Launcher(store, jobs, most=1)
    launcher.tick()
    begin(store, run, lease_s=0)
    jobs.states.clear()  # the service was killed with its cluster; the next one's knows of no job
    launcher.tick()
    row = row_of(store, run)
    assert row.status == "paused" and "the Ray cluster that played the run is gone" in (row.error or "")
    assert kinds(store, run)[-1] == "paused"
    assert queue_again(store, row).status == "queued" and launcher.tick()


def test_a_replacement_waits_longer_each_time(store: Store) -> None:
    run = queued(store, RestartPolicy(times=3, backoff_s=100))
    jobs = FakeJobs()
    launcher = Launcher(store, jobs, most=1)
    for expected in (100, 200):
        assert launcher.tick()
        jobs.states = dict.fromkeys(jobs.states, "ended")
        assert not launcher.tick(), "not before its time"
        with store.transaction() as conn:
            died = [event for event in events.events_after(conn, run.id) if event.kind == "driver_died"]
            assert died[-1].data["restart_in_s"] == expected
            conn.execute(update(launch_table).values(not_before=launch_table.c.queued_at))


def test_what_ray_says_counts_less_than_the_lease(store: Store) -> None:
    run = queued(store, RestartPolicy(times=1, backoff_s=0))
    jobs = FakeJobs()
    launcher = Launcher(store, jobs, most=1, silent_s=0)
    launcher.tick()
    begin(store, run, lease_s=60)
    jobs.states.clear()  # its head was replaced and knows of no job, but the driver lives
    launcher.tick()
    assert (row_of(store, run).status, len(jobs.jobs)) == ("running", 1)
    with store.transaction() as conn:
        conn.execute(update(lease_table).values(expires_at=func.clock_timestamp()))
    jobs.states = dict.fromkeys(jobs.jobs, "running")  # and here Ray believes in a driver that is gone
    launcher.tick()
    assert jobs.stopped == [*jobs.jobs][:1]
    assert len(jobs.jobs) == 2


def test_the_job_of_a_driver_that_outlives_its_cancelled_run_is_stopped(store: Store) -> None:
    run, jobs = queued(store), FakeJobs()
    launcher = Launcher(store, jobs, most=1, silent_s=0)
    launcher.tick()
    with store.transaction() as conn:
        runs.set_status(conn, run.id, "cancelled")
    patient = Launcher(store, jobs, most=1)
    patient.tick()
    assert jobs.stopped == [], "it has time to end by itself"
    launcher.tick()
    assert jobs.stopped == [*jobs.jobs]


def test_a_queued_run_that_is_paused_or_cancelled_starts_no_driver(store: Store) -> None:
    paused, cancelled, going = queued(store), queued(store), queued(store)
    assert request_stop(store, row_of(store, paused), "pause").status == "paused"
    assert request_stop(store, row_of(store, cancelled), "cancel").status == "cancelled"
    jobs = FakeJobs()
    Launcher(store, jobs, most=1).tick()
    assert [arguments[1] for arguments in jobs.jobs.values()] == [going.name]
    assert queue_again(store, row_of(store, paused)).status == "queued"
    with pytest.raises(ConflictError, match="is cancelled"):
        queue_again(store, row_of(store, cancelled))


def test_a_driver_leaves_when_its_attempt_is_no_longer_wanted(store: Store) -> None:
    run = queued(store)
    Launcher(store, FakeJobs(), most=1).tick()
    require_queued(store, row_of(store, run), 1)
    with pytest.raises(ConflictError, match="does not wait for attempt 2"):
        require_queued(store, row_of(store, run), 2)
    request_stop(store, row_of(store, run), "pause")
    with pytest.raises(ConflictError, match="is paused"):
        require_queued(store, row_of(store, run), 1)


def test_a_driver_that_dies_on_its_way_to_a_pause_has_paused(store: Store) -> None:
    run = queued(store, RestartPolicy(times=5, backoff_s=0))
    jobs = FakeJobs()
    Launcher(store, jobs, most=1).tick()
    begin(store, run, lease_s=60)
    assert request_stop(store, row_of(store, run), "pause").status == "running", "its driver is asked"
    with store.transaction() as conn:
        conn.execute(update(lease_table).values(expires_at=func.clock_timestamp()))
    jobs.states = dict.fromkeys(jobs.jobs, "ended")
    Launcher(store, jobs, most=1).tick()
    assert row_of(store, run).status == "paused" and len(jobs.jobs) == 1


def test_while_ray_does_not_respond_runs_wait_and_say_why(store: Store) -> None:
    run = queued(store)
    jobs = FakeJobs(away=True)
    for _ in range(2):
        with pytest.raises(InfrastructureError):
            Launcher(store, jobs, most=1).tick()
    assert "no Ray cluster answers" in (launch_of(store, run).message or "")
    jobs.away = False
    Launcher(store, jobs, most=1).tick()
    launch = launch_of(store, run)
    assert (launch.state, launch.attempt, launch.message) == ("submitted", 1, None)


def test_runs_that_had_not_started_stay_queued_when_everything_is_stopped(store: Store) -> None:
    begun, starting = queued(store), queued(store)
    jobs = FakeJobs()
    launcher = Launcher(store, jobs, most=2)
    launcher.tick()
    begin(store, begun, lease_s=60)
    assert [*launcher.stop_all()] == [begun.name, starting.name]
    with store.transaction() as conn:  # what the driver does on its way out
        runs.set_status(conn, begun.id, "paused")
        conn.execute(update(lease_table).values(owner=null(), expires_at=None))
    launcher.keep_queued()
    assert (row_of(store, begun).status, launch_of(store, begun).state) == ("paused", "ended")
    assert (row_of(store, starting).status, launch_of(store, starting).state) == ("queued", "queued")
