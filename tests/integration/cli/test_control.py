"""Pause, resume and cancel as a user types them, with the driver in another process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import prepare
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from tests.integration.cli.test_playing import SMALL, stopping_at
from tests.integration.orchestrator.test_killed_driver import responses_of, start
from tests.support.cli_fixtures import Command
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Recorder, always, fake_config, fake_roles
from tests.support.played_run import lazily


@pytest.fixture
def fake_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(1, "pair", KeyboardInterrupt()))


def row_of(store: Store, name: str = "last") -> RunRow:
    with store.transaction() as conn:
        return runs.find_run(conn, name)


def test_a_driver_in_another_process_pauses_and_the_resumed_run_ends_as_if_nothing_had_happened(
    store: Store, tmp_path: Path, database_url: str, eva: Command
) -> None:
    undisturbed, paused = register_run(store, fake_config()), register_run(store, fake_config())
    drive(store, Settings(tmp_path, None, None), undisturbed, Recorder(), build=always(fake_roles()))
    driver = start(paused, tmp_path, database_url)
    while responses_of(store, paused) < 100 and driver.poll() is None:
        time.sleep(0.01)
    shown = eva("pause", paused.name, "--wait", "--timeout", "120")
    assert shown.exit_code == 0 and f"{paused.name} is paused in iteration" in shown.stdout, shown.output
    assert driver.wait(timeout=60) != 0
    drive(
        store,
        Settings(tmp_path, None, None),
        prepare(store, row_of(store, paused.name)),
        Recorder(),
        build=always(fake_roles()),
    )
    assert fingerprint_of(store, paused) == fingerprint_of(store, undisturbed)


def test_a_driver_in_another_process_is_cancelled(
    store: Store, tmp_path: Path, database_url: str, eva: Command
) -> None:
    run = register_run(store, fake_config())
    driver = start(run, tmp_path, database_url)
    while responses_of(store, run) < 50 and driver.poll() is None:
        time.sleep(0.01)
    assert "is cancelled" in eva("cancel", run.name, "--wait", "--timeout", "120").stdout
    assert driver.wait(timeout=60) != 0
    assert eva("resume", run.name).exit_code == 3


def test_a_driver_that_does_not_obey_loses_its_run_and_is_ended_and_nobody_else(
    store: Store, tmp_path: Path, database_url: str, eva: Command
) -> None:
    stuck, other = register_run(store, fake_config()), register_run(store, fake_config())
    driver, beside = (start(run, tmp_path, database_url) for run in (stuck, other))
    while min(responses_of(store, stuck), responses_of(store, other)) < 20:
        assert driver.poll() is None and beside.poll() is None
        time.sleep(0.01)
    driver.send_signal(signal.SIGSTOP)
    shown = eva("cancel", stuck.name, "--force", "--timeout", "0.3")
    assert f"{stuck.name} is cancelled" in shown.stdout, shown.output
    assert f"process {driver.pid}" in shown.stdout and "did not obey" in shown.stdout
    assert driver.wait(timeout=30) == -signal.SIGKILL
    with store.transaction() as conn:
        last = events.events_after(conn, stuck.id)[-1]
    assert (last.kind, last.data["forced"], last.data["pid"]) == ("cancelled", True, driver.pid)
    assert beside.poll() is None, "the driver of another run goes on"
    assert "is cancelled" in eva("cancel", other.name, "--force", "--timeout", "60").stdout
    assert beside.wait(timeout=60) not in (0, -signal.SIGKILL), "one that obeys ends by itself"


def test_a_driver_that_is_frozen_in_the_middle_of_a_write_is_cancelled_too(
    store: Store, tmp_path: Path, database_url: str, eva: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction holds the locks of the run and of its lease, on the server."""
    run = register_run(store, fake_config())
    monkeypatch.setenv("EVA_FAILPOINTS", "stage.close.before_commit=stop")
    driver = start(run, tmp_path, database_url)
    monkeypatch.delenv("EVA_FAILPOINTS")
    while driver.poll() is None and psutil.Process(driver.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)
    monkeypatch.setattr("orchestrator.hold.control._WRITE_S", 0.3)
    refused = eva("pause", run.name)
    assert refused.exit_code == 3 and "in the middle of a write" in refused.stderr and "--force" in refused.stderr
    shown = eva("cancel", run.name, "--force", "--timeout", "0.3")
    assert f"{run.name} is cancelled" in shown.stdout, shown.output
    assert driver.wait(timeout=30) == -signal.SIGKILL
    assert (row_of(store, run.name).status, row_of(store, run.name).desired) == ("cancelled", "cancel")


def test_a_write_that_a_lock_of_somebody_else_holds_up_does_not_hold_up_a_forced_cancel(
    store: Store, tmp_path: Path, database_url: str, eva: Command
) -> None:
    """The driver lives and renews nothing: its write waits for a table, and it tries again when its connection ends."""
    run = register_run(store, fake_config())
    driver = start(run, tmp_path, database_url)
    while responses_of(store, run) < 20 and driver.poll() is None:
        time.sleep(0.01)
    with store.transaction() as conn:
        conn.execute(text("LOCK TABLE responses IN ACCESS EXCLUSIVE MODE"))
        time.sleep(1)
        assert driver.poll() is None
        shown = eva("cancel", run.name, "--force", "--timeout", "0.3")
    assert f"{run.name} is cancelled" in shown.stdout, shown.output
    assert driver.wait(timeout=30) == -signal.SIGKILL


@pytest.mark.usefixtures("fake_solver")
def test_a_resume_with_other_settings_is_refused_or_accepted_and_shown(
    store: Store, eva: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert eva("run", "playground", *SMALL).exit_code == 130
    refused = eva("resume", "last", "--set", "training.beta=0.3")
    assert refused.exit_code == 3 and "training.beta: the run has 0.1, the config has 0.3" in refused.stderr
    assert row_of(store).config["training"]["beta"] == 0.1
    forbidden = eva("run", "playground", *SMALL, "--set", "seed=3", "--resume", "last", "--accept-changes")
    assert forbidden.exit_code == 3 and "other values of seed" in forbidden.stderr
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)
    shown = eva("resume", "last", "--set", "training.beta=0.3", "--accept-changes")
    assert shown.exit_code == 0, shown.output
    assert "is resumed with changes:\n  training.beta: the run has 0.1, the config has 0.3" in shown.stdout
    assert row_of(store).status == "finished" and row_of(store).config["training"]["beta"] == 0.3


@pytest.mark.usefixtures("fake_solver")
def test_other_code_is_refused_by_resume_and_makes_the_demo_start_a_new_run(
    store: Store, eva: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert eva("demo", *SMALL).exit_code == 130
    first = row_of(store)
    with store.transaction() as conn:
        conn.execute(text("""UPDATE runs SET code = jsonb_set(code, '{files,eva/types.py}', '"other"')"""))
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)
    refused = eva("run", "--resume", "last")
    assert refused.exit_code == 3 and "eva/types.py: changed" in refused.stderr
    shown = eva("demo", *SMALL)
    assert f"{first.name} was interrupted, but eva's code has changed since then: starting a new run." in shown.stdout
    assert row_of(store).id != first.id
    accepted = eva("resume", first.name, "--accept-changes")
    assert accepted.exit_code == 0 and "eva/types.py: changed" in accepted.stdout
    assert row_of(store, first.name).status == "finished"


def test_options_that_contradict_each_other_are_usage_errors(eva: Command) -> None:
    assert eva("run", "playground", "--accept-changes").exit_code == 2
    assert eva("fork", "last").exit_code == 2
    assert eva("fork", "last", "--at", "-1").exit_code == 2
