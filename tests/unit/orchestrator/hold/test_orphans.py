"""Orphans: only what carries the mark of a dead driver of this machine is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.diagnosis import _orphans  # pyright: ignore[reportPrivateUsage] - one check of the doctor's alone
from eva.runtime.processes import start_time, this_process
from orchestrator.hold.orphans import (
    MARK,
    end_orphans,
    find_orphans,
    mark_ray_session,
    old_sessions,
    process_mark,
    remove_sessions,
)

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DRIVE = """
import subprocess, sys
from orchestrator.hold.orphans import process_mark
with process_mark():
    child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    print(child.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def driver() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that started another one as drivers do, and that one's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVE, *SLEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process, child
    process.kill()
    process.communicate(timeout=30)
    if start_time(child) is not None:
        os.kill(child, signal.SIGKILL)


def sleeper(mark: dict[str, object]) -> subprocess.Popen[str]:
    process = subprocess.Popen(SLEEP, env=os.environ | {MARK: json.dumps(mark)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def test_what_a_killed_driver_started_is_found_told_and_ended(driver: tuple[subprocess.Popen[str], int]) -> None:
    process, child = driver
    assert child not in [orphan.pid for orphan in find_orphans()], "its driver lives"
    process.kill()
    process.wait(timeout=30)
    (found,) = [orphan for orphan in find_orphans() if orphan.pid == child]
    assert found.driver == process.pid and "time.sleep(600)" in found.name
    (finding,) = _orphans()
    assert finding.verdict == "warn" and f"({child})" in finding.detail and "--reap" in finding.remedy
    assert found in end_orphans()
    while start_time(child) is not None:
        os.sched_yield()
    assert child not in [orphan.pid for orphan in end_orphans()]


@pytest.mark.parametrize("foreign", [{"host": "elsewhere"}, {"boot": "another"}, {}])
def test_nothing_is_ended_that_is_not_certainly_an_orphan(foreign: dict[str, object]) -> None:
    """A driver that lives, and drivers of other machines or of before the last boot, whatever numbers they had."""
    dead = {"pid": 2**22 - 1, "started": 1} if foreign else {}
    process = sleeper(this_process() | dead | foreign)
    try:
        assert process.pid not in [orphan.pid for orphan in end_orphans()]
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_a_mark_that_says_nothing_names_no_orphan() -> None:
    process = sleeper({"who": "nobody"})
    try:
        assert process.pid not in [orphan.pid for orphan in find_orphans()]
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_the_mark_is_worn_only_while_driving() -> None:
    assert MARK not in os.environ
    with process_mark():
        assert json.loads(os.environ[MARK]) == this_process()
    assert MARK not in os.environ


def test_the_session_folders_of_dead_drivers_are_removed_when_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    mine, foreign, dead = (tmp_path / "ray" / f"session_{name}" for name in (f"2026_{os.getpid()}", "2026_1", "2026_2"))
    for folder in (mine, foreign, dead):
        folder.mkdir(parents=True)
    mark_ray_session()
    (dead / "eva-driver.json").write_text(json.dumps(this_process() | {"pid": 2**22 - 1}))
    assert old_sessions() == [], "a day has not passed"
    assert remove_sessions(0) == [dead]
    assert mine.is_dir() and foreign.is_dir() and not dead.exists()
