"""One training job at a time in a run's folder: the newest driver's."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eva.errors import DiskFullError, TrainingFailedError
from eva.runtime.processes import this_process
from eva.types import Checkpoint, TrainingJob
from tests.support.fakes import fake_config
from workers.training.job import run_job
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


def test_a_full_disk_does_not_lose_the_number_of_the_newest_driver(tmp_path: Path) -> None:
    (tmp_path / FENCE).write_text("5")  # as an earlier eva wrote it
    with training_lock(tmp_path, 12):
        pass
    with (tmp_path / FENCE).open("a") as cut_short:
        cut_short.write("\n1")
    with pytest.raises(TrainingFailedError, match="fence 12, this job's is 7"), training_lock(tmp_path, 7):
        pytest.fail("an older driver trains")


def test_a_disk_that_is_full_when_a_job_takes_its_lock_is_reported_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> dict[str, object]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("workers.training.job_lock.this_process", full)
    policy = Checkpoint(0, 0, str(tmp_path), "")
    job = TrainingJob(1, 0, policy, policy, str(tmp_path / "pairs"), str(tmp_path), 0, 1)
    config = fake_config()
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        run_job(job, config.training, config.model)
