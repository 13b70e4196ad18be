"""Reads the logs of a run: only files of one folder, one bounded page at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from eva.errors import NotFoundError

MOST_BYTES = 2**18
"""Size limit of one page, in bytes."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log file of a run, with its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Complete lines of a log: the bytes from `start` to `end` of `size`."""

    lines: tuple[str, ...]
    start: int
    end: int
    size: int


def list_logs(folder: Path) -> list[LogFile]:
    """Lists the logs in a folder, by name; empty if there is no such folder, as after a run on another machine."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        (LogFile(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries), key=lambda log: log.name
    )


def read_log(folder: Path, name: str, *, lines: int, after: int | None = None) -> LogPage:
    """Returns at most `lines` lines of a log: the last ones, or the first ones from byte `after` on.

    Raises NotFoundError for any name that is not a log of this folder, whatever it points at.
    """
    logs = list_logs(folder)
    if name not in [log.name for log in logs]:
        raise NotFoundError(
            f"there is no log {name[:100]!r}",
            expected=f"one of {', '.join(log.name for log in logs)}"
            if logs
            else "a log, but none lies on this machine",
            next_move="List the logs without naming one",
        )
    with (folder / name).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = max(0, size - MOST_BYTES) if after is None else min(after, size)
        file.seek(start)
        block = file.read(MOST_BYTES)
    whole = block[: block.rfind(b"\n") + 1] or block
    if after is not None:
        kept = b"".join(whole.splitlines(keepends=True)[:lines])
        return LogPage(_texts(kept), start, start + len(kept), size)
    pieces = whole.splitlines(keepends=True)
    # the first piece may begin in the middle of a line
    last = pieces[1 if start and len(pieces) > 1 else 0 :][-lines:]
    return LogPage(_texts(b"".join(last)), start + len(whole) - sum(map(len, last)), start + len(whole), size)


def _texts(block: bytes) -> tuple[str, ...]:
    return tuple(line.decode("utf-8", "replace") for line in block.split(b"\n")[:-1] or ([block] if block else []))
