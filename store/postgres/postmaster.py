"""The running server as its pid file shows it, and whether that is to be believed."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
from psycopg import pq
from psycopg.conninfo import make_conninfo

_NO_PROCESS = 2**30
"""Above every system's largest process id."""


def pid_file(folder: Path) -> list[str] | None:
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    return lines or None


def is_server(pid: int, folder: Path) -> bool:
    """Whether this process is a PostgreSQL of that folder; process ids come round again."""
    try:
        process = psutil.Process(pid)
        name, place = process.name(), process.cwd()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    # a server works in its folder
    return name.startswith("postgres") and Path(place) == folder


def accepts(socket_dir: str, user: str) -> bool:
    """Whether the server answers; one that was killed may still be there for a moment."""
    asked = make_conninfo(host=socket_dir, port=5432, user=user, dbname="postgres")
    return pq.PGconn.ping(asked.encode()) == pq.Ping.OK


def forget_process(folder: Path, lines: list[str]) -> None:
    """Name no process in a stale pid file, lest PostgreSQL takes a stranger or zombie for a server.

    The file itself stays: by the memory segment it names, PostgreSQL knows children that still write.
    """
    socket_dir = Path(lines[4]) if len(lines) > 4 else folder
    (socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    # written over what is there: on a full disk, a file that is emptied first stays empty
    with (folder / "postmaster.pid").open("r+", encoding="utf-8") as file:
        file.write("\n".join([str(_NO_PROCESS), *lines[1:]]) + "\n")
        file.truncate()


def host() -> str:
    """This boot of this machine, and the container within it."""
    boot, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and processes.exists():
        return f"{boot.read_text(encoding='utf-8').strip()} {processes.readlink()}"
    return socket.gethostname()
