"""kill -9 of a real driver process, and another driver that takes the run over at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import runs
from store.schema.tables import responses
from store.session import Store
from tests.support.decisions import decisions, fingerprint_of
from tests.support.drive_on_fakes import SlowGenerator
from tests.support.fakes import FakeGenerator, Recorder, always, fake_config, fake_roles


def responses_of(store: Store, run: RunRow) -> int:
    with store.transaction() as conn:
        return conn.scalar(select(func.count()).where(responses.c.run_id == run.id)) or 0


def start(run: RunRow, folder: Path, database_url: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.drive_on_fakes", run.name, str(folder)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "EVA_DATABASE_URL": database_url},
    )


@pytest.mark.parametrize("stored", [1, 150, 260])
def test_a_driver_killed_at_any_time_is_replaced_at_once_and_nothing_is_different(
    store: Store, tmp_path: Path, database_url: str, stored: int
) -> None:
    undisturbed, killed = register_run(store, fake_config()), register_run(store, fake_config())
    settings = Settings(tmp_path, None, None)
    drive(store, settings, undisturbed, Recorder(), build=always(fake_roles()))
    driver = start(killed, tmp_path, database_url)
    while responses_of(store, killed) < stored and driver.poll() is None:
        time.sleep(0.01)
    assert driver.poll() is None, "the driver ended before it could be killed"
    driver.send_signal(signal.SIGKILL)
    driver.wait(timeout=30)
    before, generator = responses_of(store, killed), FakeGenerator()
    with store.transaction() as conn:
        row = runs.get_run(conn, killed.id)
    assert row.status == "running", "the dead driver could tell nobody"
    drive(store, settings, row, Recorder(), build=always(fake_roles(generator=generator)))
    assert fingerprint_of(store, killed) == fingerprint_of(store, undisturbed)
    texts = {prompt.text for prompt in decisions(store, killed)["prompts"]}
    generated = sum(asked for (_, text, _), asked in generator.asked.items() if text in texts) * 4
    assert generated == responses_of(store, killed) - before, "a finished response was generated twice"


def test_sigterm_pauses_a_driver_between_two_transactions(store: Store, tmp_path: Path, database_url: str) -> None:
    run = register_run(store, fake_config())
    driver = start(run, tmp_path, database_url)
    while responses_of(store, run) < 100 and driver.poll() is None:
        time.sleep(0.01)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) != 0
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
    assert row.status == "paused"
    drive(store, Settings(tmp_path, None, None), row, Recorder(), build=always(fake_roles(generator=SlowGenerator())))
