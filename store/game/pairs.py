"""Queries about what the solver learns from: preference pairs with their texts, or the advantages of responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, func, select, text

from eva.types import PairChoice, PreferencePair, ResponseAdvantage
from store.game.contexts import is_root, read_context, roots
from store.postgres.bulk import copy_once
from store.postgres.planner import keep_join_order
from store.schema.tables import advantages, batches, pairs, prompts, responses

_PAIRS = (
    "run_id",
    "iteration",
    "prompt",
    "chosen",
    "rejected",
    "checkpoint",
    "chosen_reward",
    "rejected_reward",
    "margin",
)


_SAMPLERS = text("""
    SELECT p.iteration, p.prompt, p.chosen, p.rejected, p.checkpoint, chosen.step, rejected.step
    FROM pairs p
    JOIN responses chosen ON chosen.run_id = p.run_id AND chosen.prompt = p.prompt
        AND chosen.checkpoint = p.checkpoint AND chosen.sample = p.chosen
    JOIN responses rejected ON rejected.run_id = p.run_id AND rejected.prompt = p.prompt
        AND rejected.checkpoint = p.checkpoint AND rejected.sample = p.rejected
    WHERE p.run_id = :run_id AND p.iteration = :iteration ORDER BY p.prompt, p.chosen, p.rejected
""")


@dataclass(frozen=True, slots=True)
class SampledPair:
    """A preference pair and who sampled it: a checkpoint, or the policy so many optimiser steps after it."""

    iteration: int
    prompt: int
    chosen: int
    rejected: int
    checkpoint: int
    chosen_step: int
    rejected_step: int


def copy_pairs(conn: Connection, run_id: int, iteration: int, checkpoint: int, chosen: Sequence[PairChoice]) -> None:
    """Stores which responses of `checkpoint` make preference pairs. Rows that exist already stay as they are."""
    copy_once(
        conn,
        pairs,
        _PAIRS,
        [
            (
                run_id,
                iteration,
                pair.number,
                pair.chosen,
                pair.rejected,
                checkpoint,
                pair.chosen_reward,
                pair.rejected_reward,
                pair.margin,
            )
            for pair in chosen
        ],
    )


def read_pairs(conn: Connection, run_id: int, iteration: int) -> list[PairChoice]:
    """Returns the preference pairs that an iteration trains on, by prompt."""
    query = (
        select(pairs.c.prompt, pairs.c.chosen, pairs.c.rejected, pairs.c.chosen_reward, pairs.c.rejected_reward)
        .where(pairs.c.run_id == run_id, pairs.c.iteration == iteration)
        .order_by(pairs.c.prompt, pairs.c.chosen, pairs.c.rejected)
    )
    return [PairChoice(*row) for row in conn.execute(query)]


def iter_pairs_with_texts(
    conn: Connection, run_id: int, iteration: int, chunk: int | None = None
) -> Iterator[PreferencePair]:
    """Streams an iteration's preference pairs with their texts, by prompt; with `chunk`, only those of that chunk.

    Read the stream to its end inside the transaction.
    """
    chosen, rejected = responses.alias("chosen"), responses.alias("rejected")
    query = (
        select(
            pairs.c.prompt,
            prompts.c.text,
            chosen.c.text,
            rejected.c.text,
            pairs.c.chosen_reward,
            pairs.c.rejected_reward,
            chosen.c.finish == "length",
            rejected.c.finish == "length",
            roots.c.context,
        )
        .select_from(pairs)
        .where(pairs.c.run_id == run_id, pairs.c.iteration == iteration)
        .order_by(pairs.c.prompt, pairs.c.chosen, pairs.c.rejected)
    )
    if chunk is not None:
        query = query.join(batches, _in_batch(pairs)).where(batches.c.chunk == chunk)
    query = query.join(prompts, and_(prompts.c.run_id == pairs.c.run_id, prompts.c.number == pairs.c.prompt))
    query = query.join(roots, is_root)
    for alias, sample in ((chosen, pairs.c.chosen), (rejected, pairs.c.rejected)):
        query = query.join(
            alias,
            and_(
                alias.c.run_id == pairs.c.run_id,
                alias.c.prompt == pairs.c.prompt,
                alias.c.checkpoint == pairs.c.checkpoint,
                alias.c.sample == sample,
            ),
        )
    keep_join_order(conn)
    with conn.execute(query, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            yield PreferencePair(*row[:-1], context=read_context(row[-1]))


def sampled_pairs(conn: Connection, run_id: int, iteration: int) -> list[SampledPair]:
    """Returns which policy (checkpoint, step) sampled each response of an iteration's pairs."""
    rows = conn.execute(_SAMPLERS, {"run_id": run_id, "iteration": iteration})
    return [SampledPair(*row) for row in rows]


_ADVANTAGES = ("run_id", "iteration", "prompt", "sample", "checkpoint", "reward", "advantage", "reason")


def copy_advantages(
    conn: Connection, run_id: int, iteration: int, checkpoint: int, weighed: Sequence[ResponseAdvantage]
) -> None:
    """Stores what the responses of `checkpoint` count in an iteration. Rows that exist already stay as they are."""
    copy_once(
        conn,
        advantages,
        _ADVANTAGES,
        [
            (run_id, iteration, row.number, row.sample, checkpoint, row.reward, row.advantage, row.reason)
            for row in weighed
        ],
    )


def read_advantages(
    conn: Connection, run_id: int, iteration: int, *, trained: bool | None = None, chunk: int | None = None
) -> list[ResponseAdvantage]:
    """Returns the advantages of an iteration's responses, by prompt; with `chunk`, only of those to its prompts.

    With `trained`, only of those that are (not) trained on.
    """
    query = (
        select(
            advantages.c.prompt,
            advantages.c.sample,
            advantages.c.reward,
            advantages.c.advantage,
            advantages.c.reason,
        )
        .where(advantages.c.run_id == run_id, advantages.c.iteration == iteration)
        .order_by(advantages.c.prompt, advantages.c.sample)
    )
    if trained is not None:
        query = query.where(advantages.c.reason.is_(None) if trained else advantages.c.reason.is_not(None))
    if chunk is not None:
        query = query.join(batches, _in_batch(advantages)).where(batches.c.chunk == chunk)
    return [ResponseAdvantage(*row) for row in conn.execute(query)]


def count_left_out(conn: Connection, run_id: int, iteration: int) -> Counter[str]:
    """Counts an iteration's responses that are not trained on, by reason."""
    query = (
        select(advantages.c.reason, func.count())
        .where(advantages.c.run_id == run_id, advantages.c.iteration == iteration, advantages.c.reason.is_not(None))
        .group_by(advantages.c.reason)
        .order_by(advantages.c.reason)
    )
    return Counter({str(row[0]): int(row[1]) for row in conn.execute(query)})


def _in_batch(rows: Table) -> ColumnElement[bool]:
    """The row of the batch that has the prompt of a row of `pairs` or `advantages`."""
    return and_(
        batches.c.run_id == rows.c.run_id,
        batches.c.iteration == rows.c.iteration,
        batches.c.prompt == rows.c.prompt,
    )
