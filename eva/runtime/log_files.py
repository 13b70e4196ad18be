"""Reads the logs of a run: only files of one folder, one bounded page at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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

    A page never begins inside a line, so that whatever looks for secrets sees them whole: for a byte inside a line it
    begins at the line's start. Of a line longer than a page only the beginning is shown.

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
        if after is None:
            start = _line_start(file, max(0, size - MOST_BYTES), size, back=0)
        else:
            start = size if after >= size else _line_start(file, after, size, back=MOST_BYTES)
        file.seek(start)
        block = file.read(MOST_BYTES)
        whole = block[: block.rfind(b"\n") + 1]
        if not whole and len(block) == MOST_BYTES:
            end = _line_start(file, start + MOST_BYTES, size, back=0)
            beginning = block[: block.rfind(b" ")].decode("utf-8", "replace")
            return LogPage((f"{beginning} … (the line has {end - start:,} bytes)",), start, end, size)
    pieces = (whole or block).splitlines(keepends=True)
    if after is not None:
        kept = pieces[:lines]
        return LogPage(_texts(b"".join(kept)), start, start + sum(map(len, kept)), size)
    last = pieces[-lines:]
    end = start + len(whole or block)
    return LogPage(_texts(b"".join(last)), end - sum(map(len, last)), end, size)


def _line_start(file: BinaryIO, place: int, size: int, *, back: int) -> int:
    """Returns where the line of byte `place` starts, or the next line if that is more than `back` bytes before it."""
    first = max(0, place - back - 1)
    file.seek(first)
    before = file.read(place - first)
    newline = before.rfind(b"\n")
    if newline >= 0 or (first == 0 and (back or place == 0)):
        return first + newline + 1
    file.seek(place)
    while block := file.read(MOST_BYTES):
        newline = block.find(b"\n")
        if newline >= 0:
            return place + newline + 1
        place += len(block)
    return size


def _texts(block: bytes) -> tuple[str, ...]:
    return tuple(line.decode("utf-8", "replace") for line in block.split(b"\n")[:-1] or ([block] if block else []))
