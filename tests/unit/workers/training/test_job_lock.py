"""One training job at a time in a run's folder: the newest driver's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eva.errors import TrainingFailedError
from eva.runtime.processes import this_process
from workers.training.job_lock import FENCE, LOCK, training_lock

HOLD = """
import sys, time
from pathlib import Path
from workers.training.job_lock import training_lock
with training_lock(Path(sys.argv[1]), int(sys.argv[2])) as check:
    print("held", flush=True)
    for _ in range(3000):
        time.sleep(0.02)
        check()
"""


@contextmanager
def holding(folder: Path, fence: int) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder's training and looks between steps whether it is still its."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(fence)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_an_older_job_stops_at_its_next_step_and_the_newer_one_begins(tmp_path: Path) -> None:
    with holding(tmp_path, 4) as old:
        with training_lock(tmp_path, 5) as check:
            check()
            assert old.wait(timeout=30) == 1, "it left before the newer one began"
        assert old.stderr is not None and "a newer driver trains" in old.stderr.read()


def test_a_frozen_older_job_is_ended(tmp_path: Path) -> None:
    with holding(tmp_path, 4) as old:
        old.send_signal(signal.SIGSTOP)
        with training_lock(tmp_path, 5, leave_s=0.2):
            assert old.wait(timeout=30) == -signal.SIGKILL


def test_a_killed_job_does_not_block_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".training-x").mkdir()
    with holding(tmp_path, 4) as old:
        old.kill()
        with training_lock(tmp_path, 4):
            assert not (tmp_path / ".training-x").exists(), "a dead job's scratch is removed"


def test_a_superseded_driver_can_neither_start_nor_continue(tmp_path: Path) -> None:
    with training_lock(tmp_path, 4) as check:
        check()
        (tmp_path / FENCE).write_text("5")
        with pytest.raises(TrainingFailedError, match=r"fence 5, this job's is 4.*Nothing to do"):
            check()
    with pytest.raises(TrainingFailedError, match="a newer driver"), training_lock(tmp_path, 4):
        raise AssertionError("not reached")


def test_a_job_of_another_machine_is_waited_for_and_never_ended(tmp_path: Path) -> None:
    with holding(tmp_path, 4) as old:
        old.send_signal(signal.SIGSTOP)
        (tmp_path / LOCK).write_text(json.dumps(this_process() | {"host": "elsewhere", "pid": old.pid}))
        with (
            pytest.raises(TrainingFailedError, match=r"holds.*elsewhere.*End that process"),
            training_lock(tmp_path, 5, leave_s=0.1, give_up_s=0.3),
        ):
            raise AssertionError("not reached")
        os.kill(old.pid, 0)


def test_the_holders_name_is_removed_when_it_leaves(tmp_path: Path) -> None:
    with training_lock(tmp_path, 1):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK).read_text() == ""
