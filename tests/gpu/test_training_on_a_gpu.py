"""Training on a GPU: it happens there, in half precision, and learns what the CPU learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eva.config import Model, Training
from eva.types import Checkpoint, TrainingJob
from tests.support import tiny_models
from workers.training import checkpoint_files
from workers.training.job import publish_model
from workers.training.optimisation import OptimisationResult, optimise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

TRAINING = Training(beta=0.1, learning_rate=1e-3, batch=8, per_device_batch=4, epochs=1, adam_beta2=0.95)
Ask = Callable[..., TrainingJob]


@pytest.fixture(params=["llama", "gemma2"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return Model(path=str(getattr(tiny_models, request.param)(tmp_path / "model")))


@pytest.fixture
def job(model: Model, tmp_path: Path) -> TrainingJob:
    initial: Checkpoint = publish_model(model, TRAINING, tmp_path / "initial")
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"prompt {number}", "chosen": "a" * (2 + number % 5), "rejected": "cd" * (1 + number % 4)}
        for number in range(24)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TrainingJob(1, 0, initial, initial, str(pairs), str(tmp_path / "run"), seed=7)


def losses(optimised: OptimisationResult) -> list[float]:
    return [step.values["loss"] for step in optimised.steps]


@pytest.mark.parametrize(
    "keys",
    [{}, {"loss": "orpo"}, {"loss": "simpo"}, {"lora": {"rank": 4}}, {"attention": "flex"}, {"reference_tokens": 256}],
    ids=str,
)
def test_a_gpu_learns_what_the_cpu_learns_up_to_half_precision(
    keys: dict[str, Any], job: TrainingJob, model: Model
) -> None:
    training = Training.model_validate(TRAINING.model_dump() | keys)
    on_cpu = optimise(job, training.model_copy(update={"attention": "auto"}), model, gpu=False)
    torch.cuda.reset_peak_memory_stats()
    on_gpu = optimise(job, training, model, gpu=True)
    assert torch.cuda.max_memory_allocated() > 1e5
    assert losses(on_gpu) == pytest.approx(losses(on_cpu), rel=0.05, abs=0.02)
    assert all(
        weights.dtype == torch.float32 and weights.device.type == "cpu" for weights in on_gpu.policy.parameters()
    )


def test_equal_weights_give_a_loss_of_ln_2_before_the_first_step(job: TrainingJob, model: Model) -> None:
    """Policy and reference compute in the same precision."""
    for keys in ({}, {"lora": {"rank": 4}}):
        training = Training.model_validate(TRAINING.model_dump() | keys)
        assert losses(optimise(job, training, model, gpu=True))[0] == pytest.approx(0.6931, abs=2e-3)


def test_flex_attention_and_its_gradients_equal_eager_ones_under_soft_caps(tmp_path: Path) -> None:
    folder = tiny_models.gemma2(tmp_path)
    gradients: dict[str, dict[str, torch.Tensor]] = {}
    for name in ("eager", "flex"):
        loaded = checkpoint_files.load_policy(folder, attention=name).to("cuda")
        for layer in loaded.model.layers:
            layer.self_attn.attn_logit_softcapping = 0.05
        ids = torch.arange(3, 131, device="cuda")[None]
        loaded(ids, labels=ids).loss.backward()
        gradients[name] = {key: weights.grad.cpu() for key, weights in loaded.named_parameters()}
    for key, expected in gradients["eager"].items():
        torch.testing.assert_close(gradients["flex"][key], expected, atol=2e-3, rtol=2e-2)


def test_a_step_without_full_logits_takes_less_memory_than_they_would(tmp_path: Path) -> None:
    """The head of ORPO at a vocabulary like Gemma's: two rows of 1,024 tokens would make 2 GB of logits."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    config = LlamaConfig(
        vocab_size=256_000, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    with torch.device("cuda"):
        plain = LlamaForCausalLM(config).bfloat16()
    add_fused_lm_head(plain)
    ids = torch.randint(0, 256_000, (2, 1024), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    plain(input_ids=ids, labels=ids, fused_lm_head=True).log_probs.sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 2 * 1024 * 256_000 * 4 / 2


@pytest.mark.skipif(find_spec("torchao") is None, reason="the extra low-memory is not installed")
def test_the_8_bit_optimiser_learns(job: TrainingJob, model: Model) -> None:
    training = TRAINING.model_copy(update={"optimiser": "adamw_8bit", "epochs": 2})
    found = losses(optimise(job, training, model, gpu=True))
    assert found[-1] < found[0] - 0.1


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("keys", [{}, {"offload": True}, {"sharding": "ddp"}], ids=str)
def test_two_gpus_learn_what_one_learns(keys: dict[str, Any], job: TrainingJob, model: Model, tmp_path: Path) -> None:
    one = optimise(job, TRAINING, model, gpu=True)
    out, specification = tmp_path / "two", tmp_path / "specification.json"
    asked = {
        "job": asdict(job),
        "training": TRAINING.model_dump(mode="json") | {"devices": 2} | keys,
        "model": model.model_dump(mode="json"),
        "out": str(out),
    }
    specification.write_text(json.dumps({"store": str(tmp_path / "store"), "world": 2, "jobs": [asked], "gpu": True}))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.training_group", str(rank), str(specification)], env=dict(os.environ)
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    steps = json.loads((out / "steps.json").read_text())
    assert [step["loss"] for step in steps] == pytest.approx(losses(one), rel=0.05, abs=0.02)
    assert load_file(out / "model.safetensors").keys() == load_file(Path(job.policy.path) / "model.safetensors").keys()
