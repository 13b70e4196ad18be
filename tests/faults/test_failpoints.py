"""kill -9 of a driver at each failpoint, and what it would have been without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from eva.runtime.failpoints import POINTS
from tests.faults.test_real_parts import CUT_REACHED, REACHED
from tests.support.faults.contract import hold_contract
from tests.support.faults.game import ahead_config, creator_config, cut_config, online_config
from tests.support.faults.trial import Trial

ON_THE_WAY = {
    # the clock's: a driver that rests for a while renews
    "lease.renewed": "judge.asked=sleep:2@1",
    # the way out of a stage that fails
    "stage.keep.before_commit": "evolve.chain_kept=raise@2",
}
"""What must happen before some points are reached."""

REAL = sorted(name for name in POINTS if name.startswith(("engine.", "rewarder.", "training.", "trainer.", "fleet.")))
"""Points inside real engines, rewarders and training: test_real_parts.py reaches them."""

LAUNCHING = sorted(name for name in POINTS if name.startswith("launch."))
"""Points of a launcher, which no driver passes: tests/unit/orchestrator/launch/test_launcher.py does."""

CUT = sorted(name for name in POINTS if name.startswith("chunk."))
"""Points of a batch that is cut into chunks: a game of its own reaches them."""

CREATOR = sorted(name for name in POINTS if name.startswith("creator."))
"""Points of a creator with weights of its own: a game of its own reaches them."""

AHEAD = sorted(name for name in POINTS if name.startswith("ahead."))
"""Points of children that are evolved while the solver is trained: a game of its own reaches them."""

ON_FAKES = [name for name in POINTS if name not in (*REAL, *LAUNCHING, *CUT, *CREATOR, *AHEAD)]


@pytest.fixture(scope="module")
def cut(new_trial: Callable[..., Trial]) -> Trial:
    """The small game with batches cut into chunks, played by one driver."""
    trial = new_trial(cut_config())
    trial.finish()
    return trial


@pytest.fixture(scope="module")
def online(new_trial: Callable[..., Trial]) -> Trial:
    """The same game with an online loss, played by one driver."""
    trial = new_trial(online_config())
    trial.finish()
    return trial


@pytest.fixture(scope="module")
def creator(new_trial: Callable[..., Trial]) -> Trial:
    """The same game with a creator that has weights of its own and learns, played by one driver."""
    trial = new_trial(creator_config())
    trial.finish()
    return trial


@pytest.fixture(scope="module")
def ahead(new_trial: Callable[..., Trial]) -> Trial:
    """The same game with children that are evolved while the solver is trained, played by one driver."""
    trial = new_trial(ahead_config())
    trial.finish()
    return trial


def at(name: str, action: str, time: int = 1) -> str:
    return ",".join([*filter(None, [ON_THE_WAY.get(name)]), f"{name}={action}@{time}"])


def test_an_undisturbed_game_stands_at_every_declared_point(
    undisturbed: Trial, cut: Trial, creator: Trial, ahead: Trial, new_trial: Callable[..., Trial]
) -> None:
    # a slow machine is at some of the others, too
    assert {*ON_FAKES} - {*ON_THE_WAY} <= set(undisturbed.points) <= {*ON_FAKES}
    for name, before in ON_THE_WAY.items():
        trial = new_trial()
        trial.drive(before)
        assert name in trial.points
    assert {*CUT} <= set(cut.points) <= {*ON_FAKES, *CUT}
    assert {*CREATOR} <= set(creator.points) <= {*ON_FAKES, *CREATOR}
    assert {*AHEAD} <= set(ahead.points) <= {*ON_FAKES, *AHEAD}
    assert {*REAL} <= {*REACHED, *CUT_REACHED}, "the test of the real parts reaches the others"


@pytest.mark.parametrize("name", ON_FAKES)
def test_a_driver_killed_at_a_point_is_replaced_and_nothing_is_different(
    name: str, undisturbed: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial()
    assert trial.drive(at(name, "kill")).killed
    trial.finish()
    hold_contract(trial, undisturbed)


@pytest.mark.parametrize("name", [name for name in ON_FAKES if not name.startswith("lease.")])
def test_an_error_at_a_point_leaves_a_run_that_goes_on_and_survives_a_kill_in_its_middle(
    name: str, undisturbed: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial()
    outcome = trial.drive(at(name, "raise"))
    assert outcome.status != 0 and not outcome.killed
    if name not in ON_THE_WAY and (times := Counter(undisturbed.points)[name]) > 1:
        assert trial.drive(at(name, "kill", times // 2)).killed
    trial.finish()
    hold_contract(trial, undisturbed)


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("name", [*CUT, "judge.response_received", "pairs.file_written", "train.step_reported"])
def test_a_driver_that_ends_at_a_point_of_a_cut_batch_is_replaced_and_nothing_is_different(
    name: str, action: str, cut: Trial, new_trial: Callable[..., Trial]
) -> None:
    times = Counter(cut.points)[name]
    trial = new_trial(cut_config())
    for time in (max(1, times // 3), max(1, times // 6)):
        assert trial.drive(f"{name}={action}@{time}").status != 0
    trial.finish()
    hold_contract(trial, cut)


@pytest.mark.parametrize(
    "name",
    ["judge.response_received", "chunk.close.before_commit", "pairs.file_written", "chunk.trained", "train.published"],
)
def test_a_driver_of_an_online_loss_killed_at_a_point_is_replaced_and_nothing_is_different(
    name: str, online: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial(online_config())
    assert trial.drive(at(name, "kill", Counter(online.points)[name])).killed
    trial.finish()
    hold_contract(trial, online)


@pytest.mark.parametrize(
    "name",
    [*CREATOR, "journal.adopt.before_commit", "evolve.chain_kept", "tokens.file_written", "train.step_reported"],
)
def test_a_driver_of_a_game_with_a_trained_creator_killed_at_a_point_is_replaced_and_nothing_is_different(
    name: str, creator: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial(creator_config())
    assert trial.drive(at(name, "kill", Counter(creator.points)[name])).killed
    trial.finish()
    hold_contract(trial, creator)


def test_children_that_were_evolved_ahead_are_those_of_a_run_that_waits_for_its_training(
    ahead: Trial, new_trial: Callable[..., Trial]
) -> None:
    config = ahead_config()
    evolving = config.evolving.model_copy(update={"overlap": False})
    serial = new_trial(config.model_copy(update={"evolving": evolving}))
    serial.finish()
    assert not {*AHEAD} & set(serial.points)
    hold_contract(ahead, serial)


@pytest.mark.parametrize("action", ["kill", "raise"])
@pytest.mark.parametrize("name", AHEAD)
def test_a_driver_that_ends_at_a_point_of_evolving_ahead_is_replaced_and_nothing_is_different(
    name: str, action: str, ahead: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial(ahead_config())
    outcome = trial.drive(f"{name}={action}@{max(1, Counter(ahead.points)[name] // 2)}")
    assert outcome.killed if action == "kill" else outcome.status == 0, "the error waits for its turn, and is gone then"
    trial.finish()
    hold_contract(trial, ahead)


@pytest.mark.parametrize(
    "name",
    [
        "train.step_reported",
        "train.published",
        "stage.left",
        "evaluate.reward_received",
        "iteration.finish.before_commit",
        "evolve.chain_kept",
        "evolve.children_numbered",
        "stage.close.after_commit",
    ],
)
def test_a_driver_killed_after_it_evolved_ahead_is_replaced_and_nothing_is_different(
    name: str, ahead: Trial, new_trial: Callable[..., Trial]
) -> None:
    points = ahead.points
    first = points.index("ahead.chain_filed")
    time = points[:first].count(name) + 1
    assert name in points[first:]
    trial = new_trial(ahead_config())
    assert trial.drive(at(name, "kill", time)).killed
    trial.finish()
    hold_contract(trial, ahead)
