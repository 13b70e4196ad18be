"""kill -9 of a driver at each failpoint, and what it would have been without."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from eva.failpoints import POINTS
from tests.faults.trial import Trial

REAL_TEST = Path(__file__).with_name("test_real_parts.py")

ON_THE_WAY = {
    # the clock's: a driver that rests for a while renews
    "lease.renewed": "judge.asked=sleep:2@1",
    # the way out of a stage that fails
    "stage.keep.before_commit": "evolve.chain_kept=raise@2",
}
"""What must happen before some points are reached."""

REAL = sorted(name for name in POINTS if name.startswith(("engine.", "rewarder.", "training.", "trainer.", "fleet.")))
"""Points inside real engines, rewarders and training: test_real_parts.py reaches them."""

ON_FAKES = [name for name in POINTS if name not in REAL]


def at(name: str, action: str, time: int = 1) -> str:
    return ",".join([*filter(None, [ON_THE_WAY.get(name)]), f"{name}={action}@{time}"])


def hold(trial: Trial, undisturbed: Trial) -> None:
    """The contract: the same decisions, nothing twice, nothing lost."""
    assert trial.repeated == [], "a finished response was generated twice"
    assert trial.lost == [], "rows were lost"
    assert trial.fingerprint() == undisturbed.fingerprint()


def test_an_undisturbed_game_stands_at_every_declared_point(
        undisturbed: Trial, new_trial: Callable[..., Trial]) -> None:
    # a slow machine is at some of the others, too
    assert {*ON_FAKES} - {*ON_THE_WAY} <= set(undisturbed.points) <= {*ON_FAKES}
    for name, before in ON_THE_WAY.items():
        trial = new_trial()
        trial.drive(before)
        assert name in trial.points
    told = set(re.findall(r"[a-z]+(?:\.[a-z_]+)+(?==)", REAL_TEST.read_text()))
    assert {*REAL} <= told, "listed with the test of the real parts"


@pytest.mark.parametrize("name", ON_FAKES)
def test_a_driver_killed_at_a_point_is_replaced_and_nothing_is_different(
        name: str, undisturbed: Trial, new_trial: Callable[..., Trial]) -> None:
    times = Counter(undisturbed.points)[name]
    for time in sorted({1, 1 + times // 2} if name not in ON_THE_WAY else {1}):
        trial = new_trial()
        assert trial.drive(at(name, "kill", time)).killed
        trial.finish()
        hold(trial, undisturbed)


@pytest.mark.parametrize("name", [name for name in ON_FAKES if not name.startswith("lease.")])
def test_an_error_at_a_point_leaves_a_run_that_goes_on(
        name: str, undisturbed: Trial, new_trial: Callable[..., Trial]) -> None:
    trial = new_trial()
    outcome = trial.drive(at(name, "raise"))
    assert outcome.status != 0 and not outcome.killed
    trial.finish()
    hold(trial, undisturbed)
