"""Queries about one prompt: its responses and rewards, its origin, and the iterations that it took part in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, select

from store.schema.tables import (
    advantages,
    batches,
    estimates,
    evolutions,
    pairs,
    prompts,
    quarantines,
    responses,
    rewards,
)


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One rewarder's reward of a response: `value`, or the `reason` why there is none. `answer`: what it has read."""

    rewarder: str
    value: float | None
    reason: str | None
    answer: str | None


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
class Participation:
    """An iteration that a prompt took part in: in the creator's pool, in the solver's batch, or in both.

    `buffer` is None if it was not in the batch, `sampled` if it was not in the pool.
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
class AdvantageRow:
    iteration: int
    checkpoint: int
    sample: int
    advantage: float | None
    reason: str | None


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
    """Returns the first `limit` responses to a prompt, by checkpoint and sample, each with every rewarder's reward."""
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
    page = query.order_by(responses.c.checkpoint, responses.c.sample).limit(limit).subquery("page")
    same = and_(
        rewards.c.run_id == run_id,
        rewards.c.prompt == number,
        rewards.c.checkpoint == page.c.checkpoint,
        rewards.c.sample == page.c.sample,
    )
    rows = conn.execute(
        select(
            page.c.checkpoint,
            page.c.sample,
            page.c.text,
            page.c.finish,
            page.c.tokens,
            page.c.seed,
            rewards.c.rewarder,
            rewards.c.value,
            rewards.c.reason,
            rewards.c.answer,
        )
        .select_from(page)
        .outerjoin(rewards, same)
        .order_by(page.c.checkpoint, page.c.sample, rewards.c.rewarder)
    )
    grouped = groupby(rows, lambda row: (row.checkpoint, row.sample))
    return [_response([tuple(row) for row in group]) for _, group in grouped]


def read_participations(conn: Connection, run_id: int, number: int) -> list[Participation]:
    """Returns the iterations that a prompt took part in, in order."""
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
    return [Participation(*row) for row in conn.execute(query)]


def read_prompt_pairs(conn: Connection, run_id: int, number: int) -> list[PairRow]:
    """Returns the preference pairs that were made from a prompt's responses."""
    fields = ("iteration", "checkpoint", "chosen", "rejected", "chosen_reward", "rejected_reward", "margin")
    query = _of_prompt(pairs, fields, run_id, number).order_by(pairs.c.iteration, pairs.c.chosen, pairs.c.rejected)
    return [PairRow(*row) for row in conn.execute(query)]


def read_prompt_advantages(conn: Connection, run_id: int, number: int) -> list[AdvantageRow]:
    """Returns what a prompt's responses counted in the iterations that trained on them, or why they did not."""
    fields = ("iteration", "checkpoint", "sample", "advantage", "reason")
    query = _of_prompt(advantages, fields, run_id, number).order_by(advantages.c.iteration, advantages.c.sample)
    return [AdvantageRow(*row) for row in conn.execute(query)]


def read_origin(conn: Connection, run_id: int, number: int) -> OriginRow | None:
    """Returns the evolution that made a prompt, or None for a seed prompt."""
    query = select(
        evolutions.c.iteration, evolutions.c.source, evolutions.c.slot, evolutions.c.attempt, evolutions.c.operator
    ).where(evolutions.c.run_id == run_id, evolutions.c.child == number)
    # evolutions that gave the same text share the child, which was numbered after the first of them
    row = conn.execute(query.order_by(evolutions.c.source, evolutions.c.slot).limit(1)).one_or_none()
    return None if row is None else OriginRow(*row)


def read_quarantines(conn: Connection, run_id: int, number: int) -> dict[int, str]:
    """Returns by checkpoint why a prompt got no responses, for the checkpoints that failed on it."""
    query = (
        select(quarantines.c.checkpoint, quarantines.c.reason)
        .where(quarantines.c.run_id == run_id, quarantines.c.prompt == number)
        .order_by(quarantines.c.checkpoint)
    )
    return {int(checkpoint): reason for checkpoint, reason in conn.execute(query)}


def count_children(conn: Connection, run_id: int, number: int) -> int:
    """Counts the prompts that were evolved directly from this one."""
    query = select(func.count()).where(prompts.c.run_id == run_id, prompts.c.parent == number)
    return conn.execute(query).scalar_one()


def _of_prompt(table: Table, fields: Sequence[str], run_id: int, number: int) -> Select[Any]:
    """Selects a prompt's rows of a table whose primary key begins with the iteration.

    The join with the prompt's batches lets its index be used.
    """
    same = and_(
        table.c.run_id == batches.c.run_id,
        table.c.iteration == batches.c.iteration,
        table.c.prompt == batches.c.prompt,
    )
    query = select(*(table.c[field] for field in fields)).select_from(batches).join(table, same)
    return query.where(batches.c.run_id == run_id, batches.c.prompt == number)


def _response(rows: Sequence[Sequence[Any]]) -> ResponseRow:
    rewards = tuple(RewardRow(*row[6:]) for row in rows if row[6] is not None)
    return ResponseRow(*rows[0][:6], rewards=rewards)
