"""What queries return: frozen rows. Texts and numbers that travel further are types of eva.types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from eva.types import Reward

JsonObject = Mapping[str, Any]
JudgeRole = Literal["evaluator", "auditor"]
"""Who rewards held-out answers: the evaluator all of them, the auditor some comparisons once more."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A driver's right to write to a run: valid until its lease ends or another driver claims the run."""

    run_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A run's lease. `owner` is None when nobody holds it; `expired` is by the database's clock."""

    run_id: int
    fence: int
    owner: JsonObject | None
    expires_at: datetime | None
    expired: bool


@dataclass(frozen=True, slots=True)
class RunRow:
    id: int
    name: str
    status: str
    desired: str
    config: JsonObject
    config_hash: str
    seed: int
    iteration: int
    prompt_count: int
    event_seq: int
    error: str | None
    note: str
    tags: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    forked_from: int | None = None
    forked_at: int | None = None
    code: JsonObject | None = None
    deleted_at: datetime | None = None
    folder: str | None = None

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that name the run outside of the store, whatever it is called later."""
        return sha256(f"eva {self.place} {self.created_at.timestamp():.6f}".encode()).hexdigest()[:32]

    @property
    def place(self) -> str:
        """The folder of its files below those of all runs: the name that it was made with."""
        return self.folder or self.name


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is still to be done for a set of prompts under one policy.

    `to_generate`: prompt number -> responses already there (0 .. n - 1), in the order asked.
    `to_reward`: prompts with all n responses of which some lack a reward.
    """

    to_generate: dict[int, int]
    to_reward: list[int]


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """One prompt of an iteration's pool: `info` is None with the `reason`, or its weight and Gumbel key."""

    prompt: int
    checkpoint: int
    info: float | None
    reason: str | None
    weight: float | None
    key: float | None
    sampled: bool


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One prompt that the solver trains on; `buffer`: kept from the pool rather than evolved."""

    prompt: int
    buffer: bool
    checkpoint: int
    info: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class WhyRow:
    """Why a prompt was trained on in one iteration.

    `info`, `weight`, `key`, `sampled` are the prompt's own in that iteration's pool (None for a child
    made in it), `parent_*` those of the prompt it was evolved from; `batch_*` are from the solver's step.
    """

    iteration: int
    buffer: bool
    checkpoint: int
    operator: str | None
    parent: int | None
    info: float | None
    weight: float | None
    key: float | None
    sampled: bool | None
    parent_info: float | None
    parent_weight: float | None
    parent_key: float | None
    batch_info: float | None
    batch_reason: str | None
    chosen: int | None
    rejected: int | None
    chosen_reward: float | None
    rejected_reward: float | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    iteration: int
    name: str
    position: int
    status: str
    attempts: int
    done: int
    total: int
    input_hash: str | None
    counts: JsonObject
    seconds: float
    started_at: datetime
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    seq: int
    at: datetime
    kind: str
    iteration: int | None
    stage: str | None
    data: JsonObject


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    number: int
    iteration: int
    parent: int | None
    path: str
    digest: str
    created_at: datetime
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HeldoutResponse:
    """One answer to a held-out prompt with its reward, or the reason why there is none."""

    item: int
    sample: int
    text: str
    finish: str
    tokens: int
    reward: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A greedy answer beside the baseline's: their rewards, and the probability that it is the better one.

    `preference` is None with the `reason`; rewards are finite or None.
    """

    item: int
    reward: float | None
    baseline_reward: float | None
    preference: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A comparison with both answers, None for one that is not there."""

    checkpoint: int
    item: int
    preference: float | None
    text: str | None
    baseline_text: str | None


@dataclass(frozen=True, slots=True)
class HeldoutPart:
    """What the reward of a held-out answer was made from; `name` is the rewarder's, a slash and the part's."""

    item: int
    sample: int
    name: str
    part: Reward


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """One checkpoint on one split: `n` responses, of which `rewarded` have a reward and `correct` succeed."""

    checkpoint: int
    split: str
    mode: str
    n: int
    rewarded: int
    correct: int
    mean_reward: float | None


@dataclass(frozen=True, slots=True)
class PartRow:
    """What rewards were made from: `count` values of a part, their mean and sum (None without values)."""

    name: str
    count: int
    mean: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class LineageRow:
    """A prompt below another one, `distance` evolutions away."""

    number: int
    parent: int
    distance: int
    operator: str
    born: int
    text: str = field(repr=False)
