"""Two processes (gloo) that share the weights, or the batch alone, learn what one learns, and store the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from eva.config import Model, Training
from eva.solver.weighted_responses import write_weighted_responses
from eva.types import SamplingSettings, TrainingJob
from tests.support import tiny_models
from tests.support.sampled_responses import sample_responses
from tests.support.training_group import write_result
from workers.training import checkpoint_files
from workers.training.canary import measure
from workers.training.job import publish_model
from workers.training.optimisation import optimise

pytestmark = pytest.mark.usefixtures("one_thread")

MAKERS: dict[str, tiny_models.Maker] = {
    "llama": tiny_models.llama,
    "qwen3": tiny_models.qwen3,
    "gemma2": tiny_models.gemma2,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    # First: accelerate remembers FSDP in the environment of a process, which in a run trains once.
    "llama-ddp": ("llama", {"loss": "dpo", "sharding": "ddp"}),
    "llama-rloo-ddp": ("llama", {"loss": "rloo", "sharding": "ddp"}),
    "gemma2-grpo": ("gemma2", {"loss": "grpo", "length": "token_mean", "kl": "loss", "reference_tokens": 64}),
    "gemma2-dpo": ("gemma2", {"loss": "dpo", "activation_checkpointing": True, "reference_tokens": 256}),
    "gemma2-orpo": ("gemma2", {"loss": "orpo", "activation_checkpointing": True}),
    "llama-dpo": ("llama", {"loss": "dpo"}),
    "llama-simpo": ("llama", {"loss": "simpo"}),
    "qwen3-sppo": ("qwen3", {"loss": "sppo", "reference_tokens": 256}),
}
TRAINING = Training(beta=0.1, learning_rate=1e-3, batch=8, per_device_batch=2, epochs=1, adam_beta2=0.95)
WORLD = 2


def odd(tokens: Sequence[int]) -> float:
    return sum(token % 2 for token in tokens) / len(tokens)


def sharding(case: str) -> str:
    return CASES[case][1].get("sharding", "fsdp2")


@dataclass(frozen=True)
class Trained:
    """What a training wrote: the figures of each step, and the policy's folder."""

    steps: list[dict[str, float]]
    folder: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharding")


@pytest.fixture(scope="module")
def jobs(folder: Path) -> dict[str, tuple[TrainingJob, Training, Model]]:
    pairs = folder / "pairs.jsonl"
    rows = [
        {
            "prompt": f"prompt {number}",
            "chosen": "a" * (2 + number % 5),
            "rejected": "cd" * (1 + number % 4),
            "chosen_reward": 0.9,
            "rejected_reward": 0.1,
        }
        for number in range(24)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = {name: Model(path=str(make(folder / name, tied=True))) for name, make in MAKERS.items()}
    initial = {name: publish_model(model, Training(), folder / f"{name}-initial") for name, model in models.items()}
    responses = {name: folder / f"{name}.parquet" for name in initial}
    # With seed 0 one gradient nearly vanishes, and AdamW makes a step of its rounding.
    for name, policy in initial.items():
        write_weighted_responses(responses[name], sample_responses(Path(policy.path), odd, prompts=6, seed=1))

    def job(case: str, name: str, training: Training) -> TrainingJob:
        plain = TrainingJob(1, 0, initial[name], initial[name], str(pairs), str(folder / case), seed=7)
        sampling = SamplingSettings(1.0, 1.0, 6)
        return replace(plain, pairs_path=str(responses[name]), sampling=sampling) if training.facts.online else plain

    trainings = {
        case: TRAINING.model_copy(update={key: value for key, value in keys.items() if key != "sharding"})
        for case, (_, keys) in CASES.items()
    }
    return {
        case: (job(case, name, trainings[case]), trainings[case], models[name]) for case, (name, _) in CASES.items()
    }


@pytest.fixture(scope="module")
def divided(jobs: dict[str, tuple[TrainingJob, Training, Model]], folder: Path) -> dict[str, Trained]:
    """Every case on two processes, one group for all of them."""
    specification = folder / "specification.json"
    asked = [
        {
            "job": asdict(job),
            "training": training.model_dump(mode="json") | {"devices": WORLD, "sharding": sharding(case)},
            "model": model.model_dump(mode="json"),
            "out": str(folder / f"{case}-divided"),
        }
        for case, (job, training, model) in jobs.items()
    ]
    specification.write_text(json.dumps({"store": str(folder / "store"), "world": WORLD, "jobs": asked}))
    command = [sys.executable, "-m", "tests.support.training_group"]
    # No GPU, and one thread each: three processes that spin on two cores would hold each other up.
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(specification)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * WORLD, errors[0][-3000:] + errors[1][-3000:]
    return {case: read(folder / f"{case}-divided") for case in jobs}


@pytest.fixture(scope="module")
def whole(jobs: dict[str, tuple[TrainingJob, Training, Model]], folder: Path) -> dict[str, Trained]:
    """Every case in this process alone, without activation checkpointing."""
    for case, (job, training, model) in jobs.items():
        plain = training.model_copy(update={"activation_checkpointing": None})
        write_result(optimise(job, plain, model), job, folder / f"{case}-whole")
    return {case: read(folder / f"{case}-whole") for case in jobs}


def read(folder: Path) -> Trained:
    return Trained(json.loads((folder / "steps.json").read_text()), folder)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_that_share_the_weights_learn_the_same_as_one(
    case: str,
    jobs: dict[str, tuple[TrainingJob, Training, Model]],
    divided: dict[str, Trained],
    whole: dict[str, Trained],
) -> None:
    one, two = whole[case], divided[case]
    assert len(two.steps) == len(one.steps) == 3
    online = ("ratio", "clip_share", "kl_k3", "entropy", "gap", "advantage_sd")
    facts = jobs[case][1].facts
    preferred = ("rewards/margins", "logps_sum/chosen", *(() if facts.reference_free else ("kl_k3",)))
    for key in ("loss", "grad_norm", *(online if facts.online else preferred)):
        assert [step[key] for step in two.steps] == pytest.approx([step[key] for step in one.steps], rel=1e-5, abs=2e-6)
    before = load_file(Path(jobs[case][0].policy.path) / "model.safetensors")
    after, gathered = load_file(one.folder / "model.safetensors"), load_file(two.folder / "model.safetensors")
    assert gathered.keys() == after.keys() == before.keys()
    for name, weights in after.items():
        assert (weights - before[name]).abs().max() > 1e-4
        torch.testing.assert_close(gathered[name], weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", ["gemma2-dpo", "llama-dpo", "qwen3-sppo"])
def test_gathered_weights_are_stored_as_one_process_stores_them_and_load_in_transformers(
    case: str, divided: dict[str, Trained], whole: dict[str, Trained]
) -> None:
    files = [sorted(file.name for file in kind[case].folder.iterdir()) for kind in (divided, whole)]
    assert files[0] == files[1]
    loaded = AutoModelForCausalLM.from_pretrained(divided[case].folder, attn_implementation="eager").eval()
    assert loaded.config.tie_word_embeddings
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    ids = list(range(5, 29))
    assert measure(loaded, ids) == pytest.approx(
        measure(checkpoint_files.load_policy(whole[case].folder), ids), abs=1e-4
    )
