"""Queries about a pool as its creator saw it: rewards under each prompt's own policy, traits, and the draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, func, select

from eva.creator.sampling import PromptTraits
from eva.types import Floats, RewardTable
from store.game.batches import read_estimates
from store.game.responses import read_reward_table
from store.rows import EstimateRow
from store.schema.tables import batches, estimates, prompts


@dataclass(frozen=True, slots=True)
class StoredDraw:
    """An iteration's stored draw, with rows in number order. `size` is the size of the batch that it was drawn for."""

    iteration: int
    size: int
    rows: tuple[EstimateRow, ...]


def read_rewards_by_policy(
    conn: Connection, run_id: int, rewarder: str, numbers: Sequence[int], policies: Mapping[int, int], n: int
) -> RewardTable:
    """Returns the rewards of these prompts in their order, each under its policy in `policies`."""
    by_policy: dict[int, list[int]] = {}
    for number in numbers:
        by_policy.setdefault(policies[number], []).append(number)
    parts = [
        read_reward_table(conn, run_id, checkpoint, rewarder, part, n) for checkpoint, part in sorted(by_policy.items())
    ]
    if not parts:
        return read_reward_table(conn, run_id, 0, rewarder, [], n)
    numbers_P = np.concatenate([part.numbers_P for part in parts])
    row_of = {number: row for row, number in enumerate(numbers_P.tolist())}
    rows = np.array([row_of[number] for number in numbers])
    tokens = [part.tokens_P_N for part in parts if part.tokens_P_N is not None]
    return RewardTable(
        numbers_P=numbers_P[rows],
        rewards_P_N=np.concatenate([part.rewards_P_N for part in parts])[rows],
        text_hashes_P_N=np.concatenate([part.text_hashes_P_N for part in parts])[rows],
        cut_P_N=np.concatenate([part.cut_P_N for part in parts])[rows],
        failures={number: reason for part in parts for number, reason in part.failures.items()},
        checkpoints_P=np.array([policies[number] for number in numbers], dtype=np.int64),
        tokens_P_N=np.concatenate(tokens)[rows] if len(tokens) == len(parts) else None,
    )


def read_traits(conn: Connection, run_id: int, pool: RewardTable, checkpoint: int) -> PromptTraits:
    """Returns the traits of the pool's prompts, when `checkpoint` is the current policy."""
    numbers = pool.numbers_P.tolist()
    columns = prompts.c
    query = select(columns.number, columns.topic, columns.likeness, columns.guide).where(
        columns.run_id == run_id, columns.number == func.any(numbers)
    )
    rows = {row.number: row for row in conn.execute(query)}
    topics = {number: row.topic for number, row in rows.items()}
    codes = {topic: code for code, topic in enumerate(sorted({topic for topic in topics.values() if topic}))}
    likeness, guide = ({number: getattr(row, name) for number, row in rows.items()} for name in ("likeness", "guide"))
    policies = checkpoint if pool.checkpoints_P is None else pool.checkpoints_P
    return PromptTraits(
        ages_P=np.full(len(pool.numbers_P), checkpoint, dtype=np.int64) - policies,
        topics_P=np.array([codes.get(topics.get(number) or "", -1) for number in numbers], np.int64),
        likeness_P=_measured(likeness, numbers),
        guide_P=_measured(guide, numbers),
    )


def _measured(values: Mapping[int, float | None], numbers: Sequence[int]) -> Floats | None:
    """The values in the order of the numbers, NaN where there is none; None if there are none at all."""
    if all(value is None for value in values.values()):
        return None
    return np.array([np.nan if (value := values.get(number)) is None else value for number in numbers])


def read_drawn_iterations(conn: Connection, run_id: int) -> list[int]:
    """Returns the iterations in which the creator drew prompts, ascending."""
    query = select(estimates.c.iteration).where(estimates.c.run_id == run_id).distinct().order_by(estimates.c.iteration)
    return list(conn.execute(query).scalars())


def read_draw(conn: Connection, run_id: int, iteration: int) -> StoredDraw:
    """Returns an iteration's draw: the pool, what was sampled from it, and for a batch of what size."""
    rows = tuple(read_estimates(conn, run_id, iteration))
    previous_batch = select(func.count()).where(batches.c.run_id == run_id, batches.c.iteration == iteration - 1)
    size = len(rows) if iteration == 0 else int(conn.execute(previous_batch).scalar_one())
    return StoredDraw(iteration, size, rows)
