"""How many optimiser steps pairs take, and the limit on them (`training.step_limit`)."""

from __future__ import annotations

import math

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
