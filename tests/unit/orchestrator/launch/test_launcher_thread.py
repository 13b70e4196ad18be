"""Of several services on one database, one launches; when it ends, another one takes over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from orchestrator.launch.launcher import RestartPolicy, queue_new
from orchestrator.launch.launcher_thread import LaunchLoop
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.session import Store
from tests.support.fake_jobs import FakeJobs
from tests.support.fakes import fake_config


def queued(store: Store) -> RunRow:
    return register_run(store, fake_config(iterations=1), then=lambda conn, run: queue_new(conn, run, RestartPolicy()))


def wait(for_what: Callable[[], bool]) -> None:
    while not for_what():
        time.sleep(0.01)


def test_one_service_launches_and_the_next_takes_over_when_it_ends(store: Store) -> None:
    first, second = FakeJobs(), FakeJobs()
    loops = [LaunchLoop(store, jobs, most=9, tick_s=0.01) for jobs in (first, second)]
    loops[0].start()
    run = queued(store)
    wait(lambda: bool(first.jobs))
    loops[1].start()
    queued(store)
    wait(lambda: len(first.jobs) == 2)
    assert second.jobs == {}
    loops[0].end(60)
    later = queued(store)
    wait(lambda: any(later.name in job for job in second.jobs))
    assert len(first.jobs) == 2 and any(run.name in job for job in first.jobs)
    loops[1].end(60)


class Surprising(FakeJobs):
    """A cluster whose first submission fails unexpectedly."""

    surprises = 1

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        if self.surprises:
            self.surprises -= 1
            raise ZeroDivisionError
        super().submit(job, arguments)


def test_the_launcher_survives_an_unexpected_error(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    jobs = Surprising()
    loop = LaunchLoop(store, jobs, most=1, tick_s=0.01, away_s=0.01)
    loop.start()
    run = queued(store)
    wait(lambda: len(jobs.jobs) == 1)
    loop.end(60)
    assert not jobs.surprises and any(run.name in job for job in jobs.jobs)
    assert "the launcher failed unexpectedly and will try again" in caplog.text
