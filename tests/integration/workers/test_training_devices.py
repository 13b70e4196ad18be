"""A job on two devices (two processes, gloo) through Ray Train, with its weights divided between them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eva.config import Model, Training
from eva.runtime import failpoints
from eva.runtime.worker_reports import StepListener
from eva.settings import Settings
from eva.types import ChunkPairs, TrainingJob, TrainingResult, TrainingStep
from tests.support import tiny_models
from tests.support.ray_fixtures import tiny_config
from workers.training.adapters.adapter_files import read_adapter
from workers.training.checkpoints import verify
from workers.training.job import publish_model, run_job
from workers.training.trainer import LocalTrainer


def test_a_divided_job_killed_in_the_middle_is_done_again_and_ends_with_the_digest_of_an_undisturbed_one(
    ray_cluster: Settings, tmp_path: Path
) -> None:
    model = Model(path=str(tiny_models.gemma2(tmp_path / "model", tied=True)))
    # 28 pairs in batches of 8: the last batch has 4, two for each device
    rows = [
        {"prompt": f"prompt {number}", "chosen": "a" * (2 + number % 5), "rejected": "cd" * (1 + number % 4)}
        for number in range(28)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    training = Training(
        beta=0.1, learning_rate=1e-3, batch=8, per_device_batch=2, epochs=1, devices=2, sharding="fsdp2"
    )
    initial = publish_model(model, training, tmp_path / "initial")
    job = TrainingJob(1, 0, initial, initial, str(pairs), str(tmp_path / "killed"), seed=7)
    config = tiny_config(model.path).model_copy(update={"training": training})
    told: list[TrainingStep] = []
    killed: list[int] = []

    def kill_once(step: TrainingStep, _total: int) -> None:
        told.append(step)
        if step.step == 2 and not killed:
            killed.append(process_id(trainer))
            os.kill(killed[0], signal.SIGKILL)

    with LocalTrainer(config, ray_cluster.logs_dir / "devices") as trainer:
        found = trainer.train(job, kill_once)
        undisturbed = trainer.train(replace(job, folder=str(tmp_path / "undisturbed")), lambda step, _: None)
    assert killed
    assert tuple(told[-4:]) == found.steps == undisturbed.steps
    verify(Path(found.checkpoint.path), found.checkpoint.digest)
    assert found.checkpoint.digest == undisturbed.checkpoint.digest, "bit for bit as if nothing had happened"
    assert not list((tmp_path / "undisturbed").glob(".training-*"))


def test_devices_that_share_the_weights_stay_from_chunk_to_chunk_and_a_killed_group_goes_on_from_its_state(
    ray_cluster: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = Model(path=str(tiny_models.llama(tmp_path / "model")))
    training = in_chunks(sharding="fsdp2", activation_checkpointing=True, state_every=1)
    initial = publish_model(model, training, tmp_path / "initial")
    config = tiny_config(model.path).model_copy(update={"training": training})
    chunks = tuple(ChunkPairs(str(write_chunk(tmp_path / f"pairs-{number}.jsonl", number)), 1) for number in range(3))
    killed: list[int] = []
    states: list[str] = []
    retold: list[int] = []

    def kill_once(step: TrainingStep, _total: int) -> None:
        retold.append(step.step)
        if step.step == 2 and not killed:
            states.extend(file.name for file in sorted((tmp_path / "killed" / "states").rglob("*.safetensors")))
            killed.append(process_id(trainer))
            os.kill(killed[0], signal.SIGKILL)

    def play(folder: Path, report: StepListener) -> list[TrainingResult]:
        job = TrainingJob(1, 0, initial, initial, "", str(folder), 7, chunks=chunks, planned_steps=3)
        parts = (replace(job, chunks=chunks[:count], hand_over=str(folder / "inside")) for count in (1, 2))
        return [trainer.train(part, report) for part in (*parts, job)]

    # the group waits for its kill before it stores the second chunk's state
    failpoints.arm("training.chunk_trained=sleep:5@2")
    request.addfinalizer(lambda: failpoints.arm(""))
    with LocalTrainer(config, ray_cluster.logs_dir / "chunks") as trainer:
        disturbed = play(tmp_path / "killed", kill_once)
        undisturbed = play(tmp_path / "undisturbed", lambda step, total: None)
    assert killed and states == ["state-00000.safetensors", "state-00001.safetensors"], "each device stores its part"
    assert retold == [1, 2, 2, 3], "the new group goes on from the stored state after the first chunk"
    for one, other in zip(disturbed, undisturbed, strict=True):
        assert one.checkpoint.digest == other.checkpoint.digest, "bit for bit as if nothing had happened"
    assert [step.step for step in undisturbed[-1].steps] == [1, 2, 3]
    # one process on one device, whose sums are added in another order
    alone = training.model_copy(update={"devices": 1, "sharding": "auto", "activation_checkpointing": None})
    job = TrainingJob(1, 0, initial, initial, "", str(tmp_path / "alone"), 7, chunks=chunks, planned_steps=3)
    single = run_job(job, alone, model)
    weights = [load_file(Path(result.checkpoint.path) / "model.safetensors") for result in (undisturbed[-1], single)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=2e-6, rtol=0)


def test_adapters_on_two_devices_are_those_of_one_and_each_policy_says_what_it_is_added_to(
    ray_cluster: Settings, tmp_path: Path
) -> None:
    model = Model(path=str(tiny_models.llama(tmp_path / "model")))
    training = in_chunks(lora={"rank": 4, "serve": "adapter"})
    initial = publish_model(model, training, tmp_path / "initial")
    chunks = tuple(ChunkPairs(str(write_chunk(tmp_path / f"pairs-{number}.jsonl", number)), 1) for number in range(2))
    job = TrainingJob(1, 0, initial, initial, "", str(tmp_path / "two"), 7, chunks=chunks, planned_steps=2)
    first = replace(job, chunks=chunks[:1], hand_over=f"{job.folder}/inside/iteration-0000")
    config = tiny_config(model.path).model_copy(update={"training": training})
    with LocalTrainer(config, ray_cluster.logs_dir / "adapters") as trainer:
        handed = [trainer.train(part, lambda step, total: None).checkpoint for part in (first, job)]
    alone = run_job(replace(job, folder=str(tmp_path / "one")), training.model_copy(update={"devices": 1}), model)
    for checkpoint in handed:
        adapter = read_adapter(checkpoint)
        assert adapter is not None and (adapter.rank, adapter.base.path) == (4, initial.path)
    two, one = (load_file(Path(each.path) / "model.safetensors") for each in (handed[-1], alone.checkpoint))
    for name, tensor in two.items():
        torch.testing.assert_close(tensor, one[name], atol=2e-6, rtol=0)


def in_chunks(**more: Any) -> Training:
    """Two devices that take one step of four pairs for each chunk."""
    common = {"beta": 0.1, "learning_rate": 1e-3, "batch": 4, "per_device_batch": 2, "epochs": 1, "devices": 2}
    return Training.model_validate(common | {"sync_every": 1} | more)


def write_chunk(file: Path, number: int) -> Path:
    rows = [
        {"prompt": f"prompt {number} {row}", "chosen": "a" * (2 + row + number), "rejected": "cd" * (1 + row)}
        for row in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def process_id(trainer: LocalTrainer) -> int:
    """The process that started the devices' processes, asked beside its job."""
    import ray

    asked = trainer._process().__ray_call__.options(concurrency_group="watch")
    return ray.get(asked.remote(lambda _: os.getpid()))
