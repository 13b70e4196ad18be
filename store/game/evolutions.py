"""Queries about evolutions: the attempts made from each sampled prompt, and the children that came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from sqlalchemy import Connection, select, text

from eva.types import Attempt, Chain, Reply
from store.postgres.bulk import Row, copy_once
from store.postgres.values import clean_text, clean_text_or_none
from store.schema.tables import evolutions

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
    "reference",
    "guide",
)

_ASSIGN = text("""
    UPDATE evolutions SET child = assigned.child
    FROM unnest(CAST(:sources AS int[]), CAST(:slots AS int[]), CAST(:children AS int[]))
        AS assigned (source, slot, child)
    WHERE evolutions.run_id = :run_id AND evolutions.iteration = :iteration
      AND evolutions.source = assigned.source AND evolutions.slot = assigned.slot AND evolutions.reason IS NULL
""")


def copy_chains(conn: Connection, run_id: int, iteration: int, chains: Iterable[Chain]) -> None:
    """Stores chains of attempts. Rows that exist already stay as they are."""
    rows = [_evolution(run_id, iteration, chain.source, attempt) for chain in chains for attempt in chain.attempts]
    copy_once(conn, evolutions, _EVOLUTIONS, rows)


def read_chains(conn: Connection, run_id: int, iteration: int) -> list[Chain]:
    """Returns an iteration's chains by source, and their attempts by slot and attempt."""
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
                    Reply(row.text, row.prompt_tokens, row.reply_tokens, row.cost_usd, reference=row.reference),
                    row.reason,
                    row.guide,
                )
                for row in rows
            ),
        )
        for source, rows in grouped
    ]


def assign_children(conn: Connection, run_id: int, iteration: int, children: Sequence[tuple[int, int, int]]) -> None:
    """Stores which prompt each accepted evolution became: (source, slot, child's number)."""
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
        clean_text(reply.text),
        clean_text_or_none(attempt.reason),
        reply.prompt_tokens,
        reply.reply_tokens,
        reply.cost_usd,
        clean_text_or_none(reply.reference),
        attempt.guide,
    )
