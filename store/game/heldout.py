"""Queries about held-out prompts: what each checkpoint answers to prompts that no run trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, select

from eva.types import Context
from store.game.contexts import context_column, read_context, storable_context
from store.postgres.bulk import Row, copy_once
from store.postgres.values import storable, told, value_or_reason
from store.rows import AccuracyRow, HeldoutPart, HeldoutResponse, JudgeRole
from store.schema.tables import heldout_parts, heldout_prompts, heldout_responses

_PROMPTS = ("run_id", "split", "item", "text", "context")
_RESPONSES = (
    "run_id",
    "checkpoint",
    "split",
    "mode",
    "item",
    "sample",
    "text",
    "finish",
    "tokens",
    "reward",
    "reason",
)
_PARTS = ("run_id", "checkpoint", "split", "mode", "item", "sample", "role", "name", "value", "reason")


def insert_heldout(
    conn: Connection, run_id: int, split: str, texts: Sequence[str], contexts: Sequence[Context] | None = None
) -> None:
    """Store a split's prompts as items 0 .. len - 1; what is there already stays as it is.

    `contexts` are the messages before each text, where any has some.
    """
    rows: list[Row] = [
        (run_id, split, item, storable(text), context_column(storable_context(context)))
        for item, (text, context) in enumerate(zip(texts, contexts or [()] * len(texts), strict=True))
    ]
    copy_once(conn, heldout_prompts, _PROMPTS, rows)


def read_heldout(conn: Connection, run_id: int, split: str) -> list[str]:
    """Which prompts does the split hold? In item order."""
    query = (
        select(heldout_prompts.c.text)
        .where(heldout_prompts.c.run_id == run_id, heldout_prompts.c.split == split)
        .order_by(heldout_prompts.c.item)
    )
    return list(conn.execute(query).scalars())


def read_heldout_contexts(conn: Connection, run_id: int, split: str) -> dict[int, Context]:
    """What stands before the split's prompts? By item; those with nothing before them are left out."""
    columns = heldout_prompts.c
    query = select(columns.item, columns.context).where(
        columns.run_id == run_id, columns.split == split, columns.context.is_not(None)
    )
    return {int(item): read_context(context) for item, context in conn.execute(query)}


def read_questions(conn: Connection, run_id: int) -> list[tuple[str, Context]]:
    """Which prompts are held out, of all splits, and what stands before each?"""
    query = select(heldout_prompts.c.text, heldout_prompts.c.context).where(heldout_prompts.c.run_id == run_id)
    return [(text, read_context(context)) for text, context in conn.execute(query)]


def heldout_splits(conn: Connection, run_id: int) -> list[str]:
    """Which splits does the run have?"""
    query = select(heldout_prompts.c.split).where(heldout_prompts.c.run_id == run_id).distinct()
    return sorted(conn.execute(query).scalars())


def copy_heldout_responses(
    conn: Connection, run_id: int, checkpoint: int, split: str, mode: str, rows: Sequence[HeldoutResponse]
) -> None:
    """Store answers with their rewards; what is there already stays as it is. `mode`: greedy or sampled."""
    stored: list[Row] = []
    for row in rows:
        finite = row.reward is not None and math.isfinite(row.reward)
        reason = None if finite else told(row.reason or "") or f"the reward is {row.reward}"
        stored.append(
            (
                run_id,
                checkpoint,
                split,
                mode,
                row.item,
                row.sample,
                storable(row.text),
                row.finish,
                row.tokens,
                row.reward if finite else None,
                reason,
            )
        )
    copy_once(conn, heldout_responses, _RESPONSES, stored)


def copy_heldout_parts(
    conn: Connection, run_id: int, checkpoint: int, split: str, mode: str, role: JudgeRole, rows: Sequence[HeldoutPart]
) -> None:
    """Store what rewards were made from; what is there already stays as it is."""
    copy_once(
        conn,
        heldout_parts,
        _PARTS,
        [
            (run_id, checkpoint, split, mode, row.item, row.sample, role, row.name, *value_or_reason(row.part))
            for row in rows
        ],
    )


def read_heldout_responses(
    conn: Connection, run_id: int, checkpoint: int, split: str, mode: str
) -> list[HeldoutResponse]:
    """What did this checkpoint answer to the split? By item and sample."""
    columns = heldout_responses.c
    query = (
        select(
            columns.item,
            columns["sample"],
            columns.text,
            columns.finish,
            columns.tokens,
            columns.reward,
            columns.reason,
        )
        .where(
            columns.run_id == run_id,
            columns.checkpoint == checkpoint,
            columns.split == split,
            columns.mode == mode,
        )
        .order_by(columns.item, columns["sample"])
    )
    return [HeldoutResponse(*row) for row in conn.execute(query)]


def heldout_missing(conn: Connection, run_id: int, checkpoint: int, split: str, mode: str, n: int) -> dict[int, int]:
    """Which items of the split lack answers of this checkpoint? Item -> answers there, in item order."""
    prompt, response = heldout_prompts.c, heldout_responses.c
    there = and_(
        response.run_id == prompt.run_id,
        response.split == prompt.split,
        response.item == prompt.item,
        response.checkpoint == checkpoint,
        response.mode == mode,
        response["sample"] < n,
    )
    present = func.count(response["sample"])
    query = (
        select(prompt.item, present)
        .select_from(heldout_prompts.outerjoin(heldout_responses, there))
        .where(prompt.run_id == run_id, prompt.split == split)
        .group_by(prompt.item)
        .having(present < n)
        .order_by(prompt.item)
    )
    return {int(item): int(number) for item, number in conn.execute(query)}


def accuracy(conn: Connection, run_id: int, success: float = 1.0) -> list[AccuracyRow]:
    """How well does each checkpoint answer each split? A reward of at least `success` is correct.

    Responses without a reward count in `n` and are not correct; `mean_reward` leaves them out.
    """
    columns = heldout_responses.c
    query = (
        select(
            columns.checkpoint,
            columns.split,
            columns.mode,
            func.count(),
            func.count(columns.reward),
            func.count().filter(columns.reward >= success),
            func.avg(columns.reward),
        )
        .where(columns.run_id == run_id)
        .group_by(columns.checkpoint, columns.split, columns.mode)
        .order_by(columns.checkpoint, columns.split, columns.mode)
    )
    return [AccuracyRow(*row) for row in conn.execute(query)]
