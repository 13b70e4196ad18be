"""The limit on the optimiser steps of an iteration (`training.step_limit`)."""

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
    forward_passes = math.ceil(pairs / (per_device_batch(training, n_devices) * n_devices))
    whole = math.ceil(training.epochs * math.ceil(forward_passes / accumulation(training, n_devices)))
    return training.step_limit if training.step_limit < whole else None
