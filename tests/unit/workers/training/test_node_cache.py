"""One download per machine, whoever asks; the cache stays within its bounds and never loses what is in use."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from eva.errors import CheckpointError, DiskFullError, MissingObjectError, StorageError
from eva.solver.manifest import MANIFEST
from eva.storage import stored_folder
from eva.storage.stored_folder import StoredFolder
from eva.storage.stored_manifests import fetch_files, keep_copy, kept_copy, stored_damage
from workers.training import checkpoints
from workers.training.stored.node_cache import NodeCache, node_cache
from workers.training.stored.publication import find_stored, publish_stored

RUN = "memory://bucket/run-1"
SIZE = 10_000


@pytest.fixture(autouse=True)
def _empty_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stored_folder.StoredFolder.__init__, "__kwdefaults__", {"pauses_s": (0.0,)})
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that were downloaded."""
    names: list[str] = []
    download = StoredFolder.download

    def counted(self: StoredFolder, name: str, file: Path) -> None:
        names.append(name)
        download(self, name, file)

    monkeypatch.setattr(StoredFolder, "download", counted)
    return names


def publish(tmp_path: Path, number: int) -> tuple[str, str]:
    """A checkpoint in the store: its place and digest. Nothing of it stays on this machine."""
    folder = tmp_path / "made" / checkpoints.checkpoint_name(number)
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([number]) * SIZE)
    (folder / "deep/config.json").write_text("{}")
    digest = checkpoints.seal(folder)
    place = publish_stored(folder, RUN, lambda _: None)
    shutil.rmtree(folder)
    return place, digest


def test_engines_and_trainer_of_a_machine_fetch_a_checkpoint_once(tmp_path: Path, downloads: list[str]) -> None:
    place, digest = publish(tmp_path, 1)

    def use(_: int) -> str:
        with NodeCache(tmp_path / "cache", 10**9).opened(place, digest) as folder:
            checkpoints.verify(folder, digest)
            return folder.name

    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(use, range(4))} == {digest}
    assert sorted(downloads) == ["deep/config.json", "model.safetensors"]


def test_the_least_recently_used_copies_go_and_those_in_use_stay(tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 2 * SIZE + 2000)
    made = [publish(tmp_path, number) for number in range(4)]
    digests = [digest for _, digest in made]
    with cache.opened(*made[0]):
        for checkpoint in made[1:3]:
            with cache.opened(*checkpoint):
                pass
        assert [cache.holds(digest) for digest in digests] == [True, False, True, False]
        full = pytest.raises(DiskFullError, match=r"EVA_CACHE_GB.*resume the run")
        with cache.opened(*made[2]), full, cache.opened(*made[3]):
            pass
    with cache.opened(*made[3]):
        assert not cache.holds(digests[0])


def test_an_interrupted_fetch_goes_on_with_what_is_whole(
    tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, digest = publish(tmp_path, 1)
    cache = NodeCache(tmp_path / "cache", 10**9)
    counted = StoredFolder.download

    def broken(self: StoredFolder, name: str, file: Path) -> None:
        counted(self, name, file)
        if name == "model.safetensors":
            file.write_bytes(file.read_bytes()[:-1])
            raise StorageError("the connection was lost")

    monkeypatch.setattr(StoredFolder, "download", broken)
    with pytest.raises(StorageError, match="lost"), cache.opened(place, digest):
        pass
    assert not cache.holds(digest)
    monkeypatch.setattr(StoredFolder, "download", counted)
    downloads.clear()
    with cache.opened(place, digest) as folder:
        checkpoints.verify(folder, digest)
    assert downloads == ["model.safetensors"]


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_is_refused(tmp_path: Path) -> None:
    place, digest = publish(tmp_path, 1)
    cache = NodeCache(tmp_path / "cache", 10**9)
    with cache.opened(place, digest) as folder:
        (folder / "model.safetensors").write_bytes(b"other" * (SIZE // 5))
    with cache.opened(place, digest) as folder:
        checkpoints.verify(folder, digest)
    StoredFolder(place).write("model.safetensors", b"other" * (SIZE // 5))
    assert "model.safetensors has changed" in (stored_damage(place, digest) or "")
    elsewhere = NodeCache(tmp_path / "elsewhere", 10**9)
    with pytest.raises(CheckpointError, match=r"model.safetensors has changed"), elsewhere.opened(place, digest):
        pass
    StoredFolder(place).unseal()
    with pytest.raises(MissingObjectError, match="eva checkpoints repair"), elsewhere.opened(place, digest):
        pass


def test_what_has_no_manifest_is_no_checkpoint_and_is_written_again(tmp_path: Path) -> None:
    place, digest = publish(tmp_path, 1)
    assert [found for found, _ in find_stored(RUN, "checkpoint-0001")] == [place]
    StoredFolder(place).unseal()
    StoredFolder(place).write("model.safetensors", b"half")
    assert list(find_stored(RUN, "checkpoint-0001")) == []
    assert publish(tmp_path, 1) == (place, digest)
    assert stored_damage(place, digest) is None


def test_small_files_and_the_copy_of_a_manifest_come_without_the_weights(tmp_path: Path, downloads: list[str]) -> None:
    place, digest = publish(tmp_path, 1)
    (tmp_path / "few/deep").mkdir(parents=True)
    assert (fetch_files(place, digest, ("deep/config.json",), tmp_path / "few") / "deep/config.json").is_file()
    keep_copy(place, digest, tmp_path)
    manifest = kept_copy(digest, tmp_path)
    assert manifest is not None and manifest.bytes == SIZE + 2 and downloads == []
    with pytest.raises(CheckpointError, match="as recorded"):
        keep_copy(place, "0" * 64, tmp_path)
    assert kept_copy("0" * 64, tmp_path) is None


def test_a_published_checkpoint_of_this_machine_needs_no_download(tmp_path: Path, downloads: list[str]) -> None:
    folder = tmp_path / "work/checkpoint-0001"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * SIZE)
    digest = checkpoints.seal(folder)
    place = publish_stored(folder, RUN, lambda _: None)
    cache = NodeCache(tmp_path / "cache", 10**9)
    cache.adopt(folder, digest)
    with cache.opened(place, digest) as copy:
        assert (copy / MANIFEST).is_file() and not folder.exists()
    assert downloads == []


def test_the_environment_says_where_the_cache_is_and_how_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_CACHE_DIR", str(tmp_path / "here"))
    assert node_cache().root == tmp_path / "here/checkpoints"
    monkeypatch.setenv("EVA_CACHE_GB", "ten")
    with pytest.raises(Exception, match="EVA_CACHE_GB is 'ten'"):
        node_cache()
