"""Keeps files from other users of the machine: what eva writes, and where its Ray clusters keep their sessions."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

from eva.errors import InfrastructureError

OTHERS = 0o077
"""The permission bits of everybody but a file's owner."""


def keep_files_private() -> None:
    """Has this process, and those that it starts, create files that only their owner can read."""
    os.umask(OTHERS)


def open_files(folder: Path, most: int = 10, besides: Collection[str] = ()) -> list[Path]:
    """Returns files and folders in `folder` that other users can read or change; at most `most` of them.

    What lies in a closed folder is closed. A folder that others can only pass through is followed, not returned.
    `besides`: names of folders in `folder` that may be open.
    """
    return list(islice(_reachable(folder, besides), most))


def ray_sessions_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns where this user's local Ray clusters keep sessions, logs and sockets; RAY_TMPDIR chooses another place.

    Ray makes its folders writable for everybody, so that they lie in one that is closed.
    """
    # a short path, because those of sockets are limited
    return Path(environment.get("RAY_TMPDIR") or f"/tmp/eva-{os.geteuid()}")  # noqa: S108 - closed to others


def closed_folder(path: Path) -> Path:
    """Makes a folder that only this user can enter, or closes one. Raises InfrastructureError if it is another's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise InfrastructureError(
            f"{path} is not a folder of this user",
            expected="a folder of this user, in which Ray keeps its sessions and sockets",
            next_move="Remove it, or set RAY_TMPDIR to a folder of your own with a short path",
        )
    if status.st_mode & OTHERS:
        path.chmod(0o700)
    return path


def _reachable(path: Path, besides: Collection[str] = ()) -> Iterator[Path]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) or not mode & OTHERS:
        return
    if mode & 0o066:
        yield path
    if stat.S_ISDIR(mode):
        for child in sorted(path.iterdir()):
            if child.name not in besides:
                yield from _reachable(child)
