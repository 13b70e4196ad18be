"""Queries about a pool's estimates, a batch and its chunks, and the answer to "why was this prompt trained on?"."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from store.postgres.bulk import copy_once
from store.postgres.values import clean_json, clean_text_or_none
from store.rows import BatchRow, ChunkRow, EstimateRow, WhyRow
from store.schema.tables import advantages, batches, chunks, estimates, pairs, prompts

_ESTIMATES = ("run_id", "iteration", "prompt", "checkpoint", "info", "reason", "weight", "key", "sampled", "first")

_BATCHES = ("run_id", "iteration", "prompt", "buffer", "checkpoint", "info", "reason", "first", "chunk")

_JUDGED = text("""
    SELECT prompt FROM estimates WHERE run_id = :run_id AND first AND prompt = ANY(:numbers)
    UNION ALL SELECT prompt FROM batches WHERE run_id = :run_id AND first AND prompt = ANY(:numbers)
""")


def copy_estimates(conn: Connection, run_id: int, iteration: int, rows: Sequence[EstimateRow]) -> None:
    """Stores a pool's estimates and its sampling. Rows that exist already stay as they are."""
    judged = _judged(conn, run_id, rows)
    copy_once(
        conn,
        estimates,
        _ESTIMATES,
        [
            (
                run_id,
                iteration,
                row.prompt,
                row.checkpoint,
                row.info,
                clean_text_or_none(row.reason),
                row.weight,
                row.key,
                row.sampled,
                row.prompt not in judged,
            )
            for row in rows
        ],
    )


def read_estimates(conn: Connection, run_id: int, iteration: int, *, sampled: bool | None = None) -> list[EstimateRow]:
    """Returns the estimates of an iteration's pool in number order; with `sampled`, only those (not) sampled."""
    query = (
        select(
            estimates.c.prompt,
            estimates.c.checkpoint,
            estimates.c.info,
            estimates.c.reason,
            estimates.c.weight,
            estimates.c.key,
            estimates.c.sampled,
        )
        .where(estimates.c.run_id == run_id, estimates.c.iteration == iteration)
        .order_by(estimates.c.prompt)
    )
    if sampled is not None:
        query = query.where(estimates.c.sampled == sampled)
    return [EstimateRow(*row) for row in conn.execute(query)]


def copy_batch(conn: Connection, run_id: int, iteration: int, rows: Sequence[BatchRow]) -> None:
    """Stores the batch that the solver trains on in an iteration. Rows that exist already stay as they are."""
    judged = _judged(conn, run_id, rows)
    copy_once(
        conn,
        batches,
        _BATCHES,
        [
            (
                run_id,
                iteration,
                row.prompt,
                row.buffer,
                row.checkpoint,
                row.info,
                clean_text_or_none(row.reason),
                row.prompt not in judged,
                row.chunk,
            )
            for row in rows
        ],
    )


def read_batch_numbers(conn: Connection, run_id: int, iteration: int, *, chunks: int | None = None) -> list[int]:
    """Returns the numbers of the prompts in an iteration's batch, ascending; with `chunks`, only of its first ones."""
    query = (
        select(batches.c.prompt)
        .where(batches.c.run_id == run_id, batches.c.iteration == iteration)
        .order_by(batches.c.prompt)
    )
    if chunks is not None:
        query = query.where(func.coalesce(batches.c.chunk, 0) < chunks)
    return list(conn.execute(query).scalars())


def insert_chunk(conn: Connection, run_id: int, iteration: int, row: ChunkRow) -> bool:
    """Stores a chunk whose pairs are stored. Returns False, and changes nothing, if it is stored already."""
    inserted = conn.execute(
        upsert(chunks)
        .values(
            run_id=run_id,
            iteration=iteration,
            chunk=row.chunk,
            of=row.of,
            prompts=row.prompts,
            pairs=row.pairs,
            skipped=clean_json(row.skipped),
            reward=row.reward,
        )
        .on_conflict_do_nothing()
        .returning(chunks.c.chunk)
    )
    return inserted.first() is not None


def read_chunks(conn: Connection, run_id: int, iteration: int) -> list[ChunkRow]:
    """Returns the stored chunks of an iteration, in the order of training."""
    query = (
        select(chunks.c.chunk, chunks.c.of, chunks.c.prompts, chunks.c.pairs, chunks.c.skipped, chunks.c.reward)
        .where(chunks.c.run_id == run_id, chunks.c.iteration == iteration)
        .order_by(chunks.c.chunk)
    )
    return [ChunkRow(*row) for row in conn.execute(query)]


def why_trained(conn: Connection, run_id: int, prompt: int) -> list[WhyRow]:
    """Returns why a prompt was trained on: a row for each iteration, and for each of its pairs or responses there."""
    own, of_parent = estimates.alias("own"), estimates.alias("of_parent")
    query = (
        select(
            batches.c.iteration,
            batches.c.buffer,
            batches.c.checkpoint,
            prompts.c.operator,
            prompts.c.parent,
            own.c.info,
            own.c.weight,
            own.c.key,
            own.c.sampled,
            of_parent.c.info,
            of_parent.c.weight,
            of_parent.c.key,
            batches.c.info,
            batches.c.reason,
            pairs.c.chosen,
            pairs.c.rejected,
            pairs.c.chosen_reward,
            pairs.c.rejected_reward,
            pairs.c.margin,
            advantages.c.sample,
            advantages.c.reward,
            advantages.c.advantage,
            advantages.c.reason,
        )
        .select_from(batches)
        .join(prompts, and_(prompts.c.run_id == batches.c.run_id, prompts.c.number == batches.c.prompt))
        .where(batches.c.run_id == run_id, batches.c.prompt == prompt)
        .order_by(batches.c.iteration, pairs.c.chosen, pairs.c.rejected, advantages.c.sample)
    )
    joined = ((own, batches.c.prompt), (of_parent, prompts.c.parent), (pairs, batches.c.prompt))
    for table, number in (*joined, (advantages, batches.c.prompt)):
        same = and_(table.c.run_id == batches.c.run_id, table.c.iteration == batches.c.iteration)
        query = query.outerjoin(table, and_(same, table.c.prompt == number))
    return [WhyRow(*row) for row in conn.execute(query)]


def _judged(conn: Connection, run_id: int, rows: Sequence[EstimateRow] | Sequence[BatchRow]) -> set[int]:
    """Returns those of the rows' prompts that were judged before, in a pool or a batch."""
    numbers = conn.execute(_JUDGED, {"run_id": run_id, "numbers": [row.prompt for row in rows]})
    return set(numbers.scalars())
