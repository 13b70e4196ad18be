"""Checkpoints that were moved are found, and those that are damaged are made again from what is stored."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from eva.errors import CheckpointError
from eva.settings import Settings
from eva.types import TrainingJob, TrainingResult, TrainingStep
from orchestrator.driver import drive, repair
from orchestrator.hold import pruning
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.rows import CheckpointRow, RunRow
from store.runs import runs
from store.session import Store
from store.views.fingerprint import fingerprint
from tests.support.cli_fixtures import Command, command_line
from tests.support.fakes import Died, PublishingTrainer, Recorder, always, fake_config, fake_roles
from workers.training.checkpoints import damage


class Dying(PublishingTrainer):
    """Dies after it has published so many checkpoints."""

    most = 1

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        if len(self.jobs) == self.most:
            raise Died
        return super().train(job, report)


@pytest.fixture
def run(store: Store) -> RunRow:
    return register_run(store, fake_config(model={"path": "playground"}, iterations=2))


def rows_of(store: Store, run: RunRow) -> list[CheckpointRow]:
    with store.transaction() as conn:
        return checkpoints.read_checkpoints(conn, run.id)


def play(store: Store, settings: Settings, run: RunRow, trainer: PublishingTrainer) -> None:
    drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=trainer)), ttl_s=60.0)


@pytest.mark.parametrize("recorded", ["relative", "absolute"])
def test_a_restored_backup_in_another_place_is_resumed_and_keeps_its_checkpoints(
    store: Store, store_settings: Settings, tmp_path: Path, run: RunRow, recorded: str
) -> None:
    with pytest.raises(Died):
        play(store, store_settings, run, Dying())
    assert {row.path for row in rows_of(store, run)} == {f"{run.folder_name}/skill-{n}" for n in (1, 2)}
    if recorded == "absolute":  # as an earlier eva did
        with store.transaction() as conn:
            conn.execute(
                text("UPDATE checkpoints SET path = :runs || '/' || path"), {"runs": str(store_settings.runs_dir)}
            )
    moved = replace(store_settings, data_dir=tmp_path / "elsewhere")
    shutil.copytree(store_settings.runs_dir, moved.runs_dir)
    shutil.rmtree(store_settings.runs_dir)
    trainer = PublishingTrainer()
    play(store, moved, run, trainer)
    assert trainer.jobs[0].policy.path == str(moved.runs_dir / run.folder_name / "skill-2")
    eva = command_line(moved)
    for number in range(3):
        shown = eva("checkpoints", "path", run.name, "--checkpoint", str(number)).stdout.strip()
        assert shown == str(moved.runs_dir / run.folder_name / f"skill-{number + 1}")
    assert eva("checkpoints", "prune", run.name, "--keep", "last").exit_code == 0
    assert [row.pruned_at is None for row in rows_of(store, run)] == [False, False, True]
    assert not (moved.runs_dir / run.folder_name / "skill-1").exists()


def test_a_fork_of_a_run_with_absolute_paths_keeps_what_it_shares(
    store: Store, store_settings: Settings, run: RunRow
) -> None:
    play(store, store_settings, run, PublishingTrainer())
    folder = store_settings.runs_dir / run.folder_name
    with store.transaction() as conn:
        other = register_run(store, fake_config(model={"path": "playground"}, iterations=2))
        conn.execute(
            text(
                "INSERT INTO checkpoints (run_id, number, iteration, path, digest, dropped) "
                "SELECT :other, number, iteration, :runs || '/' || path, digest, dropped "
                "FROM checkpoints WHERE number = 0"
            ),
            {"other": other.id, "runs": str(store_settings.runs_dir)},
        )
    with store.transaction() as conn:
        plan = pruning.plan_pruning(conn, runs.get_run(conn, run.id), folder, ("last",))
    assert plan.kept[0] == f"{other.name} needs it" and [row.number for row in plan.doomed] == [1]


def test_damaged_checkpoints_are_made_again_by_the_command_that_the_message_names(
    store: Store, store_settings: Settings, run: RunRow, eva: Command
) -> None:
    play(store, store_settings, run, PublishingTrainer())
    folder = store_settings.runs_dir / run.folder_name
    with store.transaction() as conn:
        before = fingerprint(conn, run.id)
    (folder / "skill-2" / "model.safetensors").write_bytes(b"x" * 640)
    shutil.rmtree(folder / "skill-3")
    refused = eva("checkpoints", "path", run.name, "--checkpoint", "1")
    assert f"eva checkpoints repair {run.name}" in refused.stderr
    heard = Recorder()
    assert repair(store, store_settings, run, heard, PublishingTrainer()) == rows_of(store, run)[1:]
    assert "model.safetensors has changed" in heard.notes[0]
    assert all(damage(store_settings.runs_dir / row.path, row.digest) is None for row in rows_of(store, run))
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
        assert row.status == "finished" and fingerprint(conn, run.id) == before
    assert "no checkpoint is damaged" in eva("checkpoints", "repair", run.name).stdout


def test_a_checkpoint_that_is_made_again_with_other_weights_is_refused(
    store: Store, store_settings: Settings, run: RunRow
) -> None:
    play(store, store_settings, run, PublishingTrainer())
    with store.transaction() as conn:
        conn.execute(text("UPDATE checkpoints SET digest = 'other' WHERE number = 1"))
    with pytest.raises(CheckpointError, match=r"other weights.*same libraries.*from a backup, or fork"):
        repair(store, store_settings, run, Recorder(), PublishingTrainer())


def test_a_checkpoint_that_was_trained_in_chunks_is_made_again_from_all_of_them(
    store: Store, store_settings: Settings
) -> None:
    training = {"batch": 4, "epochs": 2, "sync_every": 4}
    run = register_run(store, fake_config(iterations=2, training=training))
    play(store, store_settings, run, PublishingTrainer())
    damaged = store_settings.runs_dir / rows_of(store, run)[1].path
    shutil.rmtree(damaged)
    trainer = PublishingTrainer()
    assert repair(store, store_settings, run, Recorder(), trainer) == rows_of(store, run)[1:2]
    assert damaged.is_dir() and [len(job.chunks) for job in trainer.jobs] == [3]
