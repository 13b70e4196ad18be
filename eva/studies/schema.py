"""The report of a study as it is printed, stored as JSON and returned by the API. docs/studies.md explains it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from eva.studies.study import Quantity

SCHEMA = 1

Verdict = Literal["better", "worse", "equivalent", "unresolved"]


class ReportPart(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, from_attributes=True)


class StudyInterval(ReportPart):
    """A mean over seeds, given models and held-out prompts, with its 95 % interval."""

    value: float
    """The mean; each given model weighs the same."""
    low: float | None
    """The interval's lower end; null with fewer than two seeds."""
    high: float | None
    """The interval's upper end; null with fewer than two seeds."""
    deviation: float | None
    """Standard deviation over runs; null for a single one."""
    error: float | None
    """Standard error; null with fewer than two seeds."""
    error_of_prompts: float | None
    """The part of the standard error (added in squares) that only more held-out prompts would reduce."""
    runs: int
    """Runs, or pairs of runs."""
    seeds: int
    """Their different seeds."""
    prompts: int
    """Held-out prompts that every run has a value for."""
    left_out: int
    """Held-out prompts that some run has no value for."""


class StudyCosts(ReportPart):
    """What a run had used when its policy was made, without evaluation: a mean over runs."""

    responses: float
    """Responses sampled from the policy."""
    tokens: float
    """Tokens of these responses."""
    pairs: float
    """Preference pairs."""
    steps: float
    """Optimiser steps."""
    seconds: float
    """Seconds in its stages."""
    dollars: float
    """US dollars for evolving and rewards."""


class StudyRun(ReportPart):
    """A run of the study: an arm on a seed and a given model."""

    name: str
    """The run's name."""
    arm: str
    """Its arm."""
    seed: int
    """Its training seed."""
    model: str
    """Its given model."""
    status: str
    """Its status."""
    error: str | None
    """Why it failed or stopped; null otherwise."""
    checkpoint: int | None
    """The policy that counts: the last one, or the last within the limit of `match`; null unless finished."""
    value: float | None
    """That policy's outcome: the mean over held-out prompts; null unless the run is finished."""
    costs: StudyCosts | None
    """What this run had used by then."""


class ArmPoint(ReportPart):
    """The outcome of an arm's policies after so many iterations."""

    iteration: int
    """Iterations played: 0 is the given model, 1 the policy after the warm-up."""
    outcome: StudyInterval
    """The mean over runs that evaluated this policy, with its interval."""


class StudyArm(ReportPart):
    """One arm."""

    name: str
    """Its name."""
    changes: dict[str, Any]
    """The keys of the config that only this arm has, with their values."""
    outcome: StudyInterval | None
    """Its outcome; null while no run is finished."""
    costs: StudyCosts | None
    """What its runs had used; null while none is finished."""
    curve: list[ArmPoint]
    """Its outcome over iterations."""


class PairedRuns(ReportPart):
    """Two runs with the same seed and given model."""

    seed: int
    """Their training seed."""
    model: str
    """Their given model."""
    first: str
    """The run of the first arm."""
    second: str
    """The run of the second arm."""
    difference: float
    """The first run's outcome minus the second's."""


class ModelDifference(ReportPart):
    """The difference between two arms on one given model."""

    model: str
    """The given model."""
    difference: StudyInterval
    """The mean over its seeds, with its interval."""


class Inequality(ReportPart):
    """A cost in which two arms differ, in spite of `match` or because nothing is matched."""

    quantity: str
    """`responses`, `tokens`, `pairs`, `steps`, `seconds` or `dollars`."""
    first: float
    """Mean of the first arm's runs."""
    second: float
    """Mean of the second arm's runs with the same seeds and given models."""


class StudyDifference(ReportPart):
    """A paired difference between two arms."""

    difference: StudyInterval
    """The first arm minus the second, over pairs of runs with the same seed and given model."""
    p: float
    """Two-sided p of the sign-flip test over seeds: does the difference vanish on these held-out prompts?"""
    p_is_exact: bool
    """Whether every flip of signs was counted; with more than 16 seeds, flips are drawn."""


class StudyComparison(StudyDifference):
    """Two arms, compared by the outcome that was named beforehand."""

    first: str
    """The first arm."""
    second: str
    """The arm that it is compared with."""
    repeats: bool
    """Whether the arms differ only in their draws (A/A): any difference is noise."""
    p_adjusted: float | None
    """p by Holm's rule, for all comparisons of the study but A/A; null for A/A."""
    verdict: Verdict | None
    """`better` or `worse`: the interval excludes 0. `equivalent`: it lies within `equivalent_within`. `unresolved`:
    neither. Null without an interval."""
    detectable: float | None
    """The smallest true difference that so many seeds and prompts show with a power of 0.8; null without an
    interval."""
    pairs: list[PairedRuns]
    """The pairs of runs."""
    models: list[ModelDifference]
    """The difference on each given model, where there are several."""
    unequal: list[Inequality]
    """Costs in which the arms differ by more than 1 %."""


class ExploratoryDifference(StudyDifference):
    """Two arms, compared by a figure that was not named beforehand: a hint for another study, not evidence."""

    figure: str
    """The figure, such as `heldout.hard.greedy.accuracy`."""
    first: str
    """The first arm."""
    second: str
    """The arm that it is compared with."""


class ArmUse(ReportPart):
    """How much of the matched quantity an arm's runs used."""

    arm: str
    """The arm."""
    least: float
    """The least that one of its runs used: steps in an iteration, or responses or tokens in the whole run."""
    most: float
    """The most that one of its runs used."""


class MatchProof(ReportPart):
    """What was to be held equal, and whether it is."""

    quantity: Quantity
    """What is held equal."""
    limit: int
    """How much of it an arm may use: steps in each iteration, responses or tokens in the whole run."""
    held: bool
    """Whether no run used more than the limit, and all arms used the same, to within 1 %."""
    used: list[ArmUse]
    """What each arm used."""


class RepeatCheck(ReportPart):
    """Do the intervals of arms that differ only in their draws (A/A) cover 0, as 95 of 100 should?"""

    covered: int
    """Intervals that cover 0: of the outcome, and of figures that were not named."""
    total: int
    """All such intervals."""
    outcome_covered: bool | None
    """Whether all A/A intervals of the outcome itself cover 0; null without one."""


class HeldoutOverlap(ReportPart):
    """Whether held-out prompts of the outcome are among the prompts that the study's runs trained on."""

    heldout: int
    """Held-out prompts."""
    trained_on: int
    """Different prompts in the batches of all runs."""
    equal: int
    """Held-out prompts that were trained on. Runs leave them out, so this must be 0."""
    near: int
    """Further held-out prompts that nearly equal a prompt trained on: their word triples have a Jaccard similarity of
    at least `similarity`."""
    similarity: float
    """The similarity that counts as nearly equal."""
    examples: list[list[str]]
    """Up to three of them, each as the prompt that was trained on and the held-out prompt."""


class StudyOutcome(ReportPart):
    """The figure that was named before anything ran."""

    figure: str
    """`heldout.SET.MODE.FIGURE` of an arm's last policy."""
    better: Literal["higher", "lower"]
    """Which direction counts as better."""
    equivalent_within: float | None
    """Differences smaller than this do not matter."""


class StudyReport(ReportPart):
    """A study: what was compared, what came out, how sure it is, and what it cost."""

    schema_version: int = SCHEMA
    """The version of this format."""
    name: str
    """The study's name."""
    question: str
    """What the study is to find out."""
    outcome: StudyOutcome
    """The figure that decides."""
    seeds: list[int]
    """The training seeds."""
    models: list[str]
    """The given models."""
    planned: int
    """Runs that the study consists of."""
    counts: dict[str, int]
    """Runs by status; those that have not begun are `not_begun`."""
    arms: list[StudyArm]
    """The arms."""
    comparisons: list[StudyComparison]
    """The comparisons; only pairs whose runs are both finished count."""
    match: MatchProof | None
    """What was held equal; null if nothing was to be."""
    repeats: RepeatCheck
    """A/A: how often the intervals of repeated arms cover 0."""
    contamination: HeldoutOverlap | None
    """Whether the outcome's prompts were held out; null before anything was trained on."""
    exploratory: list[ExploratoryDifference]
    """Comparisons by all other held-out figures."""
    runs: list[StudyRun]
    """All runs that have begun, failed ones too."""
