"""Disks that are full: a small tmpfs under the embedded database, and one under the run's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eva.errors import DiskFullError
from eva.settings import Settings
from eva.types import TrainingJob, TrainingResult, TrainingStep
from orchestrator.hold import database_retry
from store.runs import events
from store.session import Store, open_store
from tests.support.fakes import FakeTrainer, Recorder, fake_config, fake_roles
from tests.support.faults.undisturbed import Disturbed, require_undisturbed
from workers.training.checkpoints import checkpoint_name, publish


@dataclass
class Disk:
    """A small file system. `fill` leaves so many bytes of it; `clear` gives the rest back."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        with (self.folder / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, free - leave))

    def clear(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)


@contextmanager
def mounted(megabytes: int) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("a full disk is made of a tmpfs, which only root may mount: run these tests as root, as CI must")
    folder = Path(tempfile.mkdtemp(prefix="eva-disk-"))
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        folder.rmdir()
        pytest.fail(f"NOT TESTED: no disk can be filled here, for root may not mount a tmpfs ({made.stderr.strip()})")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)


@dataclass
class Janitor(Recorder):
    """Does something when a stage ends, and something when it is told that there is no space."""

    at: tuple[int, str] = (1, "judge_pool")
    then: Callable[[], None] = lambda: None
    told: Callable[[], None] = lambda: None
    times: list[str] = field(default_factory=list)

    def on_stage_close(self, iteration: int, stage: str, counts: object) -> None:
        if (iteration, stage) == self.at and not self.times:
            self.times.append(stage)
            self.then()

    def on_message(self, text: str) -> None:
        super().on_message(text)
        self.told()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_retry, "_TELL_AFTER_S", 0.1)
    monkeypatch.setattr("orchestrator.hold.claimed_run.LAST_WRITE_S", 0.1)


@pytest.fixture
def database_disk() -> Iterator[tuple[Disk, Store]]:
    with mounted(192) as disk, ExitStack() as stack:
        store = open_store(Settings(disk.folder / "data", None, None))
        stack.callback(store.close)
        yield disk, store


def test_a_run_whose_database_has_no_space_waits_until_there_is_some(
    database_disk: tuple[Disk, Store], tmp_path: Path
) -> None:
    disk, store = database_disk
    game = Disturbed(store, tmp_path, heard=Janitor(then=disk.fill, told=disk.clear))
    game.drive()
    first, last = game.heard.notes
    assert "no space" in first and str(disk.folder / "data" / "postgres") in first and "accepts writes again" in last
    require_undisturbed(game, tmp_path)


def test_a_run_whose_database_gets_no_space_leaves_and_is_resumed(
    database_disk: tuple[Disk, Store], tmp_path: Path
) -> None:
    disk, store = database_disk
    game = Disturbed(store, tmp_path, heard=Janitor(then=disk.fill))
    with pytest.raises(DiskFullError, match=r"no space left in .*/data/postgres.*eva run --resume fake-"):
        game.drive(retry_s=1.0, ttl_s=2.0)
    disk.clear()
    store.revive()
    assert database_retry.DatabaseRetry(store, game.run.name, Recorder()).call(game.row).status in ("paused", "running")
    game.take_over()
    require_undisturbed(game, tmp_path)


class PublishingTrainer(FakeTrainer):
    """Publishes a megabyte as the real one publishes its weights."""

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        def write(folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(bytes(2**20))

        publish(write, Path(job.folder), checkpoint_name(job.number))
        return super().train(job, report)


@pytest.mark.parametrize(("leave", "where"), [(0, r"/jobs for pairs-1\.jsonl"), (200_000, "checkpoint in")])
def test_a_full_disk_under_the_checkpoints_pauses_the_run_and_names_its_folder(
    store: Store, tmp_path: Path, leave: int, where: str
) -> None:
    with mounted(8) as disk:
        game = Disturbed(store, disk.folder, heard=Janitor(at=(1, "pair"), then=lambda: disk.fill(leave)))
        roles = fake_roles(trainer=PublishingTrainer())
        with pytest.raises(DiskFullError, match=where) as full:
            game.drive(roles, retry_s=1.0)
        row = game.row()
        assert row.status == "paused" and row.error == str(full.value)
        assert str(disk.folder / "runs") in str(full.value)
        with store.transaction() as conn:
            (*_, last) = events.events_after(conn, game.run.id)
        assert (last.kind, last.data["kind"]) == ("paused", "infrastructure")
        assert not [*(disk.folder / "runs").rglob("checkpoint-0002")], "a part of a checkpoint is none"
        disk.clear()
        game.drive(roles)
        require_undisturbed(game, tmp_path)


def test_a_full_disk_under_the_token_records_is_waited_for(store: Store, tmp_path: Path) -> None:
    with mounted(8) as disk:
        heard = Janitor(at=(1, "mix"), then=disk.fill, told=disk.clear)
        game = Disturbed(store, disk.folder, heard=heard, config=fake_config(rollouts={"keep": "all"}))
        game.drive()
        assert "/tokens/1/" in heard.notes[0]
        require_undisturbed(game, tmp_path)


def test_a_full_disk_under_the_pairs_is_waited_for(store: Store, tmp_path: Path) -> None:
    with mounted(8) as disk:
        game = Disturbed(store, disk.folder, heard=Janitor(at=(1, "pair"), then=disk.fill, told=disk.clear))
        game.drive(fake_roles(trainer=PublishingTrainer()))
        assert "/jobs" in game.heard.notes[0]
        require_undisturbed(game, tmp_path)
