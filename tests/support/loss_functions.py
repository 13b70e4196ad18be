"""Losses of a user's own, as the docs show them."""

import torch
from torch.nn.functional import logsigmoid

from eva.config import Training
from workers.training.losses.own import PairBatch
from workers.training.losses.ranked import RankedBatch


def margin_dpo(batch: PairBatch, training: Training) -> torch.Tensor:
    """DPO that asks for a wider gap where the rewards are further apart."""
    log_ratio = (batch.chosen - batch.chosen_reference) - (batch.rejected - batch.rejected_reference)
    return -logsigmoid(training.beta * log_ratio - (batch.chosen_reward - batch.rejected_reward))


def best_likelihood(batch: RankedBatch, training: Training) -> torch.Tensor:
    """Raises the best response above what the initial model gives it."""
    return batch.initial[:, 0] - batch.policy[:, 0]
