"""A run whose checkpoints are in a store ends like any other, and everything that uses checkpoints finds them there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eva.errors import StorageError
from eva.settings import Settings
from eva.solver.manifest import MANIFEST
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
    fake_config,
    fake_roles,
)


@pytest.fixture
def stored(store_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "bucket"


def start(store: Store, bucket: Path, **changes: object) -> RunRow:
    return register_run(store, fake_config(checkpoints={"store": str(bucket)}, iterations=2, **changes))


def play(store: Store, settings: Settings, run: RunRow, trainer: FakeTrainer | None = None) -> RunRow:
    roles = fake_roles(trainer=trainer or StoringTrainer(settings))
    drive(store, settings, run, Recorder(), build=always(roles))
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def rows_of(store: Store, run: RunRow) -> list[CheckpointRow]:
    with store.transaction() as conn:
        return checkpoints.read_checkpoints(conn, run.id)


def test_a_store_changes_nothing_that_a_run_decides(store: Store, store_settings: Settings, stored: Path) -> None:
    run = play(store, store_settings, start(store, stored))
    plain = play(store, store_settings, register_run(store, fake_config(iterations=2)), PublishingTrainer())
    assert fingerprint_of(store, run) == fingerprint_of(store, plain)
    assert [row.digest for row in rows_of(store, run)] == [row.digest for row in rows_of(store, plain)]
    assert {row.path.rpartition("/")[0] for row in rows_of(store, run)} == {f"file://{stored}/{run.stored_name}"}
    assert not list((store_settings.runs_dir / run.folder_name).rglob(MANIFEST))


def test_a_store_that_is_away_pauses_the_run_and_a_resumed_one_loses_nothing(
    store: Store, store_settings: Settings, stored: Path
) -> None:
    run, trainer = start(store, stored), StoringTrainer(store_settings, away=1)
    with pytest.raises(StorageError):
        play(store, store_settings, run, trainer)
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "paused"
    assert play(store, store_settings, run, trainer).status == "finished"
    undisturbed = play(store, store_settings, start(store, stored))
    assert fingerprint_of(store, run) == fingerprint_of(store, undisturbed)


def test_commands_find_what_is_in_the_store_and_delete_only_what_is_the_runs_own(
    store: Store, store_settings: Settings, stored: Path
) -> None:
    run = play(store, store_settings, start(store, stored))
    config = forked_config(run, 1, ["iterations=3"])
    fork = play(store, store_settings, fork_run(store, run, 1, config))
    eva, places = command_line(store_settings, width=300), [row.path for row in rows_of(store, run)]
    listed = json.loads(eva("checkpoints", "list", run.name, "--json").stdout)
    assert [item["address"] for item in listed] == places and {item["folder"] for item in listed} == {None}
    assert all(item["bytes"] == 640 for item in listed)
    assert places[0] in eva("checkpoints", "list", run.name).stdout
    shown = Path(eva("checkpoints", "path", run.name, "--checkpoint", "0").stdout.strip().splitlines()[-1])
    assert shown.parent.parent.name == "cache" and (shown / "model.safetensors").stat().st_size == 640
    assert rows_of(store, fork)[1].path == places[1], "a fork shares checkpoints"

    assert eva("checkpoints", "prune", fork.name, "--keep", "last").exit_code == 0
    assert [row.pruned_at is None for row in rows_of(store, fork)] == [True, True, False, True]
    assert all(stored_damage(row.path, row.digest) is None for row in rows_of(store, run)), "they are the parent's"
    pruned = eva("checkpoints", "prune", run.name, "--keep", "last")
    assert pruned.exit_code == 0 and "0.00 GB freed; 2 of 3" in pruned.stdout
    assert StoredFolder(places[0]).sizes() == {} and StoredFolder(places[2]).sizes() != {}
    assert "pruned" in eva("checkpoints", "path", run.name, "--checkpoint", "0").stderr
    assert eva("delete", run.name, "--purge", "--yes").exit_code == 0
    assert StoredFolder(places[2]).sizes() == {}


def test_a_pruned_run_keeps_the_last_alone_during_play(store: Store, store_settings: Settings, stored: Path) -> None:
    run = register_run(store, fake_config(checkpoints={"store": str(stored), "keep": ["last"]}))
    play(store, store_settings, run)
    there = [row.number for row in rows_of(store, run) if StoredFolder(row.path).sizes()]
    assert there == [row.number for row in rows_of(store, run) if row.pruned_at is None] == [3]


def test_objects_that_vanished_or_changed_are_made_again(store: Store, store_settings: Settings, stored: Path) -> None:
    run = play(store, store_settings, start(store, stored))
    first, second, third = rows_of(store, run)
    StoredFolder(second.path).delete()
    StoredFolder(third.path).write("model.safetensors", b"x" * 640)
    assert repair(store, store_settings, run, Recorder(), StoringTrainer(store_settings)) == [second, third]
    assert all(stored_damage(row.path, row.digest) is None for row in (first, second, third))
