"""The optimiser steps of an iteration: how many pairs take, at most (`training.step_limit`), and the rate of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from eva.config import Training
from workers.training.arguments import accumulation, per_device_batch


def limited_steps(training: Training, pairs: int, n_devices: int) -> int | None:
    """Returns the exact number of steps where the limit is below what so many pairs would take; None elsewhere.

    The library is told the number, so that it lays the schedule out for the steps that are taken.
    """
    if training.step_limit is None:
        return None
    return training.step_limit if training.step_limit < whole_steps(training, pairs, n_devices) else None


def whole_steps(training: Training, pairs: int, n_devices: int) -> int:
    """Returns the steps that so many pairs take in all epochs; a last batch that is not full is a step, too."""
    forward_passes = math.ceil(pairs / (per_device_batch(training, n_devices) * n_devices))
    return math.ceil(training.epochs * math.ceil(forward_passes / accumulation(training, n_devices)))


def rate_share(training: Training, *, warm_up: int, steps: int) -> Callable[[float], float]:
    """Returns the share of `training.learning_rate` by the number of steps already taken.

    `warmup_from: zero` gives transformers' schedules, to the digit: they rise from 0, so that their first step changes
    nothing. Otherwise the same schedule begins one step later and is laid out for one step more: of a warm-up of w
    steps, step k has k / w of the rate. Without a warm-up the first step has the whole rate anyway.
    """
    moved = 1 if warm_up and training.warmup_from == "first_step" else 0
    end = steps + moved
    falling = max(1, end - warm_up)

    def share(taken: float) -> float:
        place = taken + moved
        if place < warm_up:
            return place / warm_up
        match training.schedule:
            case "cosine":
                return max(0.0, (1 + math.cos(math.pi * ((place - warm_up) / falling))) / 2)
            case "linear":
                return max(0.0, (end - place) / falling)
            case "constant":
                return 1.0

    return share


def set_rates(trainer: Any, training: Training) -> None:
    """Gives a trainer these learning rates, laid out for the steps that it finds it will take."""

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        warm_up = trainer.args.get_warmup_steps(num_training_steps)
        share = rate_share(training, warm_up=warm_up, steps=num_training_steps)
        trainer.lr_scheduler = LambdaLR(optimizer or trainer.optimizer, share)
        return trainer.lr_scheduler

    trainer.create_scheduler = create_scheduler
