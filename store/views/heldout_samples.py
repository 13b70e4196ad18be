"""Queries that show held-out prompts with the responses of several policies, and where these differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, tuple_
from sqlalchemy.sql import operators

from eva.types import Context
from store.game.contexts import read_context
from store.game.heldout import heldout_turns
from store.postgres.values import clean_text
from store.schema.tables import heldout_prompts, heldout_responses
from store.views.totals import count_rows

Difference = Literal["any", "better", "worse", "same"]
"""How the greedy response of a second policy compares with that of a first one, by reward."""


@dataclass(frozen=True, slots=True)
class SampleFilter:
    """Selects held-out prompts: of a set, with this text, and where two policies differ as `difference` says.

    `first` and `second` are the numbers of the policies. A missing reward differs from any reward.
    """

    split: str | None = None
    text: str | None = None
    difference: Difference | None = None
    first: int = 0
    second: int = 0


@dataclass(frozen=True, slots=True)
class HeldoutSample:
    """A policy's response to a held-out prompt, with its reward or the reason why there is none.

    `earlier`: its responses to the earlier turns of the same conversation.
    """

    checkpoint: int
    sample: int
    text: str
    finish: str
    tokens: int
    reward: float | None
    reason: str | None
    earlier: tuple[HeldoutSample, ...] = ()


@dataclass(frozen=True, slots=True)
class SampledPrompt:
    """A held-out prompt with responses, by policy and sample.

    `turn`: which of the user's turns it is; the context ends with the earlier ones.
    """

    split: str
    item: int
    text: str
    context: Context
    turn: int
    reference: str | None
    responses: tuple[HeldoutSample, ...]


def evaluated_policies(conn: Connection, run_id: int) -> list[int]:
    """Returns the numbers of the policies that have responded to held-out prompts, in order."""
    column = heldout_responses.c.checkpoint
    return sorted(conn.execute(select(column).where(heldout_responses.c.run_id == run_id).distinct()).scalars())


def sampled_prompts(
    conn: Connection,
    run_id: int,
    wanted: SampleFilter,
    policies: Sequence[int],
    mode: str,
    limit: int,
    after: tuple[str, int] | None = None,
) -> list[SampledPrompt]:
    """Returns a page of held-out prompts, by set and item, with these policies' responses in a mode of sampling."""
    columns = heldout_prompts.c
    query = select(columns.split, columns.item, columns.text, columns.context, columns.turn, columns.reference).where(
        columns.run_id == run_id
    )
    if after is not None:
        query = query.where(tuple_(columns.split, columns.item) > after)
    rows = conn.execute(
        query.where(*_conditions(run_id, wanted)).order_by(columns.split, columns.item).limit(limit)
    ).all()
    turns = heldout_turns(conn, run_id)
    items = [(split, row.item) for row in rows for split in (*turns[row.split], row.split)]
    responses = _responses(conn, run_id, items, policies, mode)
    return [
        SampledPrompt(
            row.split,
            row.item,
            row.text,
            read_context(row.context),
            row.turn,
            row.reference,
            _with_earlier(responses[row.split, row.item], [responses[turn, row.item] for turn in turns[row.split]]),
        )
        for row in rows
    ]


def count_sampled(conn: Connection, run_id: int, wanted: SampleFilter) -> int | None:
    """Returns how many held-out prompts there are of these, or None if they are too many to count."""
    matching = select(heldout_prompts.c.item).where(heldout_prompts.c.run_id == run_id, *_conditions(run_id, wanted))
    return count_rows(conn, matching)


def _with_earlier(
    responses: Sequence[HeldoutSample], turns: Sequence[Sequence[HeldoutSample]]
) -> tuple[HeldoutSample, ...]:
    """Adds to each response those of the same policy and sample to the earlier turns."""
    said = [{(each.checkpoint, each.sample): each for each in turn} for turn in turns]
    return tuple(
        replace(each, earlier=tuple(turn[key] for turn in said if (key := (each.checkpoint, each.sample)) in turn))
        for each in responses
    )


def _responses(
    conn: Connection, run_id: int, items: Sequence[tuple[str, int]], policies: Sequence[int], mode: str
) -> dict[tuple[str, int], list[HeldoutSample]]:
    columns = heldout_responses.c
    found: dict[tuple[str, int], list[HeldoutSample]] = {item: [] for item in items}
    query = (
        select(
            columns.split,
            columns.item,
            columns.checkpoint,
            columns["sample"],
            columns.text,
            columns.finish,
            columns.tokens,
            columns.reward,
            columns.reason,
        )
        .where(columns.run_id == run_id, columns.mode == mode, columns.checkpoint.in_(policies))
        .where(tuple_(columns.split, columns.item).in_(items))
        .order_by(columns.checkpoint, columns["sample"])
    )
    for split, item, *rest in conn.execute(query):
        found[split, item].append(HeldoutSample(*rest))
    return found


def _conditions(run_id: int, wanted: SampleFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.split is not None:
        conditions.append(heldout_prompts.c.split == clean_text(wanted.split))
    if wanted.text:
        conditions.append(heldout_prompts.c.text.icontains(clean_text(wanted.text), autoescape=True))
    if wanted.difference is not None:
        conditions.append(_differ(run_id, wanted))
    return conditions


def _differ(run_id: int, wanted: SampleFilter) -> ColumnElement[bool]:
    """Whether the greedy responses of the two policies to a prompt differ in their reward."""
    first, second = heldout_responses.alias("first"), heldout_responses.alias("second")
    of_prompt = [
        and_(
            each.c.run_id == run_id,
            each.c.split == heldout_prompts.c.split,
            each.c.item == heldout_prompts.c.item,
            each.c.mode == "greedy",
            each.c.checkpoint == policy,
        )
        for each, policy in ((first, wanted.first), (second, wanted.second))
    ]
    lowest = -float("inf")
    before, after = (func.coalesce(each.c.reward, lowest) for each in (first, second))
    compared = {
        "any": operators.ne(after, before),
        "better": operators.gt(after, before),
        "worse": operators.lt(after, before),
        "same": operators.eq(after, before),
    }[wanted.difference or "any"]
    return exists(select(first.c.item).select_from(first).join(second, of_prompt[1]).where(of_prompt[0], compared))
