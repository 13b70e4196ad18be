"""The summary of a run: a frozen dataclass per part, and how they become JSON and are read from it again.

Every field is explained in docs/report.md. A figure that is not known is None, which JSON holds as null; an optional
field (`OMITTED`) is absent from the JSON instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

SCHEMA = 1

Part = TypeVar("Part")

OMITTED = {"omitted": True}
"""Metadata of a field that the JSON leaves out where it is None."""

Figure = int | float
"""A figure of a stored statistic, written as it was stored."""
Context = tuple[Mapping[str, str], ...]
"""The messages before a prompt: `role` and `content` of each."""


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage that has begun and is not done."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ForkOrigin:
    """The run that a fork comes from, and the first iteration that the fork plays itself."""

    run: str
    iteration: int | None


@dataclass(frozen=True, slots=True)
class RunState:
    """What is played, and how far it is."""

    name: str
    status: str
    error: str | None
    iteration: int
    iterations: int
    stage: StageProgress | None
    seed: int
    forked_from: ForkOrigin | None
    prompts: int
    model: str
    reward: str
    metric: str
    loss: str
    success: float
    config_hash: str
    created_at: str
    started_at: str | None
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class Score:
    """How well a policy does on a held-out set in one mode of sampling."""

    accuracy: float
    low: float
    high: float
    n: int
    correct: int
    reward: float | None
    reward_error: float | None
    binary: bool


@dataclass(frozen=True, slots=True)
class SetScores:
    """How well a policy does on a held-out set: with its greedy responses, and with sampled ones."""

    checkpoint: int
    greedy: Score | None
    sampled: Score | None


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True)
class ModeChange:
    """What changed in one mode of sampling, over `items` that both policies have answered."""

    items: int
    accuracy: Interval
    reward: Interval | None


@dataclass(frozen=True, slots=True)
class SetChange:
    """From the initial model to a newer one, with greedy responses and with sampled ones."""

    greedy: ModeChange | None
    sampled: ModeChange | None


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """The initial model and the newest one on a held-out set, and the change between them, paired by item."""

    before: SetScores | None
    after: SetScores | None
    change: SetChange | None = None


@dataclass(frozen=True, slots=True)
class LengthControlled(Interval):
    """A win rate at equal lengths."""

    coefficient: Figure


@dataclass(frozen=True, slots=True)
class StyleControlled(Interval):
    """A win rate in the baseline's style."""

    coefficients: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class SelfPreference:
    """How much more often the judge's own responses win under the judge than under a second rewarder."""

    prompts: int
    judge: Interval
    second: Interval
    bias: Interval
    rewarder: str
    second_rewarder: str | None


@dataclass(frozen=True, slots=True)
class WinRate:
    """One policy against the baseline of one held-out set."""

    checkpoint: int
    prompts: int
    missing: int
    win_rate: Interval | None
    error: Figure | None
    wins: int | None
    losses: int | None
    ties: int | None
    length_controlled: LengthControlled | None
    length: Figure | None
    baseline_length: Figure | None
    gain: Interval | None
    elo: Interval | None
    style_controlled: StyleControlled | None = field(default=None)
    self_preference: SelfPreference | None = field(default=None, metadata=OMITTED)
    control_reason: str | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class Children:
    """How many children the evolutions made, and why others were refused."""

    accepted: int | None
    refused: Mapping[str, int]
    given_up: int | None


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Prompts of a batch: new children, those kept from the pool, all."""

    children: int
    buffer: int
    prompts: int


@dataclass(frozen=True, slots=True)
class BoundBreach:
    """A figure of diversity beyond a bound of the config."""

    figure: str
    value: Figure
    bound: Figure
    text: str
    pauses: bool


@dataclass(frozen=True, slots=True)
class CrossedBound:
    """A figure of diversity and the bound that it has crossed."""

    figure: str
    value: Figure
    bound: Figure


@dataclass(frozen=True, slots=True)
class SteeringFacts:
    """What the creator was steered by, and why: docs/reference/diversity.md."""

    level: int
    why: tuple[CrossedBound, ...]
    buffer: Figure
    temperature: Figure
    breadth: Figure


@dataclass(frozen=True, slots=True)
class Diversity:
    """How diverse a batch and its responses were: docs/reference/diversity.md."""

    distinct_1: Figure | None
    distinct_2: Figure | None
    distinct_3: Figure | None
    expected_distinct: Figure | None
    vendi: Figure | None
    vendi_texts: int | None
    length_entropy: Figure | None
    near_duplicates: Figure | None
    effective_roots: Figure | None
    effective_topics: Figure | None
    topics: Mapping[str, Figure] | None
    response_distinct_1: Figure | None
    response_distinct_2: Figure | None
    response_distinct_3: Figure | None
    response_texts: int | None
    largest_topic: Figure | None = None
    breaches: tuple[BoundBreach, ...] = ()


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """Mean reward, and mean gap between best and worst response, of a category: docs/reference/categories.md.

    The intervals are over prompts. `rewarded` and `informative` count the prompts that have a reward, and a gap.
    """

    category: str
    prompts: int
    share: Figure
    reward: Figure | None
    reward_interval: tuple[Figure, Figure] | None
    rewarded: int
    gap: Figure | None
    gap_interval: tuple[Figure, Figure] | None
    informative: int


@dataclass(frozen=True, slots=True)
class Correlations:
    """Correlations of the reward with a feature of the responses."""

    raw: Figure | None
    within: Figure | None
    partial: Figure | None


@dataclass(frozen=True, slots=True)
class Verbosity:
    """How often the longer of two responses has the higher reward."""

    pairs: int
    longer_wins: Figure | None
    correlation: Figure | None


@dataclass(frozen=True, slots=True)
class SecondRewarder:
    """How far the auditor orders responses as the run's rewarder does."""

    rewarder: str
    prompts: int
    kendall: Figure | None
    spearman: Figure | None
    pairs: Figure | None
    verbosity: Verbosity | None = None


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How the order of two responses changes a judge's verdict."""

    disagreement: Figure | None
    first: Figure | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What the rewarder likes besides quality: docs/reference/judging.md."""

    rewarder: str
    responses: int
    features: Mapping[str, Correlations] | None = field(default=None, metadata=OMITTED)
    verbosity: Verbosity | None = field(default=None, metadata=OMITTED)
    second: SecondRewarder | None = field(default=None, metadata=OMITTED)
    parts: Mapping[str, Figure | None] | None = field(default=None, metadata=OMITTED)
    cost_usd: Figure | None = field(default=None, metadata=OMITTED)
    position: PositionBias | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class Weighed:
    """The responses that an online loss trained on, and by reason how many it did not."""

    responses: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CreatorStep:
    """What the replies of a creator with weights of its own were worth, and its update.

    `regret` and `likeness` are means over its children, `reward` over its judged replies. `steps` is None until it is
    updated, and for a frozen one.
    """

    reward: Figure | None
    regret: Figure | None
    likeness: Figure | None
    trained: int
    steps: int | None


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration that has begun: its creator step, its solver step, and the policy that it made."""

    iteration: int
    warm_up: bool
    prompts: int | None
    reward_mean: Figure | None
    reward_best: Figure | None
    reward_worst: Figure | None
    info_mean: Figure | None
    degenerate: Mapping[str, int]
    sampled: int | None
    children: Children | None
    batch: BatchSizes | None
    batch_reward_mean: Figure | None
    batch_info_mean: Figure | None
    pairs: int | None
    skipped: Mapping[str, int]
    steps: int | None
    dropped: Mapping[str, int]
    loss: Figure | None
    margin: Figure | None
    responses: int | None
    sampled_tokens: int | None
    cost_usd: Mapping[str, Figure] | None
    diversity: Diversity | None
    audit: Audit | None
    heldout: Mapping[str, SetScores]
    seconds: float
    # in a run of an online loss, in place of pairs
    weighed: Weighed | None = field(default=None, metadata=OMITTED)
    # in a run with collapse.steer
    steering: SteeringFacts | None = field(default=None, metadata=OMITTED)
    # in a run whose creator has weights of its own
    creator: CreatorStep | None = field(default=None, metadata=OMITTED)
    # where the config has categories
    categories: tuple[CategoryFigures, ...] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, slots=True)
class RewardedResponse:
    """A response and its reward."""

    text: str
    reward: float


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A prompt of a family, with its best and its worst response when it was first judged."""

    number: int
    parent: int | None
    operator: str | None
    depth: int
    iteration: int | None
    text: str
    on_path: bool
    info: float | None
    checkpoint: int | None
    best: RewardedResponse | None
    worst: RewardedResponse | None
    context: Context = ()


@dataclass(frozen=True, slots=True)
class PolicyResponse:
    """A policy's greedy response to a held-out prompt."""

    checkpoint: int
    text: str
    reward: float | None
    correct: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class HeldoutExample:
    """A held-out prompt and every policy's response to it."""

    split: str
    item: int
    text: str
    answers: tuple[PolicyResponse, ...]
    context: Context = ()


@dataclass(frozen=True, slots=True)
class DifficultyInfo:
    """Mean informativeness of a batch's prompts with this number of operations."""

    iteration: int
    operations: int
    prompts: int
    info: float | None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, and how often a stage was started again."""

    wall: float | None
    stages: float
    by_stage: Mapping[str, float]
    restarts: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run has done so far, in figures and examples."""

    schema: int
    run: RunState
    heldout: Mapping[str, BeforeAfter]
    win_rates: Mapping[str, tuple[WinRate, ...]]
    iterations: tuple[Iteration, ...]
    family: tuple[FamilyMember, ...]
    example: HeldoutExample | None
    operations: tuple[DifficultyInfo, ...]
    timings: Timings


def summary_json(summary: RunSummary) -> dict[str, Any]:
    """The summary as JSON holds it."""
    return _json(summary)


def read_summary(values: Mapping[str, Any]) -> RunSummary:
    """Reads a summary from its JSON. Raises pydantic's ValidationError, a ValueError, if it is not a summary."""
    return _adapter(RunSummary).validate_python(values)


def read_part(kind: type[Part], values: Mapping[str, Any]) -> Part:
    """A part of a summary from a statistic as it is stored."""
    return _adapter(kind).validate_python(values)


@cache
def _adapter(kind: type[Part]) -> TypeAdapter[Part]:
    return TypeAdapter(kind)


def _json(value: Any) -> Any:
    if is_dataclass(value):
        items = [(part, getattr(value, part.name)) for part in fields(value)]
        return {part.name: _json(item) for part, item in items if item is not None or "omitted" not in part.metadata}
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in cast("Sequence[Any]", value)]
    return value
