"""The manifest of a checkpoint: every file of its folder, with size and SHA-256.

A folder without a valid manifest is not a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eva.errors import CheckpointError

MANIFEST = "manifest.json"
TRAINING = "training.json"
"""The record of the training job that made a checkpoint."""
CANARY = "canary.json"
"""Probabilities that the policy gives, as they were measured where it was published."""
CREATOR = "creator"
"""The folder in a run's folder with the checkpoints of a creator that has weights of its own."""


_PLACE = re.compile(rf"/.*/runs/([^/]+/(?:{CREATOR}/)?[^/]+)")
"""The folder of a checkpoint as an earlier eva recorded it."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a checkpoint: path relative to its folder, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a checkpoint, sorted by path; `digest` is the SHA-256 of the manifest's bytes."""

    files: tuple[FileEntry, ...]
    digest: str

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)

    @property
    def model_digest(self) -> str:
        """The SHA-256 of the model alone, which is the same wherever it was published: the canary is measured on a
        processor, and other processors round differently."""
        own = [[file.path, file.sha256] for file in self.files if file.path not in (CANARY, TRAINING)]
        return hashlib.sha256(json.dumps(own).encode()).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Reads the manifest of a checkpoint, without checking the files. Raises CheckpointError."""
    try:
        raw = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_checkpoint(path, f"it has no {MANIFEST}", "a published checkpoint") from error
    return parse_manifest(path, raw)


def parse_manifest(place: Path | str, raw: bytes) -> Manifest:
    """Returns the manifest that these bytes are, of the checkpoint at `place`. Raises CheckpointError."""
    try:
        rows = json.loads(raw)["files"]
        files = tuple(FileEntry(row["path"], row["size"], row["sha256"]) for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise no_checkpoint(place, f"its {MANIFEST} is malformed ({error!r})", "JSON with `files`") from error
    return Manifest(files, hashlib.sha256(raw).hexdigest())


def checkpoint_place(path: str) -> str:
    """Returns how a checkpoint's folder is recorded: relative to the folder of all runs, which may be moved."""
    match = _PLACE.fullmatch(path)
    return path if match is None else match[1]


def checkpoint_folder(recorded: str, runs_dir: Path) -> Path:
    """Returns the folder of a checkpoint. What was recorded as an absolute path is first looked for in `runs_dir`."""
    folder = runs_dir / checkpoint_place(recorded)
    return Path(recorded) if Path(recorded).is_absolute() and not folder.is_dir() else folder


def is_stored(place: str) -> bool:
    """Whether a checkpoint's place is an address in an object store, rather than a folder."""
    return "://" in place


def located(recorded: str, runs_dir: Path) -> str:
    """Returns the place of a checkpoint: an address in a store as it was recorded, otherwise its folder."""
    return recorded if is_stored(recorded) else str(checkpoint_folder(recorded, runs_dir))


def no_checkpoint(place: Path | str, what: str, expected: str) -> CheckpointError:
    """Returns the error for a folder, here or in a store, that is not a checkpoint."""
    run = PurePosixPath(place).parent.name if isinstance(place, Path) or not is_stored(place) else "RUN"
    return CheckpointError(
        f"{place} is not a valid checkpoint: {what}",
        expected=expected,
        next_move="Make it again from the stored pairs: "
        f"`eva checkpoints repair {run}`; if the run has not recorded it yet, resume the run",
    )
