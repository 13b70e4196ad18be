"""The policy gradient of online losses: tensors of log-probabilities in, the loss of a batch out.

Letters in tensor names: B responses of a forward pass, T the positions of their rows. Positions that are no token of a
response count nothing. All log-probabilities are in nats, under the distribution that was sampled from: the engine's
temperature divides the trainer's logits, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eva.config import Training
from eva.solver.losses import Length


@dataclass(frozen=True, slots=True, eq=False)
class PolicyBatch:
    """What a forward pass of the policy gives, and what is known of its responses.

    `new_B_T` has a gradient. `old_B_T`: of the policy that sampled, by the trainer; `engine_B_T`: by the engine;
    `reference_B_T`: of the reference. `tokens_B_T` marks the responses' tokens.
    """

    new_B_T: torch.Tensor
    old_B_T: torch.Tensor
    engine_B_T: torch.Tensor
    reference_B_T: torch.Tensor
    tokens_B_T: torch.Tensor
    advantages_B: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """The terms of the loss, of shape (B, T), or (B, 1) for one ratio per response; `ratio` and `clipped` likewise.

    `clipped` marks the ratios at which a bound stops the gradient. `kl_B_T` is the k3 estimate of the KL divergence of
    the policy from the reference (Schulman 2020), per token.
    """

    terms: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor
    kl_B_T: torch.Tensor


def policy_gradient(batch: PolicyBatch, training: Training) -> Gradient:
    """Returns the clipped objective (Schulman et al. 2017, eq. 7), negated, per token or per response."""
    whole = training.length_handling == "response"

    def sums(values_B_T: torch.Tensor) -> torch.Tensor:
        counted = values_B_T * batch.tokens_B_T
        return counted.sum(dim=1, keepdim=True) if whole else counted

    ratio = sums(batch.new_B_T - batch.old_B_T).exp()
    advantages = batch.advantages_B[:, None]
    bounded = ratio.clamp(1 - training.clip_low, 1 + training.clip_high)
    terms = -torch.minimum(ratio * advantages, bounded * advantages)
    if training.importance_cap is not None:
        terms = terms * sums(batch.old_B_T - batch.engine_B_T).exp().clamp(max=training.importance_cap)
    difference = batch.reference_B_T - batch.new_B_T
    kl_B_T = (difference.exp() - difference - 1) * batch.tokens_B_T
    if training.kl == "loss":
        terms = terms + training.beta * sums(kl_B_T)
    low = (ratio < 1 - training.clip_low) & (advantages < 0)
    high = (ratio > 1 + training.clip_high) & (advantages > 0)
    return Gradient(terms, ratio.detach(), (low | high).detach(), kl_B_T.detach())


def batch_sum(terms: torch.Tensor, tokens_B_T: torch.Tensor, length: Length) -> torch.Tensor:
    """Sums the terms of a forward pass; divide by `divisor` of the whole batch for its loss."""
    if length == "response":
        return terms.sum()
    counted = terms * tokens_B_T
    if length == "sequence_mean":
        return (counted.sum(dim=1) / tokens_B_T.sum(dim=1).clamp(min=1)).sum()
    return counted.sum()


def divisor(responses: torch.Tensor, tokens: torch.Tensor, length: Length, max_tokens: int) -> torch.Tensor:
    """Returns what the sum over a batch of this many responses and tokens is divided by."""
    if length == "token_mean":
        return tokens
    return responses * max_tokens if length == "constant" else responses
