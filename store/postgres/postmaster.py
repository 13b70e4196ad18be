"""The running server according to its pid file, and whether the file is still true."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
from psycopg import pq
from psycopg.conninfo import make_conninfo

_NO_PROCESS = 2**30
"""A number above the largest process id of any system."""


def pid_file(folder: Path) -> list[str] | None:
    """Returns the lines of the server's pid file, or None when there is none or it is empty."""
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    return lines or None


def is_server(pid: int, folder: Path) -> bool:
    """Whether this process is a PostgreSQL server in that folder: process ids are reused."""
    try:
        process = psutil.Process(pid)
        name, working_folder = process.name(), process.cwd()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    # a server's working directory is its data folder
    return name.startswith("postgres") and Path(working_folder) == folder


def accepts(socket_dir: str, user: str) -> bool:
    """Whether the server accepts connections. A server that was just killed may still exist for a moment."""
    conninfo = make_conninfo(host=socket_dir, port=5432, user=user, dbname="postgres")
    return pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK


def forget_process(folder: Path, lines: list[str]) -> None:
    """Removes the process id from a stale pid file, so that PostgreSQL mistakes no other process for a server.

    The file itself stays: PostgreSQL uses the memory segment that it names to find children that still write.
    """
    socket_dir = Path(lines[4]) if len(lines) > 4 else folder
    (socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    # overwrite in place: on a full disk, a file that is truncated first stays empty
    with (folder / "postmaster.pid").open("r+", encoding="utf-8") as file:
        file.write("\n".join([str(_NO_PROCESS), *lines[1:]]) + "\n")
        file.truncate()


def host() -> str:
    """Identifies this boot of this machine, and the container within it."""
    boot, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and processes.exists():
        return f"{boot.read_text(encoding='utf-8').strip()} {processes.readlink()}"
    return socket.gethostname()
