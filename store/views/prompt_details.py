"""Queries about one prompt: what was answered to it, how that was rewarded, where it took part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, func, select

from store.schema.tables import batches, estimates, evolutions, pairs, prompts, quarantines, responses, rewards


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One rewarder's reward of a response: `value`, or the `reason` why there is none."""

    rewarder: str
    value: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ResponseRow:
    checkpoint: int
    sample: int
    text: str
    finish: str
    tokens: int
    seed: int
    rewards: tuple[RewardRow, ...]


@dataclass(frozen=True, slots=True)
class TakenPart:
    """An iteration that a prompt took part in: in the creator's pool, in the solver's batch, or in both.

    `buffer` is None where it was not in the batch, `sampled` where it was not in the pool.
    """

    iteration: int
    pool_info: float | None
    pool_reason: str | None
    weight: float | None
    key: float | None
    sampled: bool | None
    buffer: bool | None
    batch_info: float | None
    batch_reason: str | None


@dataclass(frozen=True, slots=True)
class PairRow:
    iteration: int
    checkpoint: int
    chosen: int
    rejected: int
    chosen_reward: float
    rejected_reward: float
    margin: float


@dataclass(frozen=True, slots=True)
class OriginRow:
    """How a prompt was made: from the sampled prompt `source`, as its evolution `slot`, at this attempt."""

    iteration: int
    source: int
    slot: int
    attempt: int
    operator: str


def read_responses(
    conn: Connection, run_id: int, number: int, limit: int, checkpoint: int | None = None
) -> list[ResponseRow]:
    """What was answered to the prompt? By checkpoint and sample, the first `limit`, with every rewarder's reward."""
    fields = (
        responses.c.checkpoint,
        responses.c.sample,
        responses.c.text,
        responses.c.finish,
        responses.c.tokens,
        responses.c.seed,
    )
    query = select(*fields).where(responses.c.run_id == run_id, responses.c.prompt == number)
    if checkpoint is not None:
        query = query.where(responses.c.checkpoint == checkpoint)
    asked = query.order_by(responses.c.checkpoint, responses.c.sample).limit(limit).subquery("asked")
    same = and_(
        rewards.c.run_id == run_id,
        rewards.c.prompt == number,
        rewards.c.checkpoint == asked.c.checkpoint,
        rewards.c.sample == asked.c.sample,
    )
    rows = conn.execute(
        select(
            asked.c.checkpoint,
            asked.c.sample,
            asked.c.text,
            asked.c.finish,
            asked.c.tokens,
            asked.c.seed,
            rewards.c.rewarder,
            rewards.c.value,
            rewards.c.reason,
        )
        .select_from(asked)
        .outerjoin(rewards, same)
        .order_by(asked.c.checkpoint, asked.c.sample, rewards.c.rewarder)
    )
    answers = groupby(rows, lambda row: (row.checkpoint, row.sample))
    return [_response([tuple(row) for row in group]) for _, group in answers]


def took_part(conn: Connection, run_id: int, number: int) -> list[TakenPart]:
    """In which iterations did the prompt take part, and how? In order."""
    pool = select(estimates).where(estimates.c.run_id == run_id, estimates.c.prompt == number).subquery("pool")
    batch = select(batches).where(batches.c.run_id == run_id, batches.c.prompt == number).subquery("batch")
    iteration = func.coalesce(pool.c.iteration, batch.c.iteration)
    query = (
        select(
            iteration,
            pool.c.info,
            pool.c.reason,
            pool.c.weight,
            pool.c.key,
            pool.c.sampled,
            batch.c.buffer,
            batch.c.info,
            batch.c.reason,
        )
        .select_from(pool.join(batch, pool.c.iteration == batch.c.iteration, full=True))
        .order_by(iteration)
    )
    return [TakenPart(*row) for row in conn.execute(query)]


def pairs_of(conn: Connection, run_id: int, number: int) -> list[PairRow]:
    """Which preference pairs were made from the prompt's responses?"""
    # the primary key begins with the iteration: through the batches that the prompt was in, it is found by index
    query = (
        select(
            pairs.c.iteration,
            pairs.c.checkpoint,
            pairs.c.chosen,
            pairs.c.rejected,
            pairs.c.chosen_reward,
            pairs.c.rejected_reward,
            pairs.c.margin,
        )
        .select_from(batches)
        .join(
            pairs,
            and_(
                pairs.c.run_id == batches.c.run_id,
                pairs.c.iteration == batches.c.iteration,
                pairs.c.prompt == batches.c.prompt,
            ),
        )
        .where(batches.c.run_id == run_id, batches.c.prompt == number)
        .order_by(pairs.c.iteration, pairs.c.chosen, pairs.c.rejected)
    )
    return [PairRow(*row) for row in conn.execute(query)]


def origin(conn: Connection, run_id: int, number: int) -> OriginRow | None:
    """Which evolution made the prompt? None for a seed prompt."""
    query = select(
        evolutions.c.iteration, evolutions.c.source, evolutions.c.slot, evolutions.c.attempt, evolutions.c.operator
    ).where(evolutions.c.run_id == run_id, evolutions.c.child == number)
    # evolutions that gave the same text share the child; it was numbered after the first of them
    row = conn.execute(query.order_by(evolutions.c.source, evolutions.c.slot).limit(1)).one_or_none()
    return None if row is None else OriginRow(*row)


def quarantined(conn: Connection, run_id: int, number: int) -> dict[int, str]:
    """Under which checkpoints could the prompt not be answered, and why?"""
    query = (
        select(quarantines.c.checkpoint, quarantines.c.reason)
        .where(quarantines.c.run_id == run_id, quarantines.c.prompt == number)
        .order_by(quarantines.c.checkpoint)
    )
    return {int(checkpoint): reason for checkpoint, reason in conn.execute(query)}


def count_children(conn: Connection, run_id: int, number: int) -> int:
    """How many prompts were evolved directly from this one?"""
    query = select(func.count()).where(prompts.c.run_id == run_id, prompts.c.parent == number)
    return conn.execute(query).scalar_one()


def _response(rows: Sequence[Sequence[Any]]) -> ResponseRow:
    given = tuple(RewardRow(*row[6:]) for row in rows if row[6] is not None)
    return ResponseRow(*rows[0][:6], rewards=given)
