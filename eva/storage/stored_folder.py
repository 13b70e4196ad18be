"""A folder in an object store, through fsspec: S3, Google Cloud Storage, or a folder of a shared file system."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from eva.errors import MissingObjectError, StorageError
from eva.runtime.atomic_files import sync_to_disk
from eva.runtime.full_disk import disk_full_cause
from eva.solver.manifest import MANIFEST
from eva.storage.places import credentials_for, scheme_of

T = TypeVar("T")

PAUSES_S = (1.0, 4.0, 15.0)
"""Pauses before a request is repeated, after the library's own repetitions."""
_BLOCK = 8 << 20
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"use_listings_cache": False, "config_kwargs": {"connect_timeout": 10, "read_timeout": 60}},
    "gs": {"use_listings_cache": False},
    "file": {"auto_mkdir": True},
}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "DefaultCredentialsError",
    "RefreshError",
    "NoAuthTokenError",
)
log = logging.getLogger(__name__)


class StoredFolder:
    """A folder at `place`, an address such as s3://bucket/folder. Names of objects are relative to it.

    Requests that fail in passing (a dropped connection, a server that is busy) are repeated, for half a minute in all.
    Every method raises StorageError after that, and at once for missing rights, a missing bucket or a missing library.
    """

    def __init__(self, place: str, *, pauses_s: tuple[float, ...] = PAUSES_S) -> None:
        self.place, self._pauses_s = place.rstrip("/"), pauses_s
        self._files, root = _file_system(self.place)
        self._root = str(root).rstrip("/")

    def read(self, name: str) -> bytes:
        """Returns an object. Raises MissingObjectError if it does not exist."""
        return self._tried(f"read {name}", lambda: self._files.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Writes an object; it is complete or absent."""
        self._tried(f"write {name}", lambda: self._files.pipe_file(self._path(name), content))
        self._settle(name)

    def upload(self, file: Path, name: str) -> None:
        """Copies a file of this machine into the store, and checks that it arrived in full length."""

        def put() -> None:
            self._files.put_file(str(file), self._path(name))
            arrived = self._files.info(self._path(name))["size"]
            if arrived != file.stat().st_size:
                raise OSError(f"{arrived} of {file.stat().st_size} bytes arrived")

        self._tried(f"write {name}", put)
        self._settle(name)

    def download(self, name: str, file: Path) -> None:
        """Copies an object to a file. Raises MissingObjectError, and OSError if this machine's disk is full."""
        self._tried(f"read {name}", lambda: self._files.get_file(self._path(name), str(file)))

    def sha256(self, name: str) -> str:
        """Returns the SHA-256 of an object, in hexadecimal. Raises MissingObjectError."""

        def digest() -> str:
            found = hashlib.sha256()
            with self._files.open(self._path(name), "rb", block_size=_BLOCK) as stream:
                while block := stream.read(_BLOCK):
                    found.update(block)
            return found.hexdigest()

        return self._tried(f"read {name}", digest)

    def sizes(self) -> dict[str, int]:
        """Returns the size of every object in the folder and below it, by name; nothing if there is no such folder."""

        def find() -> Mapping[str, Any]:
            self._files.invalidate_cache()
            return self._files.find(self._root, detail=True)

        found = self._tried("list it", find, missing={})
        return {name.removeprefix(self._root).lstrip("/"): int(facts["size"]) for name, facts in found.items()}

    def folders(self) -> list[str]:
        """Returns the names of the folders in the folder, sorted."""

        def listed() -> list[Any]:
            self._files.invalidate_cache()
            return self._files.ls(self._root, detail=True)

        return sorted(
            str(facts["name"]).rstrip("/").rpartition("/")[2]
            for facts in self._tried("list it", listed, missing=[])
            if facts["type"] == "directory"
        )

    def folder(self, name: str) -> StoredFolder:
        """Returns a folder in it."""
        return StoredFolder(f"{self.place}/{name}", pauses_s=self._pauses_s)

    def delete(self) -> None:
        """Deletes the folder, first its manifest: what is left after an interruption is no checkpoint."""
        self.unseal()
        self._tried("delete it", lambda: self._files.rm(self._root, recursive=True), missing=None)

    def unseal(self) -> None:
        """Deletes the folder's manifest, so that it is no checkpoint any more."""
        self._tried("delete its manifest", lambda: self._files.rm_file(self._path(MANIFEST)), missing=None)

    def probe(self) -> None:
        """Writes, reads and deletes an object, to find out whether the store can be used."""
        name = f".eva-probe-{time.time_ns()}"
        self.write(name, b"eva")
        self.read(name)
        self._tried(f"delete {name}", lambda: self._files.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _settle(self, name: str) -> None:
        """Waits until a file of a shared file system is on its disk; other stores answer when it is."""
        if scheme_of(self.place) == "file":
            sync_to_disk(Path(self._path(name)))

    def _tried(self, what: str, attempt: Callable[[], T], *, missing: Any = ...) -> T:
        """Returns what the attempt returns, and `missing`, if given, where there is no such object."""
        for pause_s in (*self._pauses_s, None):
            try:
                return attempt()
            except FileNotFoundError as error:
                if missing is not ...:
                    return missing
                raise self._missing(what, error) from error
            except Exception as error:  # every library of a store has errors of its own
                if disk_full_cause(error) is not None and scheme_of(self.place) != "file":
                    raise
                if _refused(error):
                    raise self._refusal(what, error) from error
                if pause_s is None:
                    raise self._away(what, error) from error
                log.warning("%s: could not %s (%s); tried again in %g s", self.place, what, _words(error), pause_s)
                time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _missing(self, what: str, error: Exception) -> StorageError:
        return MissingObjectError(
            f"{self.place}: could not {what}: {_words(error)}",
            expected="an object that is there, in a bucket that exists",
            next_move="Check the bucket and its lifecycle rules; a checkpoint that is gone is made again by "
            "`eva checkpoints repair RUN`",
        )

    def _refusal(self, what: str, error: Exception) -> StorageError:
        names = ", ".join(credentials_for(self.place)[:2])
        return StorageError(
            f"{self.place}: the store refused to {what}: {_words(error)}",
            expected="the right to read, write, list and delete objects there",
            next_move=f"Set {names} for the driver, or give its machines a role, then resume the run"
            if names
            else "Correct the rights of the folder, then resume the run",
        )

    def _away(self, what: str, error: Exception) -> StorageError:
        return StorageError(
            f"{self.place}: could not {what} after {1 + len(self._pauses_s)} attempts: {_words(error)}",
            expected="a store that answers",
            next_move="Check the network and the store, then resume the run; nothing was lost",
        )


@contextmanager
def _library(place: str) -> Generator[None]:
    scheme = scheme_of(place)
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"{place} needs a library that is not installed: {_words(error)}",
            expected=f"the extra `{_EXTRAS.get(scheme, scheme)}` of eva on every machine",
            next_move=f"Install it: pip install 'eva-selfplay[{_EXTRAS.get(scheme, scheme)}]'",
        ) from error


def _file_system(place: str) -> tuple[Any, Any]:
    """fsspec's file system for a place, and the place's path in it."""
    with _library(place):
        core: Any = import_module("fsspec.core")  # has no type annotations
        return core.url_to_fs(place, **_OPTIONS.get(scheme_of(place), {}))


def _refused(error: BaseException | None) -> bool:
    """Whether an error says that rights or credentials are missing, so that a repetition would not help."""
    while error is not None:
        if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
            return True
        error = error.__cause__
    return False


def _words(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
