"""Engines, rewarders and trainer share the GPUs of a simulated cluster in turn, and lose its machines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.faults.shared_gpus import ENGINE_GPUS, ENGINES, REPLICAS, REWARD_GPUS
from tests.support.faults.simulated_cluster import play_apart

pytestmark = pytest.mark.timeout(700)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened on the cluster, by part."""
    return play_apart("tests.support.faults.shared_gpus", tmp_path_factory.mktemp("shared"), timeout_s=690)


def test_engines_rewarders_and_trainer_have_the_same_gpus_in_turn(seen: dict[str, Any]) -> None:
    """The trainer needs two whole GPUs, and at most one is free of engines before they rest."""
    turns = seen["turns"]
    assert turns["complete"] and turns["held"] == pytest.approx(ENGINES * ENGINE_GPUS + REPLICAS * REWARD_GPUS)
    assert len(turns["trained"]["ranks"]) == 2


def test_the_trainer_never_lands_on_a_machine_without_a_gpu(seen: dict[str, Any]) -> None:
    for part in ("turns", "lost_while_training"):
        trained = seen[part]["trained"]
        assert seen["head"] not in [trained["coordinator"], *trained["ranks"]]


def test_a_machine_lost_while_generating_costs_its_engines_until_another_machine_comes(seen: dict[str, Any]) -> None:
    part = seen["lost_while_generating"]
    assert part["complete"]
    kinds = [kind for kind, _ in part["told"]]
    assert kinds.count("engine_back") == kinds.count("engine_lost") == part["lost"], part["told"]
    assert "engine_given_up" not in kinds, part["told"]
    assert part["serving"] >= 1
    if part["serving"] < ENGINES:
        assert {"GPU": ENGINE_GPUS} in part["demand"], "an autoscaler sees what is missing"


def test_a_machine_lost_while_rewarding_costs_no_reward(seen: dict[str, Any]) -> None:
    part = seen["lost_while_rewarding"]
    assert part["complete"] and "rewarder_lost" in [kind for kind, _ in part["told"]]


def test_a_machine_lost_while_training_does_not_count_as_an_attempt(seen: dict[str, Any]) -> None:
    part = seen["lost_while_training"]
    assert [kind for kind, _ in part["told"]].count("trainer_lost") == 1, part["told"]
    assert len(part["trained"]["ranks"]) == 2


@pytest.mark.parametrize(("role", "needed"), [("engines", ENGINE_GPUS), ("rewarder", REWARD_GPUS), ("trainer", 1.0)])
def test_without_any_machine_each_part_says_what_is_missing_and_asks_the_cluster_for_it(
    seen: dict[str, Any], role: str, needed: float
) -> None:
    said, demand = seen["none_left"][role]
    assert "Add machines to the cluster or free some, then resume the run" in said and "GPU" in said
    assert {"GPU": needed} in demand
