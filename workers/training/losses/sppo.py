"""Self-play preference optimisation (Wu et al. 2024, equation 4.7) with soft win rates, which TRL lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from eva.config import Training
from eva.errors import TrainingFailedError
from workers.training.losses.own import PairBatch, build_own

if TYPE_CHECKING:
    from workers.training.losses import Ingredients
    from workers.training.rows import Row


def sppo(batch: PairBatch, training: Training) -> torch.Tensor:
    """Mean over winner and loser of (log pi/ref - (win rate - 1/2) / beta)^2; the rewards are win rates."""
    winner = batch.chosen - batch.chosen_reference - (batch.chosen_reward - 0.5) / training.beta
    loser = batch.rejected - batch.rejected_reference - (batch.rejected_reward - 0.5) / training.beta
    return (winner.square() + loser.square()) / 2


def build_sppo(ingredients: Ingredients) -> Any:
    """Returns the trainer. Raises TrainingFailedError if the pairs' rewards are not win rates."""
    return build_own(ingredients, sppo, _require_win_rates)


def _require_win_rates(rows: tuple[Row, ...]) -> None:
    wrong = [row[key] for row in rows for key in ("chosen_reward", "rejected_reward") if not 0 <= row[key] <= 1]
    if wrong:
        raise TrainingFailedError(
            f"sppo needs win rates, but a pair has the reward {wrong[0]:g}",
            expected="rewards from 0 to 1",
            next_move="Set training.win_rates to bradley_terry",
        )
