"""Queries of the reward audit: responses with their texts and rewards, and the parts that rewards consist of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, and_, func, select

from store.rows import PartRow
from store.schema.tables import responses, rewards


def iter_rewarded_texts(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int]
) -> Iterator[tuple[int, str, float]]:
    """Streams (prompt, response text, reward) by prompt and sample. Responses without a reward are left out."""
    query = (
        select(responses.c.prompt, responses.c.text, rewards.c.value)
        .join(
            rewards,
            and_(
                rewards.c.run_id == responses.c.run_id,
                rewards.c.prompt == responses.c.prompt,
                rewards.c.checkpoint == responses.c.checkpoint,
                rewards.c["sample"] == responses.c["sample"],
                rewards.c.rewarder == rewarder,
                rewards.c.value.is_not(None),
            ),
        )
        .where(
            responses.c.run_id == run_id,
            responses.c.checkpoint == checkpoint,
            responses.c.prompt == func.any(list(numbers)),
        )
        .order_by(responses.c.prompt, responses.c["sample"])
    )
    with conn.execute(query, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            yield row[0], row[1], row[2]


def reward_parts(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int]
) -> list[PartRow]:
    """Returns the parts of this rewarder's rewards with their count, mean and sum, by name without the rewarder's."""
    name = func.substr(rewards.c.rewarder, len(rewarder) + 2)
    query = (
        select(name, func.count(rewards.c.value), func.avg(rewards.c.value), func.sum(rewards.c.value))
        .where(
            rewards.c.run_id == run_id,
            rewards.c.checkpoint == checkpoint,
            rewards.c.prompt == func.any(list(numbers)),
            func.left(rewards.c.rewarder, len(rewarder) + 1) == f"{rewarder}/",
        )
        .group_by(name)
        .order_by(name)
    )
    return [PartRow(*row) for row in conn.execute(query)]
