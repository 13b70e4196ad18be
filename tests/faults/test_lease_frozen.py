"""A driver that is frozen (SIGSTOP), relieved, and woken: it writes nothing and leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.session import Store
from tests.support.faults.undisturbed import Disturbed, require_undisturbed

BETWEEN, WITHIN = "judge.response_received=stop@60", "stage.close.before_commit=stop@3"
"""Frozen between two writes, and in the middle of one, whose transaction stays open."""

Freeze = Callable[[Disturbed, str, str], "subprocess.Popen[str]"]


@pytest.fixture
def freeze(database_url: str, tmp_path: Path) -> Iterator[Freeze]:
    """Starts a driver, and returns it when it has frozen itself."""
    started: list[subprocess.Popen[str]] = []

    def start(game: Disturbed, failpoint: str, belief: str) -> subprocess.Popen[str]:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faults.frozen", game.run.name, str(tmp_path / "frozen"), belief],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "EVA_DATABASE_URL": database_url, "EVA_FAILPOINTS": failpoint},
        )
        started.append(driver)
        while (state := Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
            assert state != "Z", "the driver ended before it froze"
            time.sleep(0.05)
        return driver

    yield start
    for driver in started:
        driver.kill()
        driver.communicate()


def wake(driver: subprocess.Popen[str]) -> str:
    """What it says until it leaves."""
    driver.send_signal(signal.SIGCONT)
    return driver.communicate(timeout=120)[0]


@pytest.mark.parametrize(
    ("failpoint", "belief"), [(BETWEEN, "real"), (WITHIN, "real"), (BETWEEN, "deaf"), (WITHIN, "deaf")]
)
def test_a_frozen_driver_that_wakes_after_it_was_relieved_writes_nothing_and_leaves(
    store: Store, tmp_path: Path, freeze: Freeze, failpoint: str, belief: str
) -> None:
    game = Disturbed(store, tmp_path)
    driver = freeze(game, failpoint, belief)
    assert game.row().status == "running"
    game.take_over()
    require_undisturbed(game, tmp_path)
    before = game.rows()
    said = wake(driver)
    assert game.rows() == before
    assert said.startswith("LeaseLostError: ") and "another driver" in said and driver.returncode == 0


def test_without_the_check_in_every_write_the_same_driver_destroys_what_the_other_wrote(
    store: Store, tmp_path: Path, freeze: Freeze
) -> None:
    game = Disturbed(store, tmp_path)
    driver = freeze(game, BETWEEN, "unfenced")
    game.take_over()
    before = game.rows()
    wake(driver)
    assert game.rows() != before, "the test above proves nothing"
