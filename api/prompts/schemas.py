"""Prompts as the API shows them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from api.schema import Schema
from eva.runtime.redaction import redact
from eva.types import Prompt as StoredPrompt
from store.rows import LineageRow
from store.views.prompt_details import OriginRow, PairRow, ResponseRow, TakenPart
from store.views.prompt_pages import FoundPrompt

Sort = Literal["number", "-number", "info", "-info", "depth", "-depth"]


class Prompt(Schema):
    """One prompt."""

    number: int
    """Its number in the run, for ever."""
    text: str
    """What the solver is asked."""
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
    """Its topic, where the file of prompts gave one."""


class FoundInPage(Prompt):
    """A prompt and how informative it was."""

    iteration: int | None
    """The iteration that `info` comes from: the one asked for, else the first that judged it."""
    info: float | None
    """Informativeness there; null where it could not be estimated."""


class PromptPage(Schema):
    """Prompts in the order asked for."""

    items: list[FoundInPage]
    """The prompts of this page."""
    next: str | None
    """`cursor` of the next page; null at the end."""


class Reward(Schema):
    """One rewarder's reward of a response."""

    rewarder: str
    """Who rewarded it."""
    value: float | None
    """The reward."""
    reason: str | None
    """Why there is none."""


class Response(Schema):
    """One answer to a prompt."""

    checkpoint: int
    """The policy that wrote it."""
    sample: int
    """Which of the policy's answers to this prompt it is."""
    text: str
    """What it says."""
    finish: str
    """Why it ended: `stop`, or `length` where it was cut."""
    tokens: int
    """Its length in tokens."""
    seed: int
    """The seed that it was sampled with."""
    rewards: list[Reward]
    """What it was worth."""


class Responses(Schema):
    """Answers to a prompt, by checkpoint and sample."""

    items: list[Response]
    """The answers."""
    truncated: bool
    """Whether there are more: ask for one checkpoint's."""


class Part(Schema):
    """An iteration that the prompt took part in."""

    iteration: int
    """Which."""
    pool_info: float | None
    """Informativeness in the creator's pool."""
    pool_reason: str | None
    """Why it could not be estimated there."""
    weight: float | None
    """Its weight when the subset was sampled."""
    key: float | None
    """Its Gumbel key: the largest were sampled."""
    sampled: bool | None
    """Whether it was evolved; null where it was not in the pool."""
    buffer: bool | None
    """Whether it came to the batch from the pool; null where it was not in the batch."""
    batch_info: float | None
    """Informativeness in the solver's batch."""
    batch_reason: str | None
    """Why it could not be estimated there."""


class Pair(Schema):
    """A preference pair that the solver trained on."""

    iteration: int
    """When."""
    checkpoint: int
    """The policy that wrote both responses."""
    chosen: int
    """Sample of the better response."""
    rejected: int
    """Sample of the worse one."""
    chosen_reward: float
    """Reward of the better."""
    rejected_reward: float
    """Reward of the worse."""
    margin: float
    """Their difference, in the choice's own units."""


class Origin(Schema):
    """How the creator made the prompt."""

    iteration: int
    """When."""
    source: int
    """The sampled prompt whose evolutions it is one of."""
    slot: int
    """Which of them."""
    attempt: int
    """At which try."""
    operator: str
    """The mutation."""


class Message(Schema):
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    """What it says."""


class PromptDetails(Prompt):
    """One prompt with all that happened to it."""

    context: list[Message]
    """The conversation before its text; empty before a plain prompt."""
    children: int
    """Prompts that were evolved directly from it."""
    origin: Origin | None
    """How it was made; null for a seed prompt."""
    parts: list[Part]
    """The iterations that it took part in."""
    pairs: list[Pair]
    """What was trained on."""
    why: list[str]
    """Why it was trained on, or not, from its making on: one sentence per step."""
    quarantined: dict[int, str]
    """Checkpoint: why it could not be answered."""
    responses: Responses
    """What was answered to it."""


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
    """Evolutions from the prompt asked for: below 0 its ancestors, above 0 what grew from it."""
    info: float | None
    """Informativeness when it was first judged."""
    children: int
    """Prompts that were evolved directly from it."""
    batches: list[int]
    """Iterations whose batch it was in."""
    text: str
    """What it asks."""


class Lineage(Schema):
    """What a prompt grew from, and into."""

    context: list[Message]
    """The conversation before the texts; empty before plain prompts."""
    prompt: Relative
    """The prompt asked for."""
    ancestors: list[Relative]
    """From its seed prompt down to its parent."""
    descendants: list[Relative]
    """What grew from it, nearest first, then by number."""
    truncated: bool
    """Whether there are more of either than `limit`, or deeper ones than `depth`."""


def in_page(row: FoundPrompt) -> FoundInPage:
    """A prompt of a page."""
    return FoundInPage.model_validate(row)


def responses_of(rows: list[ResponseRow], limit: int, secrets: Collection[str]) -> Responses:
    """The first `limit` of the responses; reasons go without these secrets."""
    return Responses(items=[_response(row, secrets) for row in rows[:limit]], truncated=len(rows) > limit)


def _response(row: ResponseRow, secrets: Collection[str]) -> Response:
    found = Response.model_validate(row)
    rewards = [one.model_copy(update={"reason": one.reason and redact(one.reason, secrets)}) for one in found.rewards]
    return found.model_copy(update={"rewards": rewards})


def details_of(
    prompt: StoredPrompt,
    *,
    children: int,
    origin: OriginRow | None,
    parts: list[TakenPart],
    pairs: list[PairRow],
    why: list[str],
    quarantined: dict[int, str],
    responses: Responses,
) -> PromptDetails:
    """A prompt with all that happened to it."""
    return PromptDetails(
        number=prompt.number,
        text=prompt.text,
        parent=prompt.parent,
        root=prompt.root,
        operator=prompt.operator,
        depth=prompt.depth,
        born=prompt.born,
        topic=prompt.topic,
        children=children,
        context=[Message.model_validate(message) for message in prompt.context],
        origin=None if origin is None else Origin.model_validate(origin),
        parts=[Part.model_validate(part) for part in parts],
        pairs=[Pair.model_validate(pair) for pair in pairs],
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
