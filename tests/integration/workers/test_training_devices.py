"""One job on two devices (two processes, gloo) through Ray Train learns what one device learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eva.config import Model, Training
from eva.settings import Settings
from eva.types import TrainingJob, TrainingResult, TrainingStep
from tests.support import tiny_models
from tests.support.ray_fixtures import tiny_config
from workers.training import checkpoint_files
from workers.training.checkpoints import verify
from workers.training.job import publish_model, run_job
from workers.training.trainer import LocalTrainer


def test_two_devices_take_the_same_global_batches_and_learn_the_same_as_one(
    ray_cluster: Settings, tmp_path: Path
) -> None:
    model = Model(path=str(tiny_models.llama(tmp_path / "model")))
    initial = publish_model(model, Training(), tmp_path / "initial")
    # 28 pairs in batches of 8: the last batch has 4, two for each device
    rows = [
        {"prompt": f"prompt {number}", "chosen": "a" * (2 + number % 5), "rejected": "cd" * (1 + number % 4)}
        for number in range(28)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))

    told: list[TrainingStep] = []
    training = Training(beta=0.1, learning_rate=1e-3, batch=8, per_device_batch=2, epochs=2, adam_beta2=0.95)
    job = TrainingJob(1, 0, initial, initial, str(pairs), str(tmp_path / "on-1"), seed=7)
    one = run_job(job, training, model)
    config = tiny_config(model.path).model_copy(update={"training": training.model_copy(update={"devices": 2})})
    with LocalTrainer(config, ray_cluster.logs_dir / "devices") as trainer:
        two = trainer.train(replace(job, folder=str(tmp_path / "on-2")), lambda step, _: told.append(step))
    assert tuple(told) == two.steps
    assert len(two.steps) == len(one.steps) == 8
    for key in ("loss", "rewards/margins", "logps/chosen", "learning_rate", "grad_norm", "kl"):
        assert column(two, key) == pytest.approx(column(one, key), rel=2e-2, abs=2e-3)
    verify(Path(two.checkpoint.path), two.checkpoint.digest)
    after_one, after_two = (checkpoint_files.load_policy(done.checkpoint.path).state_dict() for done in (one, two))
    before = checkpoint_files.load_policy(initial.path).state_dict()
    for name, weights in after_one.items():
        moved = (weights - before[name]).abs().max()
        assert (after_two[name] - weights).abs().max() < 0.1 * moved
    assert not list((tmp_path / "on-2").glob(".training-*"))


def column(trained: TrainingResult, key: str) -> list[Any]:
    return [step.values[key] for step in trained.steps]
