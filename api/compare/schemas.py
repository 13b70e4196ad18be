"""Runs beside each other, as the API shows them."""

from __future__ import annotations

from typing import Any

from api.schema import Schema


class ConfigDifference(Schema):
    """A key of the config that is not the same everywhere."""

    key: str
    """Its place, such as `training.beta`."""
    values: list[Any]
    """Its value in each run, in the order asked for; null also where a run's config has no such key."""


class CurvePoint(Schema):
    """A run at the end of an iteration."""

    iteration: int
    """The iteration."""
    seconds: float
    """What its stages and those before took, together: a second axis to align runs by."""
    gpu_seconds: float
    """The same, times the GPUs of the fleet; 0 on CPUs."""
    tokens: int | None
    """Tokens that the solver has written until then."""
    reward_mean: float | None
    """Mean reward of the batch: mean over prompts of the mean over responses."""
    reward_best: float | None
    """Mean over prompts of the best reward."""
    info_mean: float | None
    """Mean informativeness of the batch."""
    effective_roots: float | None
    """How many seed prompts' families the batch is worth, as a diversity."""


class HeldoutPoint(Schema):
    """A checkpoint on held-out prompts."""

    checkpoint: int
    """The checkpoint; 0 is the given model."""
    seconds: float
    """What the stages until its training's end took."""
    split: str
    """The held-out set."""
    mode: str
    """`greedy` or `sampled`."""
    responses: int
    """How many were answered."""
    accuracy: float | None
    """Share of responses whose reward reaches `evaluation.success`."""
    reward_mean: float | None
    """Mean reward."""


class ComparedRun(Schema):
    """One of the runs."""

    name: str
    """Its name."""
    status: str
    """Where it stands."""
    seed: int
    """Its seed."""
    curve: list[CurvePoint]
    """Its iterations."""
    heldout: list[HeldoutPoint]
    """Its checkpoints on held-out prompts."""


class Paired(Schema):
    """How a run differs from the first one over prompts that both answered with a checkpoint of the same number."""

    run: str
    """The run that is compared with the first."""
    prompts: str
    """`seeds`: seed prompts that both have; else the held-out set."""
    mode: str
    """`sampled`, or `greedy` on held-out prompts."""
    rewarder: str | None
    """Who rewarded both; null on held-out prompts, whose evaluator the config names."""
    checkpoint: int
    """The number of both runs' checkpoints."""
    count: int
    """How many prompts; of more than 20,000 shared seed prompts about so many, the same ones whenever asked."""
    first: float
    """Mean reward of the first run's answers."""
    second: float
    """Mean reward of this one's."""
    difference: float
    """Mean of (this one's - the first one's) over prompts."""
    standard_error: float | None
    """Of the difference; null for fewer than two prompts."""
    better: int
    """Prompts that this run answered better."""
    worse: int
    """Prompts that it answered worse."""


class Comparison(Schema):
    """Runs beside each other, in the order asked for."""

    runs: list[ComparedRun]
    """The runs with their curves."""
    config: list[ConfigDifference]
    """What differs in their configs."""
    paired: list[Paired]
    """Each run beside the first, over prompts that both answered."""
