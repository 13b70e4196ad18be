"""A study with every real part: its workers stay up, and its runs decide what they would have decided alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from eva.settings import Settings
from eva.studies.files import complete_study
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.studies.opening import open_study
from orchestrator.studies.player import play_study
from orchestrator.warm_workers import WarmWorkers
from orchestrator.watch.listener import NoListener
from store.game import checkpoints
from store.rows import RunRow
from store.session import Store
from tests.support.decisions import fingerprint_of
from workers.playground import MODEL_DIR

pytestmark = pytest.mark.usefixtures("ray_cluster")


def other_solver(folder: Path) -> Path:
    """Another given model of the same shape: the playground's with small changes of its weights."""
    shutil.copytree(MODEL_DIR, folder)
    generator = torch.Generator().manual_seed(1)
    weights = load_file(folder / "model.safetensors")
    moved = {name: value + 0.01 * torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    save_file({name: value.half() for name, value in moved.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_studys_workers_stay_up_and_its_runs_decide_what_they_would_have_decided_alone(
    store: Store, tmp_path: Path
) -> None:
    study = complete_study(
        {
            "name": "warm",
            "base": "playground",
            "set": {"prompts.playground": 12, "iterations": 2, "evaluation.playground": 3, "training.batch": 4},
            "arms": {"regret": {}, "greedy": {"sampling.sampler": "greedy"}},
            "seeds": 1,
            "models": ["playground", str(other_solver(tmp_path / "other"))],
            "outcome": {"figure": "heldout.hard.sampled.accuracy"},
            "match": {"steps": 1},
        },
        tmp_path,
    )
    settings = Settings(tmp_path, None, None)
    opened = open_study(store, study, str(tmp_path))
    actors: list[Any] = []
    with WarmWorkers(settings) as warm:

        def play(run: RunRow) -> None:
            drive(store, settings, run, NoListener(), warm=warm)
            assert warm.engines is not None
            actors.append(warm.engines.engines.actor(0))

        played = play_study(store, opened.row, opened.plan.runs, play, lambda each: None)
        assert [each.error for each in played] == [None] * 6
        assert all(actor is actors[0] for actor in actors), "the engine was started once"
        last = played[-1].run
        assert last is not None
    alone = register_run(store, played[-1].planned.config)
    drive(store, settings, alone, NoListener())
    assert fingerprint_of(store, last) == fingerprint_of(store, alone)
    for each in played:
        assert each.run is not None
        logs = settings.logs_dir / each.run.folder_name
        assert f"run={each.run.name}" in (logs / "engine-0.log").read_text()
        assert f"run={each.run.name}" in (logs / "trainer.log").read_text()
    with store.transaction() as conn:
        assert {len(checkpoints.read_training_steps(conn, each.run.id, 1)) for each in played if each.run} == {1}
