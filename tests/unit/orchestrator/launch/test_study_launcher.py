"""Studies are played as Ray jobs, one at a time, and can be continued."""

from __future__ import annotations

import pytest

from eva.errors import InfrastructureError
from orchestrator.launch.study_launcher import StudyLauncher
from store.runs import runs, studies
from store.runs.study_launches import StudyLaunch, enqueue_study, read_study_launch
from store.session import Store
from tests.support.fake_jobs import FakeJobs

CONFIG = {
    "base": "playground",
    "arms": {"regret": {}},
    "seeds": 1,
    "models": ["m"],
    "outcome": {"figure": "heldout.hard.sampled.accuracy"},
}


def _queued(store: Store, name: str) -> int:
    with store.transaction() as conn:
        study = studies.create_study(conn, name, {"name": name, **CONFIG}, name)
        enqueue_study(conn, study.id)
        return study.id


def _launch(store: Store, study: int) -> StudyLaunch:
    with store.transaction() as conn:
        launch = read_study_launch(conn, study)
    assert launch is not None
    return launch


def test_studies_are_played_one_after_another(store: Store) -> None:
    first, second = _queued(store, "first"), _queued(store, "second")
    jobs = FakeJobs()
    launcher = StudyLauncher(store, jobs)
    launcher.tick()
    launcher.tick()
    assert [*jobs.jobs.values()] == [["study", "drive", "first"]]
    assert (_launch(store, first).state, _launch(store, second).state) == ("submitted", "queued")

    with store.transaction() as conn:
        run = runs.create_run(conn, stem="r", config={}, config_hash="h", seed=0)
        studies.add_run(conn, first, seed=0, model="m", arm="regret", shared=False, run_id=run.id)
        runs.set_status(conn, run.id, "finished")
    jobs.states[_launch(store, first).job or ""] = "ended"
    launcher.tick()
    assert (_launch(store, first).state, _launch(store, first).message) == ("ended", None)
    assert _launch(store, second).state == "submitted"
    assert launcher.stop_all() == jobs.stopped == [_launch(store, second).job]


def test_a_driver_that_ends_early_says_why_and_its_study_is_continued_by_another_job(store: Store) -> None:
    study, jobs = _queued(store, "study"), FakeJobs()
    launcher = StudyLauncher(store, jobs)
    launcher.tick()
    with store.transaction() as conn:
        enqueue_study(conn, study)  # while it is played, asking again changes nothing
    jobs.states[_launch(store, study).job or ""] = "ended"
    launcher.tick()
    ended = _launch(store, study)
    assert ended.state == "ended" and "eva: it hurt" in (ended.message or "")

    with store.transaction() as conn:
        enqueue_study(conn, study)
    launcher.tick()
    again = _launch(store, study)
    assert (again.state, again.attempt, again.message) == ("submitted", 2, None) and again.job != ended.job


def test_a_launch_waits_for_ray_and_submits_one_job(store: Store) -> None:
    study, jobs = _queued(store, "study"), FakeJobs(away=True)
    launcher = StudyLauncher(store, jobs)
    with pytest.raises(InfrastructureError, match="no Ray cluster"):
        launcher.tick()
    assert (_launch(store, study).state, _launch(store, study).message) == ("taken", "no Ray cluster answers.")
    jobs.away = False
    launcher.tick()
    launcher.tick()
    assert _launch(store, study).state == "submitted" and len(jobs.jobs) == 1
