"""The config of a study: arms x seeds x given models, one outcome that is named before anything runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from eva.config.changes import flatten
from eva.config.section import Section

STREAM = "generation.stream"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Mode = Literal["greedy", "sampled"]
Figure = Literal["accuracy", "reward"]
Quantity = Literal["steps", "responses", "tokens"]


def _check_figure(value: str) -> str:
    parts = value.split(".")
    if len(parts) < 4 or parts[0] != "heldout" or parts[-2] not in ("greedy", "sampled"):
        raise ValueError("allowed is heldout.SET.MODE.FIGURE, such as heldout.hard.sampled.accuracy")
    if parts[-1] not in ("accuracy", "reward"):
        raise ValueError(f"there is no figure {parts[-1]!r}; allowed are accuracy and reward")
    return value


class Outcome(Section):
    """The one held-out figure that a study is about. Everything else in its report is exploratory."""

    figure: Annotated[str, AfterValidator(_check_figure)]
    """`heldout.SET.MODE.FIGURE` of an arm's last policy: the name of a held-out set; `greedy` or `sampled` (temperature
    1); `accuracy` (share of correct responses) or `reward` (mean reward)."""
    better: Literal["higher", "lower"] = "higher"
    """Which direction counts as better."""
    equivalent_within: float | None = Field(default=None, gt=0)
    """A smaller difference does not matter: a comparison whose interval lies within is reported as equivalent."""

    @property
    def split(self) -> str:
        """The held-out set."""
        return ".".join(self.figure.split(".")[1:-2])

    @property
    def mode(self) -> Mode:
        """`greedy` or `sampled`."""
        return "greedy" if self.figure.split(".")[-2] == "greedy" else "sampled"

    @property
    def measure(self) -> Figure:
        """`accuracy` or `reward`."""
        return "accuracy" if self.figure.split(".")[-1] == "accuracy" else "reward"


class Match(Section):
    """What is held equal between the arms. An arm is cut to it and never stretched; what stays unequal is reported."""

    steps: int | None = Field(default=None, ge=1)
    """At most this many optimiser steps in each iteration, in every arm (`training.step_limit`)."""
    responses: int | None = Field(default=None, ge=1)
    """The outcome is that of the last policy before which the run had sampled at most this many responses."""
    tokens: int | None = Field(default=None, ge=1)
    """The outcome is that of the last policy before which the run had sampled at most this many tokens."""

    @model_validator(mode="after")
    def _one(self) -> Match:
        if sum(value is not None for value in (self.steps, self.responses, self.tokens)) != 1:
            raise ValueError("set exactly one of steps, responses, tokens")
        return self

    @property
    def quantity(self) -> Quantity:
        """What is held equal."""
        return "steps" if self.steps is not None else "responses" if self.responses is not None else "tokens"

    @property
    def limit(self) -> int:
        """How much of it an arm may use: steps in each iteration, responses or tokens in the whole run."""
        return self.steps or self.responses or self.tokens or 0


class StudyConfig(Section):
    """A study: what is compared, on which seeds and given models, and by which figure."""

    name: str = Field(pattern=NAME)
    """The study's name. Runs that it has played are found by it."""
    question: str = ""
    """What the study is to find out, in a sentence."""
    base: str | dict[str, Any]
    """The config that all arms start from: a preset, a YAML file (relative to the study's file), or its values."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of the config with other values in every arm, such as `training.beta: 0.1`."""
    arms: dict[Annotated[str, Field(pattern=NAME)], dict[str, Any]] = Field(min_length=1)
    """The arms: for each name, keys of the config with the values that only this arm has. The arm with none is the base
    itself. An arm that differs from another one only in `generation.stream` repeats it with other draws: what their
    comparison shows is noise, and its interval must cover 0 (A/A)."""
    seeds: int | tuple[int, ...] = 10
    """Training seeds: how many (0, 1, 2, …), or a list of them."""
    models: tuple[str, ...] = ()
    """The given models that every arm starts from: folders, hub ids, `playground`, or `playground:N`, a solver that is
    made from seed N when it is first needed (about ten minutes). Unset: the base's own."""
    outcome: Outcome
    """The figure that decides, named before anything runs."""
    compare: tuple[tuple[str, str], ...] = ()
    """Pairs of arms; the difference is the first minus the second. Unset: every other arm with the first one."""
    match: Match | None = None
    """What is held equal between the arms; unset: nothing."""
    curves: bool = False
    """Evaluate every policy, for curves over iterations. Unset, only the last policy of an arm is evaluated, unless
    `match` needs the others."""
    share_until: int | None = Field(default=None, ge=0)
    """The first iteration in which arms differ. Those before it are played once for each seed and model, with the
    base's values. Unset: 1 for arms whose values matter only to the creator, which does nothing in the warm-up; 0 for
    the others."""

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        count = value if isinstance(value, int) else len(value)
        if count < 1:
            raise ValueError("at least one seed is needed")
        if not isinstance(value, int) and (len(set(value)) < len(value) or min(value) < 0):
            raise ValueError("seeds must be different and not negative")
        return value

    @model_validator(mode="after")
    def _arms_exist(self) -> StudyConfig:
        if unknown := sorted({arm for pair in self.compare for arm in pair} - {*self.arms}):
            raise ValueError(f"there is no arm {', '.join(unknown)}; the arms are {', '.join(self.arms)}")
        if same := [one for one, other in self.compare if one == other]:
            raise ValueError(f"compare names {same[0]} twice in a pair: give two different arms")
        if len(set(self.models)) < len(self.models):
            raise ValueError("models names one twice")
        return self

    @property
    def evaluates_each(self) -> bool:
        """Whether every policy is evaluated, or only the last one of each run."""
        return self.curves or (self.match is not None and self.match.quantity != "steps")

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def run_count(self) -> int:
        """How many runs the study consists of, without those that several arms share."""
        return len(self.arms) * len(self.seed_list) * max(1, len(self.models))

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """The pairs of arms that are compared; the difference is the first minus the second."""
        first, *others = self.arms
        return self.compare or tuple((other, first) for other in others)

    def repeats(self, one: str, other: str) -> bool:
        """Whether two arms differ only in their draws, so that their comparison is A/A."""
        first, second = flatten(self.arms[one]), flatten(self.arms[other])
        different = {key for key in {*first, *second} if first.get(key) != second.get(key)}
        return different == {STREAM}
