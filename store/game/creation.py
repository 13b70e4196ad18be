"""Queries about the creator's step and what the solver trains on: estimates, evolutions, batches, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from sqlalchemy import Connection, and_, func, select, text

from eva.types import Attempt, Chain, PairChoice, Reply
from store.postgres.bulk import Row, copy_once
from store.postgres.values import storable, storable_or_none
from store.rows import BatchRow, EstimateRow, WhyRow
from store.schema.tables import batches, estimates, evolutions, pairs, prompts

_ESTIMATES = ("run_id", "iteration", "prompt", "checkpoint", "info", "reason", "weight", "key", "sampled", "first")
_BATCHES = ("run_id", "iteration", "prompt", "buffer", "checkpoint", "info", "reason", "first")
_EVOLUTIONS = (
    "run_id",
    "iteration",
    "source",
    "slot",
    "attempt",
    "operator",
    "parent_slot",
    "text",
    "reason",
    "prompt_tokens",
    "reply_tokens",
    "cost_usd",
)
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

_JUDGED = text("""
    SELECT prompt FROM estimates WHERE run_id = :run_id AND first AND prompt = ANY(:numbers)
    UNION ALL SELECT prompt FROM batches WHERE run_id = :run_id AND first AND prompt = ANY(:numbers)
""")

_ASSIGN = text("""
    UPDATE evolutions SET child = given.child
    FROM unnest(CAST(:sources AS int[]), CAST(:slots AS int[]), CAST(:children AS int[]))
        AS given (source, slot, child)
    WHERE evolutions.run_id = :run_id AND evolutions.iteration = :iteration
      AND evolutions.source = given.source AND evolutions.slot = given.slot AND evolutions.reason IS NULL
""")


def copy_estimates(conn: Connection, run_id: int, iteration: int, rows: Sequence[EstimateRow]) -> None:
    """Store the pool's informativeness and sampling; what is there already stays as it is."""
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
                storable_or_none(row.reason),
                row.weight,
                row.key,
                row.sampled,
                row.prompt not in judged,
            )
            for row in rows
        ],
    )


def read_estimates(conn: Connection, run_id: int, iteration: int, *, sampled: bool | None = None) -> list[EstimateRow]:
    """How informative was the pool of this iteration, and what was sampled? In number order."""
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
    """Store what the solver trains on in this iteration; what is there already stays as it is."""
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
                storable_or_none(row.reason),
                row.prompt not in judged,
            )
            for row in rows
        ],
    )


def _judged(conn: Connection, run_id: int, rows: Sequence[EstimateRow] | Sequence[BatchRow]) -> set[int]:
    """Which of these prompts have been judged before, in a pool or a batch?"""
    found = conn.execute(_JUDGED, {"run_id": run_id, "numbers": [row.prompt for row in rows]})
    return set(found.scalars())


def read_batch(conn: Connection, run_id: int, iteration: int) -> list[BatchRow]:
    """What does the solver train on in this iteration? In number order."""
    query = (
        select(batches.c.prompt, batches.c.buffer, batches.c.checkpoint, batches.c.info, batches.c.reason)
        .where(batches.c.run_id == run_id, batches.c.iteration == iteration)
        .order_by(batches.c.prompt)
    )
    return [BatchRow(*row) for row in conn.execute(query)]


def read_batch_numbers(conn: Connection, run_id: int, iteration: int) -> list[int]:
    """Which prompts are in this iteration's batch? In number order."""
    query = (
        select(batches.c.prompt)
        .where(batches.c.run_id == run_id, batches.c.iteration == iteration)
        .order_by(batches.c.prompt)
    )
    return list(conn.execute(query).scalars())


def copy_chain(conn: Connection, run_id: int, iteration: int, chain: Chain) -> None:
    """Store all attempts made from one sampled prompt; what is there already stays as it is."""
    copy_chains(conn, run_id, iteration, [chain])


def copy_chains(conn: Connection, run_id: int, iteration: int, chains: Iterable[Chain]) -> None:
    """Store several chains at once; what is there already stays as it is."""
    rows = [_evolution(run_id, iteration, chain.source, attempt) for chain in chains for attempt in chain.attempts]
    copy_once(conn, evolutions, _EVOLUTIONS, rows)


def read_chains(conn: Connection, run_id: int, iteration: int) -> list[Chain]:
    """What was evolved in this iteration? Chains by source, their attempts by slot and attempt."""
    query = (
        select(evolutions)
        .where(evolutions.c.run_id == run_id, evolutions.c.iteration == iteration)
        .order_by(evolutions.c.source, evolutions.c.slot, evolutions.c.attempt)
    )
    grouped = groupby(conn.execute(query), key=lambda row: int(row.source))
    return [
        Chain(
            source,
            tuple(
                Attempt(
                    row.slot,
                    row.attempt,
                    row.operator,
                    row.parent_slot,
                    Reply(row.text, row.prompt_tokens, row.reply_tokens, row.cost_usd),
                    row.reason,
                )
                for row in rows
            ),
        )
        for source, rows in grouped
    ]


def assign_children(conn: Connection, run_id: int, iteration: int, children: Sequence[tuple[int, int, int]]) -> None:
    """Note which prompt each accepted evolution became: (source, slot, child's number)."""
    conn.execute(
        _ASSIGN,
        {
            "run_id": run_id,
            "iteration": iteration,
            "sources": [source for source, _, _ in children],
            "slots": [slot for _, slot, _ in children],
            "children": [child for _, _, child in children],
        },
    )


def copy_pairs(conn: Connection, run_id: int, iteration: int, checkpoint: int, chosen: Sequence[PairChoice]) -> None:
    """Store which responses of `checkpoint` make preference pairs; what is there already stays as it is."""
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
    """Which preference pairs does this iteration train on? By prompt."""
    query = (
        select(pairs.c.prompt, pairs.c.chosen, pairs.c.rejected, pairs.c.chosen_reward, pairs.c.rejected_reward)
        .where(pairs.c.run_id == run_id, pairs.c.iteration == iteration)
        .order_by(pairs.c.prompt, pairs.c.chosen, pairs.c.rejected)
    )
    return [PairChoice(*row) for row in conn.execute(query)]


def why_trained(conn: Connection, run_id: int, prompt: int) -> list[WhyRow]:
    """Why was this prompt trained on? One row for each iteration (and pair) in which it was."""
    own, above = estimates.alias("own"), estimates.alias("above")
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
            above.c.info,
            above.c.weight,
            above.c.key,
            batches.c.info,
            batches.c.reason,
            pairs.c.chosen,
            pairs.c.rejected,
            pairs.c.chosen_reward,
            pairs.c.rejected_reward,
            pairs.c.margin,
        )
        .select_from(batches)
        .join(prompts, and_(prompts.c.run_id == batches.c.run_id, prompts.c.number == batches.c.prompt))
        .where(batches.c.run_id == run_id, batches.c.prompt == prompt)
        .order_by(batches.c.iteration, pairs.c.chosen, pairs.c.rejected)
    )
    for table, number in ((own, batches.c.prompt), (above, prompts.c.parent), (pairs, batches.c.prompt)):
        same = and_(table.c.run_id == batches.c.run_id, table.c.iteration == batches.c.iteration)
        query = query.outerjoin(table, and_(same, table.c.prompt == number))
    return [WhyRow(*row) for row in conn.execute(query)]


def count_evolutions(conn: Connection, run_id: int, iteration: int) -> dict[str, int]:
    """How many attempts ended how? Reason -> attempts; accepted ones under "accepted"."""
    reason = func.coalesce(evolutions.c.reason, "accepted")
    query = (
        select(reason, func.count())
        .where(evolutions.c.run_id == run_id, evolutions.c.iteration == iteration)
        .group_by(reason)
        .order_by(reason)
    )
    return {str(name): int(number) for name, number in conn.execute(query)}


def _evolution(run_id: int, iteration: int, source: int, attempt: Attempt) -> Row:
    reply = attempt.reply
    return (
        run_id,
        iteration,
        source,
        attempt.slot,
        attempt.attempt,
        attempt.operator,
        attempt.parent_slot,
        storable(reply.text),
        storable_or_none(attempt.reason),
        reply.prompt_tokens,
        reply.reply_tokens,
        reply.cost_usd,
    )
