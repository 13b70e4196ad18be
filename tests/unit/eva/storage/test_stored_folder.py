"""What can go wrong between eva and a store becomes a sentence; what passes is tried again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from eva.errors import MissingObjectError, StorageError
from eva.solver.manifest import MANIFEST
from eva.storage.stored_folder import StoredFolder

PLACE = "memory://bucket/run-1/checkpoint-0001"


@pytest.fixture
def stored() -> Iterator[StoredFolder]:
    yield StoredFolder(PLACE, pauses_s=(0.0, 0.0))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


class Failing:
    """A method of a file system that raises so many times."""

    def __init__(self, method: Any, error: Exception, times: int) -> None:
        self.method, self.error, self.times, self.calls = method, error, times, 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.method(*arguments, **named)


def fail(
    monkeypatch: pytest.MonkeyPatch, stored: StoredFolder, name: str, error: Exception, times: int = 99
) -> Failing:
    files = stored._files
    failing = Failing(getattr(files, name), error, times)
    monkeypatch.setattr(files, name, failing)
    return failing


def test_what_is_written_is_listed_read_and_deleted(stored: StoredFolder, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    stored.upload(tmp_path / "model", "deep/model")
    stored.write(MANIFEST, b"{}")
    assert stored.sizes() == {"deep/model": 7, MANIFEST: 2}
    assert StoredFolder("memory://bucket/run-1").folders() == ["checkpoint-0001"]
    stored.download("deep/model", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights" == stored.read("deep/model")
    assert stored.sha256(MANIFEST).startswith("44136fa3")
    stored.delete()
    assert stored.sizes() == {} and StoredFolder("memory://bucket/run-1").folders() == []
    stored.delete()  # what is gone is gone


def test_a_dropped_connection_is_tried_again(
    stored: StoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    failing = fail(monkeypatch, stored, "put_file", ConnectionResetError("dropped"), times=2)
    stored.upload(tmp_path / "model", "model")
    assert failing.calls == 3 and stored.read("model") == b"weights"


def test_a_store_that_stays_away_is_said_with_what_was_tried(
    stored: StoredFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, stored, "pipe_file", TimeoutError("no answer"))
    with pytest.raises(StorageError, match=r"could not write a after 3 attempts: no answer.*resume the run"):
        stored.write("a", b"")


def test_a_half_written_upload_is_noticed_and_written_again(
    stored: StoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    files, put = stored._files, stored._files.put_file
    cut = iter([True, False])

    def half(source: str, target: str) -> None:
        files.pipe_file(target, b"wei") if next(cut) else put(source, target)

    monkeypatch.setattr(files, "put_file", half)
    stored.upload(tmp_path / "model", "model")
    assert stored.sizes() == {"model": 7}


@pytest.mark.parametrize("error", [PermissionError("AccessDenied"), type("NoCredentialsError", (Exception,), {})()])
def test_missing_rights_are_said_at_once(
    stored: StoredFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing = fail(monkeypatch, stored, "pipe_file", error)
    with pytest.raises(StorageError, match=r"the store refused to write a.*the right to read, write"):
        stored.write("a", b"")
    assert failing.calls == 1


def test_a_vanished_object_and_a_full_disk_are_told_apart_from_a_store_that_is_away(
    stored: StoredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingObjectError, match="eva checkpoints repair"):
        stored.read("gone")
    fail(monkeypatch, stored, "get_file", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        stored.download("model", tmp_path / "model")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(StorageError, match=r"pip install 'eva-selfplay\[gcs\]'"):
        StoredFolder("gs://bucket/x")


def test_a_shared_folder_is_a_store(tmp_path: Path) -> None:
    stored = StoredFolder(f"file://{tmp_path}/store/run")
    stored.probe()
    stored.write("deep/a", b"1")
    assert stored.sizes() == {"deep/a": 1} and (tmp_path / "store/run/deep/a").read_bytes() == b"1"
