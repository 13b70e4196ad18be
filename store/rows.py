"""The rows that queries return, as frozen dataclasses. What travels beyond the store is in eva.types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from eva.types import Player, Reward

JsonObject = Mapping[str, Any]
JudgeRole = Literal["evaluator", "auditor"]
"""Who rewards held-out responses: the evaluator rewards all, the auditor rewards some comparisons again."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A driver's right to write to a run. It is valid until the lease ends or another driver claims the run."""

    run_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A run's lease. `owner` is None when nobody holds it. `expired` is measured by the database's clock."""

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
        """32 hexadecimal digits that identify the run outside the store, even after it is renamed."""
        return sha256(f"eva {self.folder_name} {self.created_at.timestamp():.6f}".encode()).hexdigest()[:32]

    @property
    def folder_name(self) -> str:
        """The name of the folder that holds the run's files: the name that the run was created with."""
        return self.folder or self.name

    @property
    def stored_name(self) -> str:
        """The name of the run's folder in an object store, which runs of other databases may share."""
        return f"{self.folder_name}-{self.identity[:8]}"


@dataclass(frozen=True, slots=True)
class ResponseCoverage:
    """What is missing for a set of prompts under one policy.

    `to_generate`: prompt number -> responses that exist already (0 .. n - 1), in the order of the query's prompts.
    `to_reward`: prompts that have all n responses, some of them without a reward.
    """

    to_generate: dict[int, int]
    to_reward: list[int]


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """A pool prompt's estimate: `info` with its weight and Gumbel key, or None with the `reason`."""

    prompt: int
    checkpoint: int
    info: float | None
    reason: str | None
    weight: float | None
    key: float | None
    sampled: bool


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One prompt that the solver trains on. `buffer`: it was kept from the pool rather than evolved. `chunk`: its chunk
    of a batch that was cut."""

    prompt: int
    buffer: bool
    checkpoint: int
    info: float | None = None
    reason: str | None = None
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One chunk of a batch, before it is trained on. `reward`: the mean over its responses."""

    chunk: int
    of: int
    prompts: int
    pairs: int
    skipped: Mapping[str, int]
    reward: float | None


@dataclass(frozen=True, slots=True)
class WhyRow:
    """Why a prompt was trained on in one iteration.

    `info`, `weight`, `key` and `sampled` are the prompt's own in that iteration's pool (None for a child that was made
    in it); `parent_*` are those of the prompt that it was evolved from; `batch_*` are from the solver's step. What
    follows is a preference pair, or from `sample` on a response with its advantage, or why it has none.
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
    sample: int | None = None
    reward: float | None = None
    advantage: float | None = None
    unweighed: str | None = None


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
    pruned_at: datetime | None = None
    """When its files were deleted; the row stays."""
    player: Player = "solver"

    @property
    def title(self) -> str:
        """What a message calls it: `checkpoint 2`, or `checkpoint 2 of the creator`."""
        return f"checkpoint {self.number}" + (" of the creator" if self.player == "creator" else "")


@dataclass(frozen=True, slots=True)
class HolderRow:
    """A run that has a checkpoint in a folder. `newest` is the number of its player's newest checkpoint."""

    run_id: int
    name: str
    status: str
    iteration: int
    config: JsonObject
    newest: int
    number: int
    path: str
    player: Player = "solver"


@dataclass(frozen=True, slots=True)
class HeldoutResponse:
    """One response to a held-out prompt with its reward, or the reason why it has none."""

    item: int
    sample: int
    text: str
    finish: str
    tokens: int
    reward: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class HeldoutComparison:
    """A greedy response compared with the baseline's: their rewards, and the probability that it is the better one.

    `preference` may be None, with the `reason`. Rewards are finite or None.
    """

    item: int
    reward: float | None
    baseline_reward: float | None
    preference: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A comparison with the texts of both responses, None for one that does not exist."""

    checkpoint: int
    item: int
    preference: float | None
    text: str | None
    baseline_text: str | None


@dataclass(frozen=True, slots=True)
class HeldoutPart:
    """A part of a held-out response's reward. `name` is the rewarder's name, a slash and the part's name."""

    item: int
    sample: int
    name: str
    part: Reward


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of rewards: the `count` of its values, their mean and their sum (None without values)."""

    name: str
    count: int
    mean: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class LineageRow:
    """A descendant of a prompt, `distance` evolutions below it."""

    number: int
    parent: int
    distance: int
    operator: str
    born: int
    text: str = field(repr=False)
