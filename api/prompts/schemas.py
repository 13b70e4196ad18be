"""Schemas of prompts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from api.schema import Schema
from eva.runtime.redaction import redact
from eva.types import Prompt as StoredPrompt
from store.rows import LineageRow
from store.views.prompt_details import AdvantageRow, OriginRow, PairRow, Participation, ResponseRow
from store.views.prompt_lists.pages import FoundPrompt

Sort = Literal[
    "number",
    "-number",
    "info",
    "-info",
    "depth",
    "-depth",
    "born",
    "-born",
    "reward",
    "-reward",
    "margin",
    "-margin",
    "length",
    "-length",
    "correlation",
    "-correlation",
    "vote",
    "-vote",
    "success",
    "-success",
    "gain",
    "-gain",
    "children",
    "-children",
    "likeness",
    "-likeness",
    "guide",
    "-guide",
]


class Prompt(Schema):
    """One prompt."""

    number: int
    """Its number in the run, which never changes."""
    text: str
    """Its text, which the solver responds to."""
    parent: int | None
    """The prompt that it was evolved from; null for a seed prompt."""
    root: int
    """The seed prompt of its family."""
    operator: str | None
    """The mutation that made it; null for a seed prompt."""
    depth: int
    """Evolutions since the seed prompt."""
    born: int
    """The iteration that made it; -1 for a seed prompt."""
    topic: str | None
    """Its topic, if the file of prompts has one."""
    reference: str | None
    """Its reference answer: a seed prompt's from the file, a child's from the creator that wrote it."""
    likeness: float | None
    """How much a child repeats other prompts of the run, 0 to 1, where `novelty.pull` has it measured."""
    guide: float | None
    """How sensible and useful a task the guide finds it, 0 to 1."""


class ListedPrompt(Prompt):
    """A prompt and how informative it was."""

    iteration: int | None
    """The iteration that `info` comes from: the requested one, else the first that judged the prompt."""
    info: float | None
    """Its informativeness there; null if it could not be estimated."""
    checkpoint: int | None
    """The policy whose responses were judged there; the figures below are those of these responses."""
    reward: float | None
    """Their mean reward."""
    margin: float | None
    """The best reward minus the worst."""
    length: float | None
    """Their mean number of tokens."""
    correlation: float | None
    """The correlation of reward and number of tokens over the responses; null where one of them does not vary."""
    vote: float | None
    """With `reward.kind: agreement`, the share of the responses that have the commonest answer."""
    success: float | None
    """The share of them whose reward reaches `evaluation.success`."""
    answer: str | None
    """The commonest answer. Of equally common ones, the first in alphabetical order."""
    gain: float | None
    """Over all policies: the mean reward of the newest one that responded to it minus that of the first one; null where
    fewer than two did."""
    children: int
    """How many prompts were evolved directly from it."""


class PromptPage(Schema):
    """Prompts in the requested order."""

    total: int | None
    """How many prompts match, on all pages; null if they are more than 100,000."""

    items: list[ListedPrompt]
    """The prompts of this page."""
    next: str | None
    """The `cursor` of the next page; null on the last page."""


class Reward(Schema):
    """The reward that one rewarder gave to a response."""

    rewarder: str
    """The rewarder."""
    value: float | None
    """The reward; null if there is none."""
    reason: str | None
    """Why there is no reward."""
    answer: str | None
    """What the rewarder read as the response's answer, if it reads one."""


class Response(Schema):
    """One response to a prompt."""

    checkpoint: int
    """The policy that generated it."""
    sample: int
    """Its index among the policy's responses to this prompt."""
    text: str
    """Its text."""
    finish: str
    """Why it ended: `stop`, or `length` if it was cut off."""
    tokens: int
    """Its length in tokens."""
    seed: int
    """The seed that it was sampled with."""
    rewards: list[Reward]
    """Its rewards."""


class Responses(Schema):
    """Responses to a prompt, by checkpoint and sample."""

    items: list[Response]
    """The responses."""
    truncated: bool
    """Whether there are more. Request those of a single checkpoint to get them all."""


class Part(Schema):
    """An iteration that the prompt took part in."""

    iteration: int
    """The iteration."""
    pool_info: float | None
    """Its informativeness in the creator's pool."""
    pool_reason: str | None
    """Why it could not be estimated there."""
    weight: float | None
    """Its weight when the subset was sampled."""
    key: float | None
    """Its Gumbel key: the largest were sampled."""
    sampled: bool | None
    """Whether it was sampled to be evolved; null if it was not in the pool."""
    buffer: bool | None
    """Whether it was kept from the pool for the batch; null if it was not in the batch."""
    batch_info: float | None
    """Its informativeness in the solver's batch."""
    batch_reason: str | None
    """Why it could not be estimated there."""


class Pair(Schema):
    """A preference pair that the solver trained on."""

    iteration: int
    """The iteration that trained on it."""
    checkpoint: int
    """The policy that generated both responses."""
    chosen: int
    """The sample index of the better response."""
    rejected: int
    """The sample index of the worse response."""
    chosen_reward: float
    """The reward of the better response."""
    rejected_reward: float
    """The reward of the worse response."""
    margin: float
    """Their difference, in the units of the pair choice."""


class Advantage(Schema):
    """What a response counts for an online loss, which trains on every response in place of pairs."""

    iteration: int
    """The iteration."""
    checkpoint: int
    """The policy that generated it."""
    sample: int
    """Its index among the policy's responses to this prompt."""
    advantage: float | None
    """How much better it is than the prompt's other responses, by the rule of the loss; null if not trained on."""
    reason: str | None
    """Why it was not trained on."""


class Origin(Schema):
    """How the creator made the prompt."""

    iteration: int
    """The iteration that made it."""
    source: int
    """The sampled prompt that it was evolved from, directly or in several steps."""
    slot: int
    """Its index among the children of that prompt."""
    attempt: int
    """The attempt that succeeded."""
    operator: str
    """The mutation that made it."""


class Message(Schema):
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    """Its text."""


class PromptDetails(Prompt):
    """One prompt with everything that happened to it."""

    context: list[Message]
    """The conversation before its text; empty for a plain prompt."""
    children: int
    """Prompts that were evolved directly from it."""
    origin: Origin | None
    """How it was made; null for a seed prompt."""
    parts: list[Part]
    """The iterations that it took part in."""
    pairs: list[Pair]
    """The pairs of it that were trained on."""
    advantages: list[Advantage]
    """What its responses count for an online loss."""
    why: list[str]
    """Why it was trained on, or not: one sentence per step, from its origin on."""
    quarantined: dict[int, str]
    """Why a checkpoint could not respond to it, by checkpoint."""
    responses: Responses
    """The responses to it."""


class Relative(Schema):
    """A prompt of a family."""

    number: int
    """Its number."""
    parent: int | None
    """The prompt that it was evolved from."""
    operator: str | None
    """The mutation that made it."""
    born: int
    """The iteration that made it; -1 for a seed prompt."""
    distance: int
    """Evolutions from the requested prompt: negative for ancestors, positive for descendants."""
    info: float | None
    """Its informativeness when it was first judged."""
    children: int
    """Prompts that were evolved directly from it."""
    batches: list[int]
    """The iterations whose batch it was in."""
    text: str
    """Its text."""


class Lineage(Schema):
    """The ancestors and descendants of a prompt."""

    context: list[Message]
    """The conversation before the texts; empty for plain prompts."""
    prompt: Relative
    """The requested prompt."""
    ancestors: list[Relative]
    """From its seed prompt down to its parent."""
    descendants: list[Relative]
    """Its descendants, nearest first, then by number."""
    truncated: bool
    """Whether there are more of either than `limit`, or descendants deeper than `depth`."""


def in_page(row: FoundPrompt) -> ListedPrompt:
    """Describes a prompt for a page."""
    return ListedPrompt.model_validate(row)


def responses_of(rows: list[ResponseRow], limit: int, secrets: Collection[str]) -> Responses:
    """Describes the first `limit` responses, without these secrets in their reasons."""
    return Responses(items=[_response(row, secrets) for row in rows[:limit]], truncated=len(rows) > limit)


def _response(row: ResponseRow, secrets: Collection[str]) -> Response:
    response = Response.model_validate(row)
    rewards = [
        reward.model_copy(update={"reason": reward.reason and redact(reward.reason, secrets)})
        for reward in response.rewards
    ]
    return response.model_copy(update={"rewards": rewards})


def details_of(
    prompt: StoredPrompt,
    *,
    children: int,
    origin: OriginRow | None,
    parts: list[Participation],
    pairs: list[PairRow],
    advantages: list[AdvantageRow],
    why: list[str],
    quarantined: dict[int, str],
    responses: Responses,
) -> PromptDetails:
    """Describes a prompt with everything that happened to it."""
    return PromptDetails(
        number=prompt.number,
        text=prompt.text,
        parent=prompt.parent,
        root=prompt.root,
        operator=prompt.operator,
        depth=prompt.depth,
        born=prompt.born,
        topic=prompt.topic,
        reference=prompt.reference,
        likeness=prompt.likeness,
        guide=prompt.guide,
        children=children,
        context=[Message.model_validate(message) for message in prompt.context],
        origin=None if origin is None else Origin.model_validate(origin),
        parts=[Part.model_validate(part) for part in parts],
        pairs=[Pair.model_validate(pair) for pair in pairs],
        advantages=[Advantage.model_validate(advantage) for advantage in advantages],
        why=why,
        quarantined=quarantined,
        responses=responses,
    )


def relative_of(
    row: StoredPrompt | LineageRow,
    distance: int,
    infos: dict[int, float | None],
    facts: dict[int, tuple[int, list[int]]],
) -> Relative:
    """A prompt of a family."""
    children, batches = facts[row.number]
    return Relative(
        number=row.number,
        parent=row.parent,
        operator=row.operator,
        born=row.born,
        distance=distance,
        info=infos.get(row.number),
        children=children,
        batches=batches,
        text=row.text,
    )
