"""Which process is meant: a name for this one by which others of the machine can tell whether it still lives."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SESSION_MARK = "eva-driver.json"
"""Where the folder of a Ray session says which process started it."""


def this_process() -> dict[str, Any]:
    """Names this process so that another on the same machine can tell whether it still lives."""
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid(), "started": start_time(os.getpid())}


def is_here(process: Mapping[str, Any]) -> bool:
    """Whether it was started on this machine, since that booted."""
    return process.get("host") == socket.gethostname() and process.get("boot") == boot_id() != ""


def is_dead(process: Mapping[str, Any]) -> bool:
    """True only if it was a process of this machine, since that booted, and is gone for certain."""
    return is_here(process) and start_time(int(process["pid"])) != process.get("started")


def is_alive(process: Mapping[str, Any]) -> bool:
    """True only if it is a process of this machine, for certain."""
    return is_here(process) and start_time(int(process["pid"])) == process.get("started") is not None


def end_process(process: Mapping[str, Any]) -> None:
    """Kill a process of this machine: by a handle, so that no other that got its number is meant."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(int(process["pid"]))
        try:
            if is_alive(process):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def boot_id() -> str:
    """Changes with every start of the machine; empty where the system does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
