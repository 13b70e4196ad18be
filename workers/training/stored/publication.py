"""Publishes sealed checkpoints in an object store: every file, then the manifest. Without one it is no checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eva.errors import MissingObjectError
from eva.runtime.worker_reports import Note
from eva.solver.manifest import MANIFEST, Manifest, read_manifest
from eva.storage.places import checkpoint_in_store
from eva.storage.stored_folder import StoredFolder
from eva.storage.stored_manifests import is_complete, read_stored_manifest
from workers.training.stored.node_cache import AT_ONCE


def publish_stored(folder: Path, place: str, note: Note) -> str:
    """Publishes a sealed checkpoint of this machine below `place`, under its folder's name. Returns where.

    One that is there in full is left as it is. Raises StorageError; what was written until then is no checkpoint, and
    is written again.
    """
    manifest = read_manifest(folder)
    target = StoredFolder(checkpoint_in_store(place, folder.name, manifest.digest))
    sizes = target.sizes()
    if MANIFEST in sizes and is_complete(manifest, sizes):
        return target.place
    note(f"writes {target.place}")

    def upload(name: str) -> str:
        target.upload(folder / name, name)
        return name

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name in pool.map(upload, [file.path for file in manifest.files]):
            note(f"has written {name} of {target.place}")
    target.write(MANIFEST, (folder / MANIFEST).read_bytes())
    return target.place


def find_stored(place: str, name: str) -> Iterator[tuple[str, Manifest]]:
    """Yields every complete checkpoint below `place` that has this name, with its manifest. Raises StorageError."""
    stored = StoredFolder(place)
    for folder in stored.folders():
        if not folder.startswith(f"{name}-"):
            continue
        found = stored.folder(folder)
        try:
            manifest = read_stored_manifest(found.place)
        except MissingObjectError:
            continue  # a job was interrupted while it wrote
        if folder == f"{name}-{manifest.digest[:16]}" and is_complete(manifest, found.sizes()):
            yield found.place, manifest
