"""Publishes and verifies checkpoints: a folder without a valid manifest is not a checkpoint.

Order of a publication: temporary sibling, files, fsync, manifest last, fsync, rename. A kill at any moment leaves
either the old state or the new one. The publishing process holds one lock per folder, so every temporary sibling that
it finds was left by a dead process. A holder that is frozen is ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from eva.errors import CheckpointError, DiskFullError
from eva.runtime.atomic_files import sync_to_disk
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import NO_SPACE
from eva.solver.manifest import MANIFEST, FileEntry, Manifest, no_checkpoint, read_manifest
from workers.training.job_lock import file_lock

_TEMPORARY = ".publishing-"
_LOCK = ".publishing.lock"
# Reading the files of a large model may take this long.
_VERIFY_S = 3600.0


def checkpoint_name(number: int) -> str:
    """Returns the folder name of a run's checkpoint."""
    return f"checkpoint-{number:04d}"


def publish(write: Callable[[Path], None], folder: Path, name: str, *, needed_bytes: int = 0) -> str:
    """Publishes as `folder/name` what `write` puts into the directory that it gets. Returns the digest.

    A valid checkpoint of that name is kept and `write` is not called; an invalid one is replaced. `needed_bytes` is
    about what `write` needs, checked first. Raises DiskFullError, and whatever `write` raises. A partial checkpoint is
    never visible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    with file_lock(folder / _LOCK):
        _remove_leftovers(folder)
        if (manifest := valid_manifest(target)) is not None:
            return manifest.digest
        _require_space(folder, needed_bytes)
        return _write_and_rename(write, target, needed_bytes)


def seal(directory: Path) -> str:
    """Flushes every file of a complete checkpoint to the disk, then writes its manifest and returns its digest."""
    entries: list[dict[str, str | int]] = []
    for file in _files(directory):
        sync_to_disk(directory / file)
        entries.append({"path": file, "size": (directory / file).stat().st_size, "sha256": sha256(directory / file)})
    raw = json.dumps({"files": entries}, indent=1).encode()
    (directory / MANIFEST).write_bytes(raw)
    for path in (directory / MANIFEST, *(path for path in directory.rglob("*") if path.is_dir()), directory):
        sync_to_disk(path)
    return hashlib.sha256(raw).hexdigest()


def is_valid(path: Path) -> bool:
    """Whether `path` is a checkpoint: its manifest and every file in it are whole."""
    return valid_manifest(path) is not None


def valid_manifest(path: Path) -> Manifest | None:
    """Returns the manifest of a checkpoint whose files are all whole, None where there is no such checkpoint."""
    try:
        return verify(path)
    except CheckpointError:
        return None


def verify(path: Path, expected_digest: str | None = None) -> Manifest:
    """Compares every byte of a checkpoint with its manifest, and returns the manifest.

    Raises CheckpointError for the first file that is missing, truncated, changed or unknown, and for a manifest that
    is missing, malformed or not the one of `expected_digest`.
    """
    manifest = _read_expected(path, expected_digest)
    for entry in manifest.files:
        _verify_file(path, entry)
    _refuse_unknown(path, {entry.path for entry in manifest.files})
    return manifest


def verify_part(path: Path, digest: str, wanted: Callable[[str], bool]) -> None:
    """Compares the `wanted` files of a checkpoint with its manifest, which must have this digest.

    Raises CheckpointError.
    """
    for entry in _read_expected(path, digest).files:
        if wanted(entry.path):
            _verify_file(path, entry)


def damage(path: Path, digest: str) -> str | None:
    """Returns what is wrong with a checkpoint whose manifest has this digest, None if it is whole."""
    try:
        verify(path, digest)
    except CheckpointError as error:
        return error.given
    return None


def verify_once(path: Path, digest: str) -> None:
    """Does what `verify` does, unless this machine has verified these very files and none has changed since.

    Size, inode and times of every file tell whether one has changed. Raises CheckpointError.
    """
    mark = _mark(path, digest)
    with file_lock(mark.with_suffix(".lock"), give_up_s=_VERIFY_S, leave_s=_VERIFY_S):
        found = _state(path)  # one process reads the files, and the others wait for it
        if mark.is_file() and mark.read_text(encoding="utf-8") == found:
            return
        mark.unlink(missing_ok=True)
        verify(path, digest)
        with suppress(OSError):  # a full disk: it is verified again next time
            mark.write_text(found, encoding="utf-8")


def note_verified(path: Path, digest: str) -> None:
    """Spares `verify_once` the reading of files whose bytes the caller has just compared or written."""
    with suppress(OSError):
        _mark(path, digest).write_text(_state(path), encoding="utf-8")


def _mark(path: Path, digest: str) -> Path:
    return _marks() / hashlib.sha256(f"{path.resolve()}\n{digest}".encode()).hexdigest()


def _marks() -> Path:
    """The folder in which this machine notes what it has verified; no other user can write to it."""
    folder = Path(tempfile.gettempdir()) / f"eva-verified-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return Path(tempfile.mkdtemp(prefix="eva-verified-"))
    return folder


def _state(path: Path) -> str:
    facts = [(file, (path / file).stat()) for file in (MANIFEST, *_files(path)) if (path / file).is_file()]
    return json.dumps([[file, one.st_size, one.st_ino, one.st_mtime_ns, one.st_ctime_ns] for file, one in facts])


def _read_expected(path: Path, digest: str | None) -> Manifest:
    manifest = read_manifest(path)
    if digest is not None and manifest.digest != digest:
        raise no_checkpoint(path, f"its {MANIFEST} has digest {manifest.digest}", f"{digest}, as recorded")
    return manifest


def _verify_file(path: Path, entry: FileEntry) -> None:
    file = path / entry.path
    if not file.is_file():
        raise no_checkpoint(path, f"{entry.path} is missing", f"{entry.size} bytes")
    size = file.stat().st_size
    if size != entry.size:
        raise no_checkpoint(path, f"{entry.path} has {size} bytes", f"{entry.size}")
    if sha256(file) != entry.sha256:
        raise no_checkpoint(path, f"{entry.path} has changed", f"SHA-256 {entry.sha256}")


def _refuse_unknown(path: Path, known: set[str]) -> None:
    """Refuses files that the manifest does not list: loaders find files by name. Hidden files are ignored."""
    for file in _files(path):
        if file not in known and not any(part.startswith(".") for part in Path(file).parts):
            raise no_checkpoint(path, f"{file} is not in its {MANIFEST}", "only the files that were published")


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _disk_full(folder, needed, free)


def _disk_full(folder: Path, needed: int, free: int) -> DiskFullError:
    return DiskFullError(
        f"No space for a checkpoint in {folder}: {free / 1e6:,.1f} MB are free",
        expected=f"{needed / 1e6:,.1f} MB",
        next_move="Free space there or move the data directory, then resume the run",
    )


def _write_and_rename(write: Callable[[Path], None], target: Path, needed: int) -> str:
    temporary = target.parent / f"{_TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        write(temporary)
        reach("checkpoint.written")
        digest = seal(temporary)
        reach("checkpoint.sealed")
        _replace(temporary, target)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        written = sum((temporary / file).stat().st_size for file in _files(temporary))
        free = shutil.disk_usage(target.parent).free
        raise _disk_full(target.parent, max(needed, written + free + 1), free) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def _replace(temporary: Path, target: Path) -> None:
    """Rename into place; what lay there without being a checkpoint is dropped."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.exists():
        target.rename(target.parent / f"{_TEMPORARY}invalid-{uuid.uuid4().hex[:8]}")
    temporary.rename(target)
    reach("checkpoint.renamed")
    sync_to_disk(target.parent)
    _remove_leftovers(target.parent)


def _files(directory: Path) -> list[str]:
    """Relative paths of all files but the manifest, sorted."""
    return sorted(
        file.relative_to(directory).as_posix()
        for file in directory.rglob("*")
        if file.is_file() and file != directory / MANIFEST
    )


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
