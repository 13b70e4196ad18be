"""Real policy gradients on models of 100k parameters: on-policy at first, then towards what is rewarded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.solver.advantages import RULES
from eva.solver.weighted_responses import WeightedResponse, iter_weighted_responses, write_weighted_responses
from eva.types import Checkpoint, SamplingSettings, TrainingJob
from tests.support import tiny_models
from tests.support.sampled_responses import sample_responses
from workers.training import checkpoint_files
from workers.training.job import publish_model, run_job
from workers.training.optimisation import OptimisationResult, optimise

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPERATURE = 0.7
SAMPLING = SamplingSettings(TEMPERATURE, 1.0, 6)
MAKERS: dict[str, tiny_models.Maker] = {
    "llama": tiny_models.llama,
    "qwen2": tiny_models.qwen2,
    "gemma2": tiny_models.gemma2,
}
TRAINING = Training(loss="rloo", learning_rate=3e-4, batch=8, epochs=1, warmup_ratio=0, schedule="constant")


def odd(tokens: Sequence[int]) -> float:
    """The share of tokens with an odd number."""
    return sum(token % 2 for token in tokens) / len(tokens)


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    folder = tmp_path_factory.mktemp("policies")
    return {
        name: publish_model(Model(path=str(make(folder / name))), TRAINING, folder / f"{name}-run")
        for name, make in MAKERS.items()
    }


@pytest.fixture(scope="module")
def sampled(initial: dict[str, Checkpoint]) -> dict[str, list[WeightedResponse]]:
    return {name: sample_responses(Path(policy.path), odd, temperature=TEMPERATURE) for name, policy in initial.items()}


Train = Callable[..., OptimisationResult]


@pytest.fixture
def train(initial: dict[str, Checkpoint], sampled: dict[str, list[WeightedResponse]], tmp_path: Path) -> Train:
    """Trains on what the policy sampled; keywords change the config."""

    def trained(name: str = "llama", compared_with: Checkpoint | None = None, **changes: Any) -> OptimisationResult:
        file = tmp_path / "responses.parquet"
        write_weighted_responses(file, sampled[name])
        policy = initial[name]
        job = TrainingJob(1, 0, policy, compared_with or policy, str(file), str(tmp_path), 2**62 + 1, sampling=SAMPLING)
        training = Training.model_validate(TRAINING.model_dump() | changes)
        return optimise(job, training, Model(path=policy.path))

    return trained


def logprobs(policy: Any, row: WeightedResponse, temperature: float = TEMPERATURE) -> np.ndarray[Any, Any]:
    """The log-probabilities of a row's tokens, float64, nothing padded."""
    ids = torch.tensor([[*row.prompt_ids.tolist(), *row.token_ids_T.tolist()]])
    with torch.no_grad():
        scores = (policy.double()(ids).logits[0, :-1] / temperature).log_softmax(-1)
    return scores.gather(1, ids[0, 1:, None])[len(row.prompt_ids) - 1 :, 0].numpy()


def test_rows_are_read_as_they_were_written_in_one_order(
    sampled: dict[str, list[WeightedResponse]], tmp_path: Path
) -> None:
    rows, files = sampled["llama"], [tmp_path / "one.parquet", tmp_path / "other.parquet"]
    assert write_weighted_responses(files[0], rows) == write_weighted_responses(files[1], rows[::-1]) == len(rows)
    assert files[0].read_bytes() == files[1].read_bytes()
    for read, row in zip(iter_weighted_responses(files[0]), rows, strict=True):
        assert (read.number, read.sample, read.reward, read.advantage) == (
            row.number,
            row.sample,
            row.reward,
            row.advantage,
        )
        for name in ("prompt_ids", "token_ids_T", "logprobs_T"):
            assert getattr(read, name).tolist() == getattr(row, name).tolist()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("loss", ["rloo", "grpo"])
def test_the_first_step_is_on_policy_and_trainer_and_sampler_agree(name: str, loss: str, train: Train) -> None:
    first = train(name, loss=loss).steps[0].values
    assert first["ratio"] == pytest.approx(1, abs=1e-4)
    assert first["clip_share"] == 0 and first["kl_k3"] == pytest.approx(0, abs=1e-5)
    assert first["gap"] < 1e-5, "another temperature or another prompt than the one that was sampled with"
    assert 0 < first["entropy"] < 6 and first["response_tokens"] == pytest.approx(5.5)


def test_a_step_moves_log_probabilities_along_the_advantages(
    train: Train, initial: dict[str, Checkpoint], sampled: dict[str, list[WeightedResponse]]
) -> None:
    """One step of plain gradient descent on all rows, against the gradient by hand in float64."""
    rows = sampled["llama"]
    trained = train(batch=len(rows), optimiser="rmsprop", max_steps=1, learning_rate=1e-5).policy
    before = checkpoint_files.load_policy(initial["llama"].path)
    moved = [logprobs(trained, row).sum() - logprobs(before, row).sum() for row in rows]
    assert np.dot(moved, [row.advantage for row in rows]) > 0


@pytest.mark.parametrize("length", ["response", "sequence_mean", "token_mean", "constant"])
def test_a_batch_in_parts_teaches_what_it_teaches_at_once(length: str, train: Train) -> None:
    whole, parts = (
        train(length=length, per_device_batch=size, max_grad_norm=1e9).policy.state_dict() for size in (8, 2)
    )
    for name, weights in whole.items():
        torch.testing.assert_close(parts[name], weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", ["rloo", "grpo", "dr_grpo"])
def test_training_moves_the_policy_towards_what_is_rewarded(
    loss: str, initial: dict[str, Checkpoint], tmp_path: Path
) -> None:
    def reward_of(policy: Path) -> float:
        return float(np.mean([row.reward for row in sample_responses(policy, odd, prompts=16, n=16, seed=9)]))

    file, policy = tmp_path / "responses.parquet", initial["llama"]
    write_weighted_responses(file, sample_responses(Path(policy.path), odd, prompts=16, n=8, rule=loss))
    sampling = replace(SAMPLING, temperature=1.0)
    job = TrainingJob(1, 0, policy, policy, str(file), str(tmp_path / "run"), 7, sampling=sampling)
    rate = {"rloo": 2e-3, "grpo": 5e-3, "dr_grpo": 1e-2}[loss]
    training = Training.model_validate(TRAINING.model_dump() | {"loss": loss, "batch": 32, "learning_rate": rate})
    trained = run_job(job, training, Model(path=policy.path))
    assert reward_of(Path(trained.checkpoint.path)) > reward_of(Path(policy.path)) + 0.05
    assert run_job(job, training, Model(path=policy.path)) == trained, "a finished job is trained again"


def test_kl_in_the_loss_is_the_k3_estimate_to_the_reference(
    train: Train, initial: dict[str, Checkpoint], sampled: dict[str, list[WeightedResponse]], tmp_path: Path
) -> None:
    other = publish_model(Model(path=str(tiny_models.llama(tmp_path / "other", seed=1))), TRAINING, tmp_path / "run")
    rows = sampled["llama"]
    policy, reference = (checkpoint_files.load_policy(one.path) for one in (initial["llama"], other))
    differences = [logprobs(reference, row) - logprobs(policy, row) for row in rows]
    expected = np.mean([(np.exp(each) - each - 1).sum() for each in differences])
    changes = {"kl": "loss", "beta": 0.3, "batch": len(rows), "importance_cap": None, "reference": "initial"}
    step = train(compared_with=other, **changes).steps[0].values
    assert step["kl_reference"] == pytest.approx(expected, rel=1e-4)
    plain = -np.mean([row.advantage for row in rows])
    assert step["loss"] == pytest.approx(plain + 0.3 * expected, rel=1e-4)


def test_kl_in_the_reward_changes_the_advantages(
    train: Train, initial: dict[str, Checkpoint], sampled: dict[str, list[WeightedResponse]], tmp_path: Path
) -> None:
    other = publish_model(Model(path=str(tiny_models.llama(tmp_path / "other", seed=1))), TRAINING, tmp_path / "run")
    rows = sampled["llama"]
    policy, reference = (checkpoint_files.load_policy(one.path) for one in (initial["llama"], other))
    rewards = [row.reward - 0.3 * (logprobs(policy, row) - logprobs(reference, row)).sum() for row in rows]
    advantages = RULES["rloo"](np.array(rewards).reshape(-1, 4))
    changes = {"kl": "reward", "beta": 0.3, "batch": len(rows), "reference": "initial"}
    step = train(compared_with=other, **changes).steps[0].values
    assert step["advantage_sd"] == pytest.approx(advantages.std(), rel=1e-4)


def test_adapters_start_on_policy_and_learn(train: Train, initial: dict[str, Checkpoint]) -> None:
    trained = train(lora={"rank": 4, "alpha": 8}, learning_rate=1e-2)
    assert trained.steps[0].values["ratio"] == pytest.approx(1, abs=1e-4)
    assert trained.steps[-1].values["kl_k3"] > 1e-3
    before = checkpoint_files.load_policy(initial["llama"].path).state_dict()
    assert any((weights - before[name]).abs().max() > 1e-4 for name, weights in trained.policy.state_dict().items())


def test_what_is_too_long_is_dropped_and_counted_and_nothing_at_all_is_an_error(train: Train) -> None:
    assert train(max_length=7).dropped == {"longer than 7 tokens": 16}
    with pytest.raises(TrainingFailedError, match="No response is left to train on"):
        train(max_length=2)
