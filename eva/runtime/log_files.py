"""Reading the logs of a run: files of one folder, named by it alone, a bounded piece at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from eva.errors import NotFoundError

MOST_BYTES = 2**18
"""What one piece has at most."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log of a run."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Whole lines of a log: the bytes from `start` to `end` of `size`."""

    lines: tuple[str, ...]
    start: int
    end: int
    size: int


def list_logs(folder: Path) -> list[LogFile]:
    """Which logs lie there? None where the folder is not here, as where another machine played the run."""
    try:
        found = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(
        (LogFile(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in found), key=lambda log: log.name
    )


def read_log(folder: Path, name: str, *, lines: int, after: int | None = None) -> LogPage:
    """The last so many lines of a log; or those from byte `after` on. Raises NotFoundError for another name than the
    folder's own, whatever it points at."""
    logs = list_logs(folder)
    if name not in [log.name for log in logs]:
        raise NotFoundError(
            f"there is no log {name[:100]!r}",
            expected=f"one of {', '.join(log.name for log in logs)}"
            if logs
            else "a log, but none lies on this machine",
            next_move="See the names where none is asked for",
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
    # the first one may begin in the middle of a line
    last = pieces[1 if start and len(pieces) > 1 else 0 :][-lines:]
    return LogPage(_texts(b"".join(last)), start + len(whole) - sum(map(len, last)), start + len(whole), size)


def _texts(block: bytes) -> tuple[str, ...]:
    return tuple(line.decode("utf-8", "replace") for line in block.split(b"\n")[:-1] or ([block] if block else []))
