"""Finds and ends orphans: processes that a killed driver left behind on this machine.

Every process that a driver starts inherits a mark in its environment, which identifies the driver's process by number,
start time and boot. A marked process whose driver is certainly dead is an orphan; nothing else is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eva.runtime.private_files import ray_sessions_folder
from eva.runtime.processes import SESSION_MARK, is_dead, start_time, this_process

MARK = "EVA_DRIVER"
SESSION_AGE_S = 86400.0
"""Ray's logs of a dead driver are kept for a day, since they may say why it died."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process whose driver is dead. `began` is its start time in clock ticks since boot."""

    pid: int
    began: int
    name: str
    driver: int


@contextmanager
def process_mark() -> Generator[None]:
    """Marks every process that this process starts within the context."""
    before = os.environ.get(MARK)
    os.environ[MARK] = json.dumps(this_process())
    try:
        yield
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before


def mark_ray_session() -> None:
    """Marks the folder of the Ray session that this process has just started, if there is one."""
    sessions = sorted((ray_sessions_folder() / "ray").glob(f"session_*_{os.getpid()}"))
    if sessions:
        (sessions[-1] / SESSION_MARK).write_text(json.dumps(this_process()), encoding="utf-8")


def find_orphans() -> list[Orphan]:
    """Returns the processes that dead drivers left on this machine, by number; none if the system has no /proc."""
    candidates = (_orphan(int(entry.name)) for entry in Path("/proc").glob("[0-9]*"))
    return sorted((orphan for orphan in candidates if orphan is not None), key=lambda orphan: orphan.pid)


def end_orphans() -> list[Orphan]:
    """Kills all orphans, and returns them."""
    orphans = find_orphans()
    for orphan in orphans:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(orphan.pid)
            try:
                # check again through the handle: another process may have got the number in the meantime
                if _orphan(orphan.pid) == orphan:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
    return orphans


def old_sessions(age_s: float = SESSION_AGE_S) -> list[Path]:
    """Returns the folders of dead drivers' Ray sessions in which nothing has changed for `age_s` seconds."""
    return [
        mark.parent
        for mark in sorted((ray_sessions_folder() / "ray").glob(f"session_*/{SESSION_MARK}"))
        if (owner := _read(mark.read_text(encoding="utf-8"))) is not None
        and is_dead(owner)
        and time.time() - mark.parent.stat().st_mtime >= age_s
    ]


def remove_sessions(age_s: float = SESSION_AGE_S) -> list[Path]:
    """Removes the old sessions, and returns their folders."""
    folders = old_sessions(age_s)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return folders


def _orphan(pid: int) -> Orphan | None:
    owner = next(_marks(pid), None)
    if owner is None or not is_dead(owner) or not _same_numbers(pid):
        return None
    began = start_time(pid)
    with suppress(OSError):
        name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return None if began is None else Orphan(pid, began, name[:100], int(owner["pid"]))
    return None


def _marks(pid: int) -> Iterator[dict[str, Any]]:
    """The driver in a process's mark. Processes of other users cannot be read, and are not ours."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == MARK.encode() and (owner := _read(value.decode(errors="replace"))) is not None:
                yield owner


def _read(text: str) -> dict[str, Any] | None:
    with suppress(ValueError):
        owner: object = json.loads(text)
        if isinstance(owner, dict) and "pid" in owner:
            return cast("dict[str, Any]", owner)
    return None


def _same_numbers(pid: int) -> bool:
    """Is the process in our process namespace? In a container, the same number means another process."""
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
    except OSError:
        return False
