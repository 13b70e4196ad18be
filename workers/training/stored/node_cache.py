"""This machine's copies of stored checkpoints: each is fetched once, whoever needs it first, and verified meanwhile.

A copy is a folder named by its digest, so runs and forks share it. Who reads a copy holds a lock, and the copies that
nobody holds go, least recently used first, when a new one needs the space. An interrupted fetch goes on with the files
that are whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from eva.errors import CheckpointError, ConfigError, DiskFullError
from eva.runtime.full_disk import disk_full_cause
from eva.runtime.worker_reports import Note, ignore_note
from eva.solver.manifest import MANIFEST, FileEntry, Manifest, no_checkpoint, parse_manifest
from eva.storage.stored_folder import StoredFolder
from workers.training.checkpoints import note_verified, sha256, verify_once
from workers.training.job_lock import file_lock

CACHE_DIR, CACHE_GB = "EVA_CACHE_DIR", "EVA_CACHE_GB"
AT_ONCE = 4
"""Files that are copied at the same time; the libraries divide a large one into parts themselves."""
_FETCH_S = 7200.0
_FETCHING, _REMOVED, _LOCK, _USE, _VIEW = ".fetching-", ".removed-", ".lock", ".use", ".view"
_POLL_S = 0.1


class NodeCache:
    """The copies below `root`, which take at most `limit` bytes together."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self._limit = root, limit
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def opened(self, place: str, digest: str, note: Note = ignore_note) -> Generator[Path]:
        """Yields the folder of this machine's copy of a checkpoint, which stays as long as the block lasts.

        Raises MissingObjectError, StorageError, CheckpointError, and DiskFullError if the cache has no room for it.
        """
        with self._used(digest):
            yield self._copy(place, digest, note)

    def view(self, digest: str) -> Path:
        """Returns where a serving view of a copy belongs; it goes with the copy."""
        return self.root / f"{digest}{_VIEW}"

    def adopt(self, folder: Path, digest: str) -> None:
        """Makes a sealed checkpoint of this machine one of the copies; `folder` is moved, or removed if it is one."""
        with self._used(digest), self._fetching(digest):
            target = self.root / digest
            if target.is_dir():
                shutil.rmtree(folder)
                return
            folder.rename(target)
            note_verified(target, digest)
            self._make_room(0, keep=digest)

    def holds(self, digest: str) -> bool:
        """Whether this machine has a copy."""
        return (self.root / digest).is_dir()

    def _copy(self, place: str, digest: str, note: Note) -> Path:
        target = self.root / digest
        with self._fetching(digest):
            if target.is_dir():
                try:
                    verify_once(target, digest)
                except CheckpointError as error:
                    note(f"fetches a damaged copy again: {error.given}")
                    shutil.rmtree(target)
                else:
                    return target
            self._fetch(place, digest, note)
        return target

    def _fetch(self, place: str, digest: str, note: Note) -> None:
        stored, partial = StoredFolder(place), self.root / f"{_FETCHING}{digest}"
        note(f"fetches {place}")
        raw = stored.read(MANIFEST)
        manifest = parse_manifest(place, raw)
        if manifest.digest != digest:
            raise no_checkpoint(place, f"its {MANIFEST} has digest {manifest.digest}", f"{digest}, as recorded")
        partial.mkdir(exist_ok=True)
        missing = [file for file in manifest.files if not _is_whole(partial / file.path, file)]
        self._make_room(sum(file.size for file in missing), keep=digest, manifest=manifest, place=place)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for name in pool.map(lambda file: _fetch_file(stored, partial, file), missing):
                    note(f"has fetched {name} of {place}")
            (partial / MANIFEST).write_bytes(raw)
        except OSError as error:
            if disk_full_cause(error) is None:
                raise
            raise self._full(place, manifest.bytes) from error
        partial.rename(self.root / digest)
        note_verified(self.root / digest, digest)

    def _make_room(self, needed: int, *, keep: str, manifest: Manifest | None = None, place: str = "") -> None:
        """Removes copies that nobody uses until `needed` bytes fit. Raises DiskFullError if they cannot."""
        for leftover in self.root.glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for copy in self._by_use():
            free = shutil.disk_usage(self.root).free
            if self._taken() + needed <= self._limit and needed <= free:
                return
            if copy.name.removeprefix(_FETCHING) != keep:
                self._remove(copy)
        fits = self._taken() + needed <= self._limit and needed <= shutil.disk_usage(self.root).free
        if not fits and manifest is not None:
            raise self._full(place, manifest.bytes)

    def _by_use(self) -> list[Path]:
        """Copies, whole ones and parts, the least recently used first."""
        copies = [
            folder
            for folder in self.root.iterdir()
            if folder.is_dir() and folder.suffix != _VIEW and not folder.name.startswith(_REMOVED)
        ]

        def used(copy: Path) -> float:
            lock = self.root / f"{copy.name.removeprefix(_FETCHING)}{_USE}"
            return lock.stat().st_mtime if lock.is_file() else 0.0

        return sorted(copies, key=used)

    def _taken(self) -> int:
        return sum(file.stat().st_size for copy in self._by_use() for file in copy.rglob("*") if file.is_file())

    def _remove(self, copy: Path) -> None:
        """Removes a copy, unless somebody uses it."""
        digest = copy.name.removeprefix(_FETCHING)
        with (self.root / f"{digest}{_USE}").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            doomed = self.root / f"{_REMOVED}{uuid.uuid4().hex[:8]}"
            copy.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
            shutil.rmtree(self.view(digest), ignore_errors=True)

    @contextmanager
    def _used(self, digest: str) -> Generator[None]:
        """Holds a copy, present or not, so that nobody removes it."""
        lock = self.root / f"{digest}{_USE}"
        deadline = time.monotonic() + _FETCH_S
        with lock.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_POLL_S)
                else:
                    break
            os.utime(lock)
            yield

    @contextmanager
    def _fetching(self, digest: str) -> Generator[None]:
        with file_lock(self.root / f"{digest}{_LOCK}", give_up_s=_FETCH_S, leave_s=_FETCH_S):
            yield

    def _full(self, place: str, needed: int) -> DiskFullError:
        free = shutil.disk_usage(self.root).free
        return DiskFullError(
            f"this machine's cache {self.root} has no room for {place}, which takes {needed / 1e9:,.2f} GB: "
            f"{free / 1e9:,.2f} GB of its disk are free, and it may take {self._limit / 1e9:,.2f} GB",
            expected="room for the policy and the reference beside what is in use",
            next_move=f"Set {CACHE_DIR} to a larger disk, or raise {CACHE_GB}, on every machine; then resume the run",
        )


def node_cache() -> NodeCache:
    """Returns the cache of this machine, as its environment says. Raises ConfigError for an EVA_CACHE_GB that is no
    number."""
    given = os.environ.get(CACHE_DIR)
    root = Path(given) if given else Path(tempfile.gettempdir()) / f"eva-cache-{os.getuid()}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.lstat().st_uid != os.getuid():
        raise ConfigError(
            f"the cache {root} belongs to another user",
            expected="a folder of the user that runs eva",
            next_move=f"Set {CACHE_DIR} to another folder",
        )
    return NodeCache(root / "checkpoints", _limit(root))


def _limit(root: Path) -> int:
    """The bytes that the copies may take: EVA_CACHE_GB, or half of the disk."""
    text = os.environ.get(CACHE_GB) or ""
    if not text:
        return shutil.disk_usage(root).total // 2
    with suppress(ValueError):
        if float(text) > 0:
            return int(float(text) * 1e9)
    raise ConfigError(
        f"{CACHE_GB} is {text[:40]!r}", expected="a number of gigabytes", next_move="Correct it or unset it"
    )


def _fetch_file(stored: StoredFolder, folder: Path, file: FileEntry) -> str:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    stored.download(file.path, target)
    if not _is_whole(target, file):
        target.unlink()
        raise no_checkpoint(stored.place, f"{file.path} has changed", f"{file.size} bytes with SHA-256 {file.sha256}")
    return file.path


def _is_whole(path: Path, file: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256(path) == file.sha256
