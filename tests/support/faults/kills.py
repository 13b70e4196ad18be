"""Kills by chance: of one seed always the same ones."""

from __future__ import annotations

import random

from tests.support.faults.trial import Trial

KILLS = 4


def kill_at_random(trial: Trial, seed: int, reached: int, lasts_s: float, kills: int = KILLS) -> None:
    """Kill the run's drivers at random failpoints and random times, then let one finish.

    `reached` failpoints and `lasts_s` seconds are what an undisturbed run has. A driver that is done before its
    kill ends the disturbance.
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
