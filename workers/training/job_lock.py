"""The lock of a run's training: one job at a time trains in its folder, the job of the newest driver.

A driver that was presumed dead may have left a job that still trains. The next driver's job writes its fence number,
which makes the old job stop at its next step. Then it waits for the folder's lock, which the kernel frees when the
holder ends. A holder that does not stop because it is frozen is ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from eva.errors import TrainingFailedError
from eva.runtime.processes import end_process, is_alive, this_process

LOCK, FENCE, SCRATCH = ".training.lock", ".training.fence", ".training-"
LEAVE_S, GIVE_UP_S, _POLL_S = 30.0, 120.0, 0.1


@contextmanager
def training_lock(
    folder: Path,
    fence: int,
    *,
    leave_s: float = LEAVE_S,
    give_up_s: float = GIVE_UP_S,
) -> Generator[Callable[[], None]]:
    """Holds the training lock of a folder. Yields a check, to be called between steps.

    A holder on this machine that does not stop within `leave_s` is ended. Raises TrainingFailedError when a driver
    with a greater fence number has taken over (at once or in the check), and when a job on another machine still holds
    the lock after `give_up_s`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _announce(folder, fence)

    def check() -> None:
        newest = _announced(folder)
        if newest > fence:
            raise _superseded(folder, fence, newest)

    with file_lock(folder / LOCK, check, leave_s=leave_s, give_up_s=give_up_s):
        check()
        for leftover in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield check


@contextmanager
def file_lock(
    path: Path, check: Callable[[], None] = lambda: None, *, leave_s: float = LEAVE_S, give_up_s: float = GIVE_UP_S
) -> Generator[None]:
    """Holds a lock file that names its holder; the kernel frees it when the holder dies.

    A holder on this machine that does not release it within `leave_s` is ended. `check` is called while waiting.
    Raises TrainingFailedError when a process on another machine still holds it after `give_up_s`.
    """
    with path.open("a+", encoding="utf-8") as lock:
        _acquire(lock, check, leave_s, give_up_s)
        lock.truncate(0)
        lock.write(json.dumps(this_process()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def _announce(folder: Path, fence: int) -> None:
    with (folder / FENCE).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # bounded: held for one read and one write of a number
        newest = _announced(folder)
        if newest > fence:
            raise _superseded(folder, fence, newest)
        if newest < fence:
            # added, so that a full disk does not lose the number before it
            file.write(f"\n{fence}\n")
            file.flush()
            os.fsync(file.fileno())


def _announced(folder: Path) -> int:
    lines = (folder / FENCE).read_text(encoding="utf-8").split()
    return max((int(line) for line in lines if line.isdigit()), default=-1)


def _acquire(lock: TextIO, check: Callable[[], None], leave_s: float, give_up_s: float) -> None:
    waited = 0.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            check()
        else:
            return
        holder = _holder(lock)
        if waited > leave_s and holder is not None and is_alive(holder):
            end_process(holder)
        if waited > give_up_s:
            raise TrainingFailedError(
                f"another process holds {lock.name} after {waited:.0f} s: {holder or 'its name is unknown'}",
                expected="the job of an earlier driver to stop when a newer driver starts",
                next_move="End that process if it is no longer needed, then resume the run",
            )
        time.sleep(_POLL_S)
        waited += _POLL_S


def _holder(lock: TextIO) -> dict[str, Any] | None:
    lock.seek(0)
    try:
        return dict(json.loads(lock.read()))
    except ValueError:
        return None


def _superseded(folder: Path, fence: int, newest: int) -> TrainingFailedError:
    return TrainingFailedError(
        f"a newer driver trains in {folder} (fence {newest}, this job's is {fence})",
        expected="a job of the driver that holds the run's lease",
        next_move="Nothing to do: the newer driver's job gives the same weights",
    )
