"""Held-out prompts with the responses and rewards of several policies, in pages."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api.cursors import read_cursor, write_cursor
from api.prompts.schemas import Message
from api.schema import LARGEST_SMALL, Cursor, RunName, Schema
from api.service import Here, secrets_in
from eva.runtime.redaction import redact
from store.game.heldout import heldout_splits
from store.runs.runs import find_run
from store.views.heldout_samples import (
    Difference,
    SampledPrompt,
    SampleFilter,
    count_sampled,
    evaluated_policies,
    sampled_prompts,
)

router = APIRouter(prefix="/v1/runs/{run}/heldout", tags=["heldout"])

PAGE, LARGEST_PAGE, MOST_POLICIES = 10, 100, 6
Policy = Annotated[int, Query(ge=0, le=LARGEST_SMALL)]


class EarlierResponse(Schema):
    """A policy's response to an earlier turn of a conversation."""

    text: str
    """Its text."""
    finish: str
    """Why it ended: `stop`, `length` if it was cut off, or `failed`."""
    tokens: int
    """Its length in tokens."""
    reward: float | None
    """Its reward; null if it has none."""
    reason: str | None
    """Why it has no reward."""


class HeldoutResponse(Schema):
    """A policy's response to a held-out prompt."""

    checkpoint: int
    """The policy."""
    sample: int
    """Its index among the policy's responses to this prompt; 0 for a greedy one."""
    text: str
    """Its text."""
    finish: str
    """Why it ended: `stop`, `length` if it was cut off, or `failed`."""
    tokens: int
    """Its length in tokens."""
    reward: float | None
    """Its reward; null if it has none."""
    reason: str | None
    """Why it has no reward."""
    earlier: list[EarlierResponse]
    """Its responses to the earlier turns of the conversation, if this is a later one."""


class HeldoutPrompt(Schema):
    """A held-out prompt with responses."""

    split: str
    """Its set."""
    item: int
    """Its place in the set, from 0."""
    text: str
    """Its text."""
    context: list[Message]
    """The messages before it. Those of a later turn end with the user's earlier turns."""
    turn: int
    """Which turn of the conversation it is, from 1."""
    reference: str | None
    """Its reference answer, if its file has one."""
    responses: list[HeldoutResponse]
    """Responses of the requested policies, by policy and sample."""


class HeldoutPage(Schema):
    """Held-out prompts, by set and place in it."""

    splits: list[str]
    """The names of all sets of the run."""
    policies: list[int]
    """All policies that have responded to held-out prompts."""
    success: float
    """A response succeeds if its reward reaches this: `evaluation.success`."""
    shown: list[int]
    """The policies whose responses the page has; the last of them is compared with the first."""
    total: int | None
    """How many prompts match, on all pages; null if they are more than 100,000."""
    items: list[HeldoutPrompt]
    """The prompts of this page."""
    next: str | None
    """The `cursor` of the next page; null on the last page."""


@router.get("")
def list_heldout(
    here: Here,
    run: RunName,
    split: Annotated[str | None, Query(max_length=200, description="Only prompts of this set.")] = None,
    policy: Annotated[
        list[Policy] | None,
        Query(
            max_length=MOST_POLICIES,
            description="Responses of these policies; may be repeated. Without it, the first and the newest.",
        ),
    ] = None,
    mode: Annotated[
        Literal["greedy", "sampled"], Query(description="Greedy responses, or those sampled at temperature 1.")
    ] = "greedy",
    difference: Annotated[
        Difference | None,
        Query(
            description="Only prompts where the greedy response of the last of these policies has another reward than "
            "the first one's (`any`), a higher one (`better`), a lower one (`worse`), or the same one (`same`)."
        ),
    ] = None,
    text: Annotated[
        str | None, Query(max_length=500, description="Only prompts whose text contains this, in any case.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="The most items to return.")] = PAGE,
    cursor: Cursor = None,
) -> HeldoutPage:
    """What policies responded to held-out prompts, which no run trains on, side by side."""
    place = read_cursor(cursor, str, int)
    with here.reading() as conn:
        row = find_run(conn, run)
        policies = evaluated_policies(conn, row.id)
        shown = sorted({*policy}) if policy else sorted({*policies[:1], *policies[-1:]})
        wanted = SampleFilter(split, text, difference, *((shown[0], shown[-1]) if shown else ()))
        page = sampled_prompts(
            conn, row.id, wanted, shown, mode, limit + 1, None if place is None else (place[0], place[1])
        )
        splits, total = heldout_splits(conn, row.id), count_sampled(conn, row.id, wanted)
    secrets = secrets_in(row)
    last = page[limit - 1] if len(page) > limit else None
    return HeldoutPage(
        splits=splits,
        policies=policies,
        success=row.config.get("evaluation", {}).get("success", 1.0),
        shown=shown,
        total=total,
        items=[_prompt(prompt, secrets) for prompt in page[:limit]],
        next=None if last is None else write_cursor(last.split, last.item),
    )


def _prompt(prompt: SampledPrompt, secrets: frozenset[str]) -> HeldoutPrompt:
    return HeldoutPrompt(
        split=prompt.split,
        item=prompt.item,
        text=prompt.text,
        context=[Message(role=message.role, content=message.content) for message in prompt.context],
        turn=prompt.turn,
        reference=prompt.reference,
        responses=[
            HeldoutResponse(
                checkpoint=response.checkpoint,
                sample=response.sample,
                text=response.text,
                finish=response.finish,
                tokens=response.tokens,
                reward=response.reward,
                reason=_redacted(response.reason, secrets),
                earlier=[
                    EarlierResponse(
                        text=each.text,
                        finish=each.finish,
                        tokens=each.tokens,
                        reward=each.reward,
                        reason=_redacted(each.reason, secrets),
                    )
                    for each in response.earlier
                ],
            )
            for response in prompt.responses
        ],
    )


def _redacted(reason: str | None, secrets: frozenset[str]) -> str | None:
    return None if reason is None else redact(reason, secrets)
