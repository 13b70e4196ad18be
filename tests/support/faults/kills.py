"""Kills drivers at random; the same seed always gives the same kills."""

from __future__ import annotations

import random

from tests.support.faults.trial import Trial

KILLS = 4


def kill_at_random(trial: Trial, seed: int, reached: int, lasts_s: float, kills: int = KILLS) -> None:
    """Kills the run's drivers at random failpoints and random times, then lets one finish.

    `reached` and `lasts_s`: how many failpoints an undisturbed run reaches, and how many seconds it takes. Once a
    driver finishes the run before its kill, no more are killed.
    """
    rng = random.Random(seed)
    for _ in range(kills):
        share = rng.random() / kills * 2
        if rng.random() < 0.5:
            trial.drive(f"*=kill@{1 + int(share * reached)}")
        else:
            trial.drive(kill_after_s=share * lasts_s)
        if trial.status == "finished":
            return
    trial.finish()
