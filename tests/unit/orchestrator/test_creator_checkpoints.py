"""Checkpoints of a creator that learns: pruned, shared by forks, made again, and kept in a store like the solver's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from eva.errors import ConflictError
from eva.settings import Settings
from eva.solver.manifest import CREATOR, MANIFEST
from eva.storage.stored_folder import StoredFolder
from eva.storage.stored_manifests import stored_damage
from orchestrator.driver import drive, repair
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.rows import CheckpointRow, RunRow
from store.runs import runs
from store.session import Store
from tests.support.cli_fixtures import command_line
from tests.support.decisions import fingerprint_of
from tests.support.fakes import (
    FakeTrainer,
    PublishingTrainer,
    Recorder,
    StoringTrainer,
    always,
    creator_roles,
    creator_section,
    fake_config,
)
from workers.training.checkpoints import damage


def start(store: Store, **changes: Any) -> RunRow:
    return register_run(store, fake_config(evolving=creator_section(), **changes))


def play(store: Store, settings: Settings, run: RunRow, trainer: FakeTrainer | None = None) -> RunRow:
    roles = creator_roles(trainer=trainer or PublishingTrainer())
    drive(store, settings, run, Recorder(), build=always(roles))
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def rows_of(store: Store, run: RunRow) -> dict[int, CheckpointRow]:
    with store.transaction() as conn:
        return {row.number: row for row in checkpoints.read_checkpoints(conn, run.id, "creator")}


def test_a_run_that_keeps_the_last_prunes_the_creators_too(store: Store, store_settings: Settings) -> None:
    run = play(store, store_settings, start(store, checkpoints={"keep": ["last"]}))
    rows = rows_of(store, run)
    left = [number for number, row in rows.items() if (store_settings.runs_dir / row.path).is_dir()]
    assert [*rows] == [0, 2, 3] and left == [number for number, row in rows.items() if row.pruned_at is None] == [3]


def test_a_fork_goes_on_from_the_creators_checkpoint_of_that_iteration_and_keeps_it_from_pruning(
    store: Store, store_settings: Settings
) -> None:
    run, trainer = play(store, store_settings, start(store)), PublishingTrainer()
    fork = fork_run(store, run, 2, forked_config(run, 2, []))
    assert rows_of(store, fork) == {number: row for number, row in rows_of(store, run).items() if number <= 2}
    pruned = command_line(store_settings)("checkpoints", "prune", run.name, "--keep", "last,0,1,2")
    assert "checkpoint 0 of the creator" in pruned.stdout
    assert [row.pruned_at is None for row in rows_of(store, run).values()] == [False, True, True]
    with pytest.raises(ConflictError, match=r"needs checkpoint 0 of the creator, which was pruned.*: 2, 3"):
        fork_run(store, run, 1, forked_config(run, 1, []))
    fork = play(store, store_settings, fork, trainer)
    assert [(job.policy.number, job.number) for job in trainer.jobs if job.player == "creator"] == [(2, 3)]
    assert fingerprint_of(store, fork) == fingerprint_of(store, run), "with the same config it plays the same game"
    assert rows_of(store, fork)[3].digest == rows_of(store, run)[3].digest


def test_a_damaged_checkpoint_of_the_creator_is_made_again(store: Store, store_settings: Settings) -> None:
    run = play(store, store_settings, start(store, rollouts={"keep": "all"}))
    folder = store_settings.runs_dir / run.folder_name / CREATOR
    shutil.rmtree(folder / "skill-1")
    (folder / "skill-2" / "model.safetensors").write_bytes(b"x" * 640)
    heard = Recorder()
    repaired = repair(store, store_settings, run, heard, PublishingTrainer())
    assert [(row.player, row.number) for row in repaired] == [("creator", 0), ("creator", 2)]
    assert "checkpoint 2 of the creator is damaged" in heard.notes[1]
    assert all(damage(store_settings.runs_dir / row.path, row.digest) is None for row in rows_of(store, run).values())


def test_the_creators_checkpoints_are_in_the_store_are_pruned_there_and_made_again(
    store: Store, store_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVA_CACHE_DIR", str(tmp_path / "cache"))
    bucket = {"checkpoints": {"store": str(tmp_path / "bucket")}, "rollouts": {"keep": "all"}}
    run = play(store, store_settings, start(store, **bucket), StoringTrainer(store_settings))
    plain = play(store, store_settings, start(store))
    assert fingerprint_of(store, run) == fingerprint_of(store, plain)
    rows = rows_of(store, run)
    assert {row.path.rpartition("/")[0] for row in rows.values()} == {
        f"file://{tmp_path}/bucket/{run.stored_name}/{CREATOR}"
    }
    assert not list((store_settings.runs_dir / run.folder_name).rglob(MANIFEST))
    StoredFolder(rows[2].path).write("model.safetensors", b"x" * 640)
    assert len(repair(store, store_settings, run, Recorder(), StoringTrainer(store_settings))) == 1
    assert all(stored_damage(row.path, row.digest) is None for row in rows.values())

    eva = command_line(store_settings, width=300)
    here = eva("checkpoints", "path", run.name, "--player", "creator").stdout.strip().splitlines()[-1]
    assert (Path(here) / "model.safetensors").read_bytes() == StoredFolder(rows[3].path).read("model.safetensors")
    assert (
        "no checkpoint of the creator"
        in eva("checkpoints", "path", run.name, "--player", "creator", "--checkpoint", "best").stderr
    )
    StoredFolder(rows[3].path).unseal()
    refused = eva("checkpoints", "prune", run.name, "--keep", "last")
    assert "of the creator" not in refused.stdout and StoredFolder(rows[0].path).sizes(), "the newest is not whole"
    assert len(repair(store, store_settings, run, Recorder(), StoringTrainer(store_settings))) == 1
    pruned = eva("checkpoints", "prune", run.name, "--keep", "last").stdout
    assert re.findall(r"checkpoint (\d) of the creator", pruned) == ["0", "2"]
    assert [bool(StoredFolder(row.path).sizes()) for row in rows.values()] == [False, False, True]
    assert eva("delete", run.name, "--purge", "--yes").exit_code == 0
    assert StoredFolder(rows[3].path).sizes() == {}
