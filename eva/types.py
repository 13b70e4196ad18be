"""The values that travel between the parts: frozen, made once, never edited.

Letters in array names: P prompts, N responses per prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


Player = Literal["solver", "creator"]
"""Whose weights: the policy that the run aligns, or a creator of its own that writes children."""
PLAYERS: tuple[Player, ...] = get_args(Player)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


Context = tuple[Message, ...]
"""The messages before a prompt's text, which is the last user turn; empty for a plain prompt."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of a run; (run, number) identifies it for ever.

    `text` is what evolves; a child has the `context` of its parent. `parent` and `operator` are None for a seed
    prompt. `root` is the number of its seed prompt, `depth` the number of evolutions from there, and `born` the
    iteration that made it (-1 for a seed prompt). `reference` is the answer that is known to be right: from the prompt
    file, or from the creator that wrote the child. `likeness`: how much a child repeats other prompts, 0 to 1
    (eva.creator.likeness), and `guide`: the guide's score, 0 to 1; None where they were not measured.
    """

    number: int
    text: str
    parent: int | None = None
    root: int = 0
    operator: str | None = None
    depth: int = 0
    born: int = -1
    topic: str | None = None
    context: Context = ()
    reference: str | None = None
    likeness: float | None = None
    guide: float | None = None


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How responses are sampled. `temperature` 0 is greedy. `max_tokens` limits the response's tokens."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for responses `first` .. `first + n - 1` to one prompt; sample i is drawn with `seed + i`.

    `record` asks for the sampled tokens and their log-probabilities too.
    """

    number: int
    text: str
    n: int
    seed: int
    sampling: SamplingSettings
    first: int = 0
    context: Context = ()
    record: bool = False

    @property
    def sequences(self) -> int:
        """How many responses are sampled: greedy ones are all equal."""
        return 1 if self.sampling.temperature == 0 else self.n


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled response. `finish` is the engine's reason for ending it: "stop", or "length" (cut at the limit).

    `token_ids` are the tokens as sampled, with the one that ended the turn; `logprobs` are their log-probabilities in
    nats, under the policy and the distribution that was sampled from. Both are empty unless the request asked for them.
    """

    sample: int
    text: str
    finish: str
    tokens: int
    seed: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptResponses:
    """The responses to one prompt, or why there are none (`failure`: a fault of the data).

    `prompt_ids` are the prompt's tokens as the engine read them, empty unless the request asked for them. `reference`
    is the prompt's reference answer, which rewarders see and engines do not.
    """

    number: int
    text: str
    responses: tuple[Response, ...]
    failure: str | None = None
    prompt_tokens: int = 0
    context: Context = ()
    prompt_ids: tuple[int, ...] = ()
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Reward:
    """r(x, y), or None with the reason why this response could not be rewarded.

    `parts` are the rewards that it was computed from, by name: an ensemble's members, a judge's figures. Each is stored
    as a reward of its own, named REWARDER/PART. `answer` is what the rewarder read as the response's answer, if it
    reads one.
    """

    value: float | None
    reason: str | None = None
    parts: tuple[tuple[str, Reward], ...] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class RewardedResponses:
    """The rewards of one prompt's responses, in the order of the responses."""

    prompt: PromptResponses
    rewards: tuple[Reward, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RewardTable:
    """The rewards of a set of prompts, usually under one policy: a row per prompt, without the texts.

    Missing responses and rewards are NaN in `rewards_P_N` and 0 in `text_hashes_P_N`. `cut_P_N` marks responses that
    were cut at the token limit. `failures` maps prompts without responses to the reason. `checkpoints_P` is the
    checkpoint behind each prompt's responses, if they differ. `tokens_P_N` are the responses' lengths, if known.
    """

    numbers_P: Ints
    rewards_P_N: Floats
    text_hashes_P_N: Ints
    cut_P_N: Bools
    failures: Mapping[int, str] = field(default_factory=dict[int, str])
    checkpoints_P: Ints | None = None
    tokens_P_N: Ints | None = None


REASONS = (None, "unanswered", "too_few_rewards", "one_text", "equal_rewards", "not_finite")
"""Why info is NULL (unanswered, too_few_rewards, not_finite: the metric returned no number) or there is no gap."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """info per prompt; NaN stands for NULL: not sampled, and no pair. `codes_P` are indexes of REASONS."""

    numbers_P: Ints
    info_P: Floats
    codes_P: Ints
    metric: str = "a_min"

    def reason(self, row: int) -> str | None:
        return REASONS[int(self.codes_P[row])]

    def counts(self) -> dict[str, int]:
        """Returns how many prompts were degenerate, by reason."""
        counted = np.bincount(self.codes_P, minlength=len(REASONS)).tolist()
        return {reason: count for reason, count in zip(REASONS, counted, strict=True) if reason and count}


@dataclass(frozen=True, slots=True)
class PairChoice:
    """Two responses of a prompt, by sample index, that make a preference pair."""

    number: int
    chosen: int
    rejected: int
    chosen_reward: float
    rejected_reward: float

    @property
    def margin(self) -> float:
        return self.chosen_reward - self.rejected_reward


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Prompt, chosen and rejected response as the trainer reads them; a response that was cut did not end its turn."""

    number: int
    prompt: str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    chosen_cut: bool = False
    rejected_cut: bool = False
    context: Context = ()


@dataclass(frozen=True, slots=True)
class ResponseAdvantage:
    """A response's advantage, or the reason why it is not trained on; `reward` is None if it has none."""

    number: int
    sample: int
    reward: float | None
    advantage: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One stored, verified version of the policy.

    `number` 0 is the initial model; `path` is its folder; `digest` is the SHA-256 of its manifest. `step`: 0, or the
    optimiser steps from checkpoint `number` to a policy inside an iteration.
    """

    number: int
    iteration: int
    path: str
    digest: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One logged optimiser step, with the names of docs/reference/losses.md (loss, rewards/margins, kl_k3, …)."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ChunkPairs:
    """A chunk's preference pairs, or its responses (a file as in TrainingJob), and the `steps` that it takes if each
    prompt gives one pair, or all its responses."""

    pairs_path: str
    steps: int


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job: preference pairs or weighted responses in, a verified checkpoint out.

    `pairs_path` is a JSONL file of PreferencePair rows; for an online loss, a Parquet file of WeightedResponse rows,
    which were sampled as `sampling` says. `policy` is trained and `reference` regularises it. `initial` is checkpoint
    0, for losses that also compare with it; `earlier` are the policies, newest first, that an optimistic loss mixes
    with the reference. The new checkpoint is number `number`, published below `folder`.

    In semi-online training `chunks`, in order, stand in place of `pairs_path`: all of the iteration so far, of
    `planned_steps` in all chunks. With `hand_over`, the policy after the last of them is published in that folder, for
    the engines alone, and the training goes on later.

    `machine`: Ray's name for the machine whose disk has the job's files, None if all machines see them.
    `player`: whose weights these are, and so which settings of the config train them.
    """

    number: int
    iteration: int
    policy: Checkpoint
    reference: Checkpoint
    pairs_path: str
    folder: str
    seed: int
    fence: int = 0
    initial: Checkpoint | None = None
    earlier: tuple[Checkpoint, ...] = ()
    chunks: tuple[ChunkPairs, ...] = ()
    planned_steps: int = 0
    hand_over: str | None = None
    sampling: SamplingSettings | None = None
    machine: str | None = None
    player: Player = "solver"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a training job: the checkpoint, the logged steps, and how many rows were dropped, by reason."""

    checkpoint: Checkpoint
    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class PromptCategory:
    """The category of a prompt, and how sure its classifier is (None where it does not say)."""

    name: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Feedback:
    """The policy's best and worst response to a sampled prompt (`prompt`), with their rewards."""

    prompt: str
    best: str
    best_reward: float
    worst: str
    worst_reward: float


@dataclass(frozen=True, slots=True)
class Mutation:
    """Asks an evolver for one child. `seed` is derived for this attempt alone.

    `partner` is a second prompt, for operators that take one. `feedback` says how the policy did on the sampled prompt
    that the chain starts from, for evolvers that use it. `conversation` holds the messages before `text`, which also
    precede the child.
    """

    text: str
    operator: str
    seed: int
    partner: str | None = None
    feedback: Feedback | None = None
    conversation: Context = ()

    @property
    def context(self) -> Feedback | None:
        """The former name of `feedback`, for evolvers written for it."""
        return self.feedback


@dataclass(frozen=True, slots=True)
class Reply:
    """An evolver's reply: a child's text as received, with its cost.

    `finish` is "stop" for a complete reply and "length" for one that was cut; anything else says why there is none.
    `reference` is the child's reference answer, from an evolver that knows it.
    A creator that is trained gives the tokens that it was asked with and those that it sampled, with their
    log-probabilities (nats).
    """

    text: str
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost_usd: float = 0.0
    finish: str = "stop"
    reference: str | None = None
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class GuideScore:
    """How sensible and useful a task a child is, from 0 to 1, with what the opinion cost.

    None where the guide's reply could not be read.
    """

    score: float | None
    prompt_tokens: int = 0
    reply_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One mutation and its outcome: `reason` is None if the child was accepted.

    `slot` is the child's position in its chain, from 0; `parent_slot` is the slot of the prompt that was mutated, None
    for the sampled prompt itself. `guide` is the guide's score of the child; the reply's cost includes the guide's.
    """

    slot: int
    attempt: int
    operator: str
    parent_slot: int | None
    reply: Reply
    reason: str | None = None
    guide: float | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """All attempts made from one sampled prompt (`source` is its number), in order."""

    source: int
    attempts: tuple[Attempt, ...]

    @property
    def accepted(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.reason is None)


@dataclass(frozen=True, slots=True)
class EvolvedAhead:
    """How much of an iteration was evolved ahead of its turn: the prompts whose chains were taken, and when.

    Times are in nanoseconds since the epoch; None where an earlier driver has evolved them.
    """

    prompts: int
    began_ns: int | None = None
    ended_ns: int | None = None

    @property
    def seconds(self) -> float:
        """How long this driver evolved ahead."""
        return 0.0 if self.began_ns is None or self.ended_ns is None else (self.ended_ns - self.began_ns) / 1e9
