"""Manifests of checkpoints in a store. The driver's machine keeps copies, so that a list asks no store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from eva.errors import CheckpointError, MissingObjectError
from eva.runtime.atomic_files import whole_file
from eva.solver.manifest import MANIFEST, Manifest, no_checkpoint, parse_manifest
from eva.storage.stored_folder import StoredFolder

COPIES = "manifests"
"""The folder of the copies, below the data directory; each is named by its digest."""


def read_stored_manifest(place: str, digest: str | None = None) -> Manifest:
    """Returns the manifest of a stored checkpoint.

    Raises MissingObjectError if there is none, CheckpointError if it is malformed or not the one of `digest`,
    StorageError if the store does not answer.
    """
    return _checked(place, StoredFolder(place).read(MANIFEST), digest)


def _checked(place: str, raw: bytes, digest: str | None) -> Manifest:
    manifest = parse_manifest(place, raw)
    if digest is not None and manifest.digest != digest:
        raise no_checkpoint(place, f"its {MANIFEST} has digest {manifest.digest}", f"{digest}, as recorded")
    return manifest


def fetch_files(place: str, digest: str, names: Sequence[str], folder: Path) -> Path:
    """Copies a few small files of a stored checkpoint into a folder, compared with its manifest. Returns the folder.

    Raises CheckpointError, MissingObjectError, StorageError.
    """
    stored, wanted = StoredFolder(place), {file.path: file for file in read_stored_manifest(place, digest).files}
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        raw, file = stored.read(name), wanted.get(name)
        if file is None or hashlib.sha256(raw).hexdigest() != file.sha256:
            raise no_checkpoint(place, f"{name} has changed", f"the file that its {MANIFEST} lists")
        (folder / name).write_bytes(raw)
    return folder


def keep_copy(place: str, digest: str, data_dir: Path) -> None:
    """Reads the manifest of a checkpoint that was just published, which proves that it is there, and keeps a copy.

    Raises CheckpointError, StorageError.
    """
    raw = StoredFolder(place).read(MANIFEST)
    _checked(place, raw, digest)
    file = data_dir / COPIES / f"{digest}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as out:
        out.write(raw)


def kept_copy(digest: str, data_dir: Path) -> Manifest | None:
    """Returns the copy of a manifest that this machine keeps, None without one."""
    try:
        manifest = parse_manifest(digest, (data_dir / COPIES / f"{digest}.json").read_bytes())
    except (CheckpointError, OSError):
        return None
    return manifest if manifest.digest == digest else None


def is_complete(manifest: Manifest, sizes: Mapping[str, int]) -> bool:
    """Whether a store has every file of a manifest in full length, by the sizes of its objects."""
    return all(sizes.get(file.path) == file.size for file in manifest.files)


def stored_damage(place: str, digest: str) -> str | None:
    """Returns what is wrong with a stored checkpoint, None if every byte is right. Raises StorageError."""
    folder = StoredFolder(place)
    try:
        manifest = read_stored_manifest(place, digest)
        for file in manifest.files:
            if folder.sha256(file.path) != file.sha256:
                raise no_checkpoint(place, f"{file.path} has changed", f"SHA-256 {file.sha256}")
    except (CheckpointError, MissingObjectError) as error:
        return error.given
    return None
