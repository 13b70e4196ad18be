"""Identifies processes, so that others on the same machine can tell whether one is still alive."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SESSION_MARK = "eva-driver.json"
"""File in the folder of a Ray session that says which process started it."""


def this_process() -> dict[str, Any]:
    """Returns the identity of this process: host, boot, namespace of process ids, process id, start time."""
    return {
        "host": socket.gethostname(),
        "boot": boot_id(),
        "namespace": pid_namespace(),
        "pid": os.getpid(),
        "started": start_time(os.getpid()),
    }


def is_here(process: Mapping[str, Any]) -> bool:
    """Returns whether the process was started on this machine since its last boot, and where its id means the same.

    Containers may share host name and boot, but the process id of one means nothing in another.
    """
    return (
        process.get("host") == socket.gethostname()
        and process.get("boot") == boot_id() != ""
        and process.get("namespace") == pid_namespace() != ""
    )


def is_dead(process: Mapping[str, Any]) -> bool:
    """Returns True only if the process was started here (see `is_here`) and is certainly gone."""
    return is_here(process) and start_time(int(process["pid"])) != process.get("started")


def is_alive(process: Mapping[str, Any]) -> bool:
    """Returns True only if the process certainly runs on this machine."""
    return is_here(process) and start_time(int(process["pid"])) == process.get("started") is not None


def end_process(process: Mapping[str, Any]) -> None:
    """Kills a process of this machine, by a handle: a new process with the same id is never hit."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(int(process["pid"]))
        try:
            if is_alive(process):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def start_time(pid: int) -> int | None:
    """Returns the start time of a process in clock ticks since boot, or None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def pid_namespace() -> str:
    """Returns an id of the namespace in which this process has its number; empty if the system has none."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def boot_id() -> str:
    """Returns an id that changes with every boot of the machine; empty if the system has none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
