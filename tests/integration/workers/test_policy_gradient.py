"""The policy gradient equals its formulas in float64, written out by hand, and TRL's own losses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eva.config import Training
from workers.training.losses.policy_gradient import PolicyBatch, batch_sum, divisor, policy_gradient

LOSSES = {"rloo": "response", "grpo": "sequence_mean", "dr_grpo": "constant"}
LENGTHS = ("response", "sequence_mean", "token_mean", "constant")
MAX_TOKENS = 9
RESPONSES = (5, 1, 7, 3)
ADVANTAGES = (1.5, -0.75, -2.0, 0.4)
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """Log-probabilities of made-up responses, float64, 0 where there is no token."""

    new: Matrix
    old: Matrix
    engine: Matrix
    reference: Matrix
    tokens: npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def known() -> Known:
    rng = np.random.default_rng(3)
    tokens = np.arange(max(RESPONSES))[None] < np.array(RESPONSES)[:, None]
    new = -rng.exponential(1.5, tokens.shape)
    near = [new + rng.normal(0, spread, tokens.shape) for spread in (0.15, 0.1, 0.4)]
    old, reference = near[0], near[2]
    engine = old + rng.normal(0, 0.5, tokens.shape)
    new, old, engine, reference = (np.where(tokens, each, 0.0) for each in (new, old, engine, reference))
    return Known(new, old, engine, reference, tokens)


def batch_of(known: Known, *, on_policy: bool = False) -> PolicyBatch:
    new = torch.tensor(known.new, requires_grad=True)
    old = new.detach() if on_policy else torch.tensor(known.old)
    engine, reference, tokens = (torch.tensor(each) for each in (known.engine, known.reference, known.tokens))
    return PolicyBatch(new, old, engine, reference, tokens, torch.tensor(ADVANTAGES, dtype=torch.float64))


def loss_of(batch: PolicyBatch, training: Training) -> torch.Tensor:
    length = training.length_handling
    responses, tokens = torch.tensor(float(len(RESPONSES))), batch.tokens_B_T.sum().double()
    terms = policy_gradient(batch, training).terms
    return batch_sum(terms, batch.tokens_B_T, length) / divisor(responses, tokens, length, MAX_TOKENS)


def by_hand(known: Known, training: Training) -> float:
    """The loss, one response and one token at a time."""
    low, high, cap = 1 - training.clip_low, 1 + training.clip_high, training.importance_cap
    length, per_response, token_terms = training.length_handling, [], []
    for row, advantage in enumerate(ADVANTAGES):
        new, old, engine, reference = (
            each[row][known.tokens[row]] for each in (known.new, known.old, known.engine, known.reference)
        )
        kl = np.exp(reference - new) - (reference - new) - 1
        if length == "response":
            ratios, gaps, kls = [np.exp((new - old).sum())], [np.exp((old - engine).sum())], [kl.sum()]
        else:
            ratios, gaps, kls = np.exp(new - old), np.exp(old - engine), kl
        terms = [
            -min(ratio * advantage, min(max(ratio, low), high) * advantage) * (1 if cap is None else min(gap, cap))
            + (training.beta * each if training.kl == "loss" else 0)
            for ratio, gap, each in zip(ratios, gaps, kls, strict=True)
        ]
        per_response.append(np.mean(terms) if length == "sequence_mean" else sum(terms))
        token_terms += terms
    if length == "token_mean":
        return float(np.mean(token_terms))
    return float(np.mean(per_response)) / (MAX_TOKENS if length == "constant" else 1)


@pytest.mark.parametrize(
    "changes", [{}, {"importance_cap": None}, {"kl": "loss"}, {"clip_high": 0.05, "clip_low": 0.1}]
)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_loss_is_what_its_formula_gives_by_hand(known: Known, length: str, changes: dict[str, Any]) -> None:
    training = Training.model_validate({"loss": "grpo", "length": length, "beta": 0.3} | changes)
    assert loss_of(batch_of(known), training).item() == pytest.approx(by_hand(known, training), rel=1e-12)


@pytest.mark.parametrize(("loss", "length"), LOSSES.items())
def test_each_loss_has_its_own_way_with_lengths(loss: str, length: str) -> None:
    assert Training(loss=loss).length_handling == length


@pytest.mark.parametrize("length", LENGTHS)
def test_on_policy_every_ratio_is_1_and_the_gradient_is_the_plain_policy_gradient(known: Known, length: str) -> None:
    training = Training.model_validate({"loss": "rloo", "length": length, "importance_cap": None})
    batch = batch_of(known, on_policy=True)
    gradient = policy_gradient(batch, training)
    assert (gradient.ratio[gradient.ratio != 0] == 1).all() and not gradient.clipped.any()
    loss_of(batch, training).backward()
    tokens_B = known.tokens.sum(axis=1, keepdims=True)
    scale = {
        "response": len(RESPONSES),
        "sequence_mean": len(RESPONSES) * tokens_B,
        "token_mean": tokens_B.sum(),
        "constant": len(RESPONSES) * MAX_TOKENS,
    }[length]
    expected = np.where(known.tokens, -np.array(ADVANTAGES)[:, None] / scale, 0.0)
    assert batch.new_B_T.grad is not None
    np.testing.assert_allclose(batch.new_B_T.grad.numpy(), expected, rtol=1e-12)


def test_a_ratio_beyond_its_bound_has_no_gradient(known: Known) -> None:
    batch, training = batch_of(known), Training(loss="grpo", clip_low=0.02, clip_high=0.02)
    gradient = policy_gradient(batch, training)
    gradient.terms.sum().backward()
    assert batch.new_B_T.grad is not None and gradient.clipped.any()
    assert (batch.new_B_T.grad[gradient.clipped] == 0).all()
    assert (batch.new_B_T.grad[~gradient.clipped & batch.tokens_B_T] != 0).all()


@pytest.fixture(scope="module")
def trl_trainers() -> Iterator[dict[str, Any]]:
    """TRL's trainers, imported as if there were no vLLM: it would be imported too, and TRL warns about its version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("trl.import_utils"), "is_vllm_available", lambda *_, **__: False)
        yield {
            "grpo": import_module("trl.trainer.grpo_trainer").GRPOTrainer,
            "rloo": import_module("trl.trainer.rloo_trainer").RLOOTrainer,
        }


class Accelerator:
    """Stands for one process."""

    num_processes = 1

    def reduce(self, values: Any, reduction: str) -> Any:
        return values

    def gather(self, values: Any) -> Any:
        return values


def of_trl(trainer: Any, known: Known, **own: Any) -> torch.Tensor:
    """Calls TRL's own `_compute_loss` on made-up log-probabilities."""
    new = torch.tensor(known.new, requires_grad=True)
    of_model = (new, torch.zeros_like(new), None)
    stand_in = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: of_model,
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        epsilon_low=0.2,
        epsilon_high=0.2,
        _metrics={"train": defaultdict(list)},
        **own,
    )
    ids = torch.zeros(known.new.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ids[:, :1] + 1,
        "completion_ids": ids,
        "completion_mask": torch.tensor(known.tokens).long(),
        "advantages": torch.tensor(ADVANTAGES, dtype=torch.float64),
        "old_per_token_logps": torch.tensor(known.old),
        "old_logps": torch.tensor(known.old.sum(axis=1)),
        "ref_per_token_logps": torch.tensor(known.reference),
        "importance_sampling_ratio": torch.tensor(np.minimum(np.exp(known.old - known.engine), 2.0)),
        "num_items_in_batch": torch.tensor(known.tokens.sum()),
    }
    loss = trainer._compute_loss(stand_in, None, inputs)
    loss.backward()
    return torch.stack([loss.detach(), *new.grad.flatten()]) if new.grad is not None else loss


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize(
    ("loss_type", "length"), [("grpo", "sequence_mean"), ("dr_grpo", "constant"), ("dapo", "token_mean")]
)
def test_loss_and_gradient_are_those_of_trls_grpo_trainer(
    known: Known, loss_type: str, length: str, beta: float, trl_trainers: dict[str, Any]
) -> None:
    expected = of_trl(
        trl_trainers["grpo"],
        known,
        loss_type=loss_type,
        beta=beta,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS,
        _entropy_bonus_enabled=False,
    )
    changes = {"kl": "loss", "beta": beta} if beta else {}
    training, batch = Training.model_validate({"loss": "grpo", "length": length} | changes), batch_of(known)
    loss = loss_of(batch, training)
    loss.backward()
    assert batch.new_B_T.grad is not None
    torch.testing.assert_close(torch.stack([loss.detach(), *batch.new_B_T.grad.flatten()]), expected)


def test_loss_and_gradient_are_those_of_trls_rloo_trainer(known: Known, trl_trainers: dict[str, Any]) -> None:
    training, batch = Training(loss="rloo", importance_cap=None), batch_of(known)
    loss = loss_of(batch, training)
    loss.backward()
    assert batch.new_B_T.grad is not None
    expected = of_trl(trl_trainers["rloo"], known)
    torch.testing.assert_close(torch.stack([loss.detach(), *batch.new_B_T.grad.flatten()]), expected)
