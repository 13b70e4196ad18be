"""What children are worth: to their operators, by the gain over their parents, and to the creator that wrote them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Connection

from eva.child_rewards import ChildReward, reward_children
from eva.config import RunConfig
from eva.creator.informativeness import estimate
from eva.creator.operators.choice import OperatorRecord, evidence_of
from eva.creator.operators.gain import ChildInfo, Measure, Shrinkage, measured_with, operator_gains
from eva.runtime.failpoints import reach
from eva.types import Estimate, RewardTable
from orchestrator.stages.stage import Stage, null_for_nan
from store.game import evolutions
from store.runs import stages
from store.views import statistics


def info_measure(config: RunConfig) -> Measure:
    """The run's regret metric as a function of rewards."""
    settings = config.informativeness
    return lambda judged: (
        estimate(
            judged, metric=settings.metric, threshold=settings.threshold, keep_cut=config.generation.keep_cut
        ).info_P
    )


def probed_responses(config: RunConfig) -> int:
    """How many of a child's first responses a gate has seen, so that they say nothing new about the admitted ones."""
    return 0 if config.evolving.gate is None else config.evolving.gate.responses


def unprobed_info(judged: RewardTable, estimated: Estimate, config: RunConfig) -> dict[int, float | None]:
    """Returns the info of a batch's prompts by their number, without the responses that a gate has seen."""
    probed, n = probed_responses(config), judged.rewards_P_N.shape[1]
    if not probed:
        info_P = estimated.info_P
    elif n - probed < 2:
        return {}
    else:
        info_P = info_measure(config)(measured_with(judged, range(probed, n)))
    return dict(zip(judged.numbers_P.tolist(), null_for_nan(info_P), strict=True))


def batch_gains(
    conn: Connection, run_id: int, iteration: int, new_info: Mapping[int, float | None]
) -> list[dict[str, Any]]:
    """Returns the gain of each operator's children in the batch. `new_info` is the info of the batch's prompts."""
    stored = statistics.get_statistics(conn, run_id, "shrinkage").get(iteration)
    children = [
        ChildInfo(
            child.operator,
            child.root,
            new_info.get(child.number),
            new_info.get(child.parent) if child.parent_info is None else child.parent_info,
            child.parent_info is not None,
        )
        for child in statistics.batch_children(conn, run_id, iteration)
    ]
    return operator_gains(children, None if stored is None else Shrinkage(**stored))


def operator_record(
    conn: Connection, run_id: int, config: RunConfig, iteration: int, operators: tuple[str, ...]
) -> OperatorRecord:
    """Returns the evidence of all iterations before this one; it never changes once they are over."""
    payoffs = statistics.get_statistics(conn, run_id, "payoff")
    counts = {(row.iteration, row.name): row.counts for row in stages.read_stages(conn, run_id)}
    evidence = [
        row
        for earlier in range(iteration)
        for row in evidence_of(
            earlier,
            counts.get((earlier, "evolve"), {}).get("per_operator", {}),
            payoffs.get(earlier, []),
            _admitted(counts.get((earlier, "gate"))),
        )
    ]
    return OperatorRecord(operators, tuple(evidence), iteration, config.seed)


def _admitted(gate: Mapping[str, Any] | None) -> float:
    """The share of an iteration's children that its gate let through."""
    if gate is None:
        return 1.0
    admitted: int = gate.get("admitted", 0)
    refused: Mapping[str, int] = gate.get("refused", {})
    total = admitted + sum(refused.values())
    return admitted / total if total else 1.0


class CreatorRewardStage(Stage):
    """Rewards the creator's replies by what their children turned out to be, and weighs them against their siblings."""

    def close_rewards(self) -> None:
        """Stores reward and advantage of every reply of the iteration. Does nothing if the stage is complete."""
        run, iteration, creator = self.run, self.iteration, self.run.config.evolving.creator
        if self.complete or creator is None:
            return
        writings = run.read(lambda conn: evolutions.read_writings(conn, run.id, iteration))
        rewarded = reward_children(writings, rule=creator.training.advantage_rule, weight=creator.likeness)
        reach("creator.rewarded")

        def store(conn: Connection) -> None:
            evolutions.copy_creator_rewards(conn, run.id, iteration, rewarded)

        self.advance(len(rewarded))
        self.close(store, **reward_counts(rewarded))


def reward_counts(rewarded: list[ChildReward]) -> dict[str, object]:
    """The means of what replies are worth, and how many are trained on; the others by reason."""
    counts: dict[str, object] = {"trained": sum(one.reason is None for one in rewarded)}
    for name in ("reward", "regret", "likeness"):
        values = [value for one in rewarded if (value := getattr(one, name)) is not None]
        if values:
            counts[name] = float(np.mean(values))
    return counts | {"left_out": dict(sorted(Counter(one.reason for one in rewarded if one.reason).items()))}
