"""Whether the average of several policies is no worse than they are, on the held-out prompts that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from eva.measures.statistics import mean_interval
from eva.roles import Generator, Rewarder
from eva.types import Checkpoint, Context, Request, SamplingSettings
from store.game import heldout

ItemRewards = Mapping[int, float]
"""Rewards of greedy responses by held-out item; items without a reward are left out."""


@dataclass(frozen=True, slots=True)
class SharedSet:
    """A held-out set that several runs have in common: its prompts, and each run's rewards."""

    name: str
    texts: Mapping[int, str]
    contexts: Mapping[int, Context]
    rewards: Mapping[str, ItemRewards]


@dataclass(frozen=True, slots=True)
class AverageOutcome:
    """How the average does on a held-out set beside the runs that it is made of.

    `difference`: its mean reward minus the mean of the runs' rewards, prompt by prompt, with a 95 % interval over
    `items` prompts; no interval with fewer than two.
    """

    name: str
    items: int
    average: float
    runs: Mapping[str, float]
    difference: float
    interval: tuple[float, float] | None

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.interval is not None and self.interval[1] < 0

    @property
    def better(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.interval is not None and self.interval[0] > 0


def shared_sets(conn: Connection, policies: Mapping[str, tuple[int, int]]) -> list[SharedSet]:
    """Returns the held-out sets that all runs have answered with their policies; `policies`: (run, checkpoint) by name.

    A set counts if the runs have the same prompts in it; later turns of conversations do not.
    """
    (first, _), *others = policies.values()
    shared: list[SharedSet] = []
    for split in heldout.heldout_splits(conn, first, turn=1):
        texts, contexts = heldout.read_heldout(conn, first, split), heldout.read_heldout_contexts(conn, first, split)
        same = all(
            heldout.read_heldout(conn, run, split) == texts
            and heldout.read_heldout_contexts(conn, run, split) == contexts
            for run, _ in others
        )
        rewards = {
            name: {
                row.item: row.reward
                for row in heldout.read_heldout_responses(conn, run, number, split, "greedy")
                if row.reward is not None
            }
            for name, (run, number) in policies.items()
        }
        if same and all(rewards.values()):
            shared.append(SharedSet(split, texts, contexts, rewards))
    return shared


def evaluate_average(
    sets: Sequence[SharedSet], policy: Checkpoint, max_tokens: int, generator: Generator, evaluator: Rewarder
) -> list[AverageOutcome]:
    """Asks the average for greedy responses, rewards them, and compares them with the runs' own."""
    sampling = SamplingSettings(0.0, 1.0, max_tokens)
    asked = [(each, item, text) for each in sets for item, text in each.texts.items()]
    requests = [
        Request(number, text, 1, 0, sampling, context=each.contexts.get(item, ()))
        for number, (each, item, text) in enumerate(asked)
    ]
    rewards: dict[str, dict[int, float]] = {each.name: {} for each in sets}
    generator.load(policy)
    for rewarded in evaluator.reward(generator.generate(requests)):
        each, item, _ = asked[rewarded.prompt.number]
        for reward in rewarded.rewards:
            if reward.value is not None:
                rewards[each.name][item] = reward.value
    return [outcome for each in sets if (outcome := _outcome(each, rewards[each.name])) is not None]


def _outcome(shared: SharedSet, average: ItemRewards) -> AverageOutcome | None:
    items = sorted({*average}.intersection(*shared.rewards.values()))
    if not items:
        return None
    own = np.array([average[item] for item in items])
    runs = {name: np.array([rewards[item] for item in items]) for name, rewards in shared.rewards.items()}
    differences = own - np.mean([*runs.values()], axis=0)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1)) if len(items) > 1 else None
    return AverageOutcome(
        shared.name,
        len(items),
        float(own.mean()),
        {name: float(values.mean()) for name, values in runs.items()},
        mean,
        mean_interval(mean, deviation, len(items)),
    )
