"""`eva drive --key`: a job that its scheduler starts again resumes the run that its first attempt started."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from eva.errors import TrainingFailedError
from eva.settings import Settings
from store.rows import RunRow
from store.runs import launches, leases, runs
from store.session import Store
from tests.integration.cli.test_playing import SMALL, stopping_at
from tests.support.cli_fixtures import Command
from tests.support.played_run import lazily

KEYED = ("drive", "--config", "playground", *SMALL, "--key", "job-1")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray, no vLLM, no training; everything else is real."""
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)


def only(store: Store) -> RunRow:
    with store.transaction() as conn:
        (run,) = runs.list_runs(conn)
    return run


@pytest.fixture
def failed(eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch) -> RunRow:
    """A run whose first job failed in iteration 1."""
    gone = stopping_at(1, "pair", TrainingFailedError("the machine is gone"))
    monkeypatch.setattr("orchestrator.driver.build_roles", gone)
    assert eva(*KEYED).exit_code == 4
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)
    return only(store)


def test_a_second_attempt_resumes_the_run_and_a_third_has_nothing_to_do(
    eva: Command, store: Store, failed: RunRow
) -> None:
    again = eva(*KEYED)
    assert again.exit_code == 0, again.output
    assert f"{failed.name}: resumed in" in again.stdout
    assert (only(store).name, only(store).status) == (failed.name, "finished")
    third = eva(*KEYED)
    assert third.exit_code == 0 and f"{failed.name} is finished" in third.stdout
    assert eva(*KEYED[:-1], "job-2").exit_code == 0, "another key, another run"
    with store.transaction() as conn:
        assert len(runs.list_runs(conn)) == 2
        launch = launches.read_launch(conn, failed.id)
    assert launch is not None and launch.state == "ended", "no launcher of the same database plays it, too"


def test_the_key_may_come_from_the_environment(eva: Command, store: Store, failed: RunRow) -> None:
    assert eva(*KEYED[:-2], env={"EVA_RUN_KEY": "job-1"}).exit_code == 0
    assert only(store).name == failed.name


def test_another_config_with_the_same_key_is_refused(eva: Command, store: Store, failed: RunRow) -> None:
    refused = eva(*KEYED, "--set", "training.beta=0.3")
    assert refused.exit_code == 3 and "training.beta" in refused.stderr
    assert only(store).status == "failed"


@pytest.mark.parametrize("wish", ["pause", "cancel"])
def test_a_pause_or_cancel_of_the_user_holds(eva: Command, store: Store, failed: RunRow, wish: str) -> None:
    with store.transaction() as conn:
        runs.set_desired(conn, failed.id, wish)
        runs.set_status(conn, failed.id, {"pause": "paused", "cancel": "cancelled"}[wish])
    refused = eva(*KEYED)
    assert refused.exit_code == 3 and f"was asked to {wish}" in refused.stderr


def test_it_waits_for_the_lease_of_a_driver_that_died(
    eva: Command, store: Store, store_settings: Settings, failed: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction() as conn:
        fence = leases.claim(conn, failed.id, {"host": "elsewhere", "pid": 1}, 600)
    assert fence is not None
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        with store.transaction() as conn:
            leases.release(conn, fence)

    # this module's clock alone: other threads of the process sleep, too
    monkeypatch.setattr("cli.commands.drive.time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    again = eva(*KEYED)
    assert again.exit_code == 0, again.output
    assert slept and f"{failed.name} is still held" in again.stdout


def test_a_driver_that_lives_is_left_alone(
    eva: Command, store: Store, failed: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.commands.drive.LONGEST_HELD_S", -1.0)
    with store.transaction() as conn:
        leases.claim(conn, failed.id, {"host": "elsewhere", "pid": 1}, 600)
    refused = eva(*KEYED)
    assert refused.exit_code == 3 and "elsewhere" in refused.stderr
