"""Two to eight driver processes want the same run at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.session import Store
from tests.support.faults.undisturbed import Disturbed, require_undisturbed

ROUNDS = 12

Start = Callable[[str, str, int], "list[subprocess.Popen[str]]"]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts so many processes of a module that play or claim this run."""
    started: list[subprocess.Popen[str]] = []

    def begin(module: str, run: str, count: int) -> list[subprocess.Popen[str]]:
        arguments = [run, str(tmp_path)] if module.endswith("fakes") else [run]
        started.extend(
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "EVA_DATABASE_URL": database_url},
            )
            for _ in range(count)
        )
        return started

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def answers(processes: list[subprocess.Popen[str]], step: str) -> list[str]:
    """What each says to a step that all are told at once."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{step}\n")
        process.stdin.flush()
    return [said(process) for process in processes]


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("count", [2, 8])
def test_of_the_processes_that_race_for_a_run_exactly_one_wins_each_time(
    store: Store, tmp_path: Path, start: Start, count: int
) -> None:
    game = Disturbed(store, tmp_path)
    racers = start("tests.support.faults.racing", game.run.name, count)
    assert [said(racer) for racer in racers] == ["ready"] * count
    fences: list[int] = []
    for _ in range(ROUNDS):
        found = answers(racers, "claim")
        assert sorted(found, key=len)[1:] == ["taken"] * (count - 1)
        fences += [int(answer) for answer in found if answer != "taken"]
        assert answers(racers, "release") == ["released"] * count
    assert fences == sorted(set(fences)), "each winner writes under a greater number"


def test_of_the_drivers_that_race_for_a_run_one_plays_it_and_the_others_leave(
    store: Store, tmp_path: Path, start: Start
) -> None:
    game = Disturbed(store, tmp_path)
    drivers = start("tests.support.drive_on_fakes", game.run.name, 3)
    errors = [driver.communicate(timeout=240)[1] for driver in drivers]
    assert sorted(driver.returncode for driver in drivers) == [0, 1, 1]
    left = [error for driver, error in zip(drivers, errors, strict=True) if driver.returncode]
    assert all("LeaseTakenError" in error or "ConflictError" in error for error in left)
    require_undisturbed(game, tmp_path)
