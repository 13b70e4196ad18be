"""Queries about held-out prompts, which no run trains on: the prompts, and each checkpoint's responses to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, select

from eva.evaluation.turns import HeldoutSet
from eva.types import Context
from store.game.contexts import clean_context, context_column, read_context
from store.postgres.bulk import Row, copy_once
from store.postgres.values import clean_text, clean_text_or_none, redacted_text, value_or_reason
from store.rows import HeldoutPart, HeldoutResponse, JudgeRole
from store.schema.tables import heldout_parts, heldout_prompts, heldout_responses

_PROMPTS = ("run_id", "split", "item", "text", "context", "turn", "follows", "reference")
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


def insert_heldout(conn: Connection, run_id: int, held_out: HeldoutSet) -> None:
    """Stores one turn of a held-out set. Rows that exist already stay as they are."""
    rows: list[Row] = [
        (
            run_id,
            held_out.name,
            item,
            clean_text(prompt.text),
            context_column(clean_context(prompt.context)),
            held_out.turn,
            held_out.follows,
            clean_text_or_none(prompt.reference),
        )
        for item, prompt in held_out.prompts.items()
    ]
    copy_once(conn, heldout_prompts, _PROMPTS, rows)


def read_heldout(conn: Connection, run_id: int, split: str) -> dict[int, str]:
    """Returns the texts of a split's prompts by item, in order."""
    query = (
        select(heldout_prompts.c.item, heldout_prompts.c.text)
        .where(heldout_prompts.c.run_id == run_id, heldout_prompts.c.split == split)
        .order_by(heldout_prompts.c.item)
    )
    return {int(item): str(text) for item, text in conn.execute(query)}


def read_heldout_contexts(conn: Connection, run_id: int, split: str) -> dict[int, Context]:
    """Returns the contexts of a split's prompts by item. Prompts without a context are left out."""
    columns = heldout_prompts.c
    query = select(columns.item, columns.context).where(
        columns.run_id == run_id, columns.split == split, columns.context.is_not(None)
    )
    return {int(item): read_context(context) for item, context in conn.execute(query)}


def read_heldout_references(conn: Connection, run_id: int, split: str) -> dict[int, str]:
    """Returns the reference answers of a split's prompts by item. Prompts without one are left out."""
    columns = heldout_prompts.c
    query = select(columns.item, columns.reference).where(
        columns.run_id == run_id, columns.split == split, columns.reference.is_not(None)
    )
    return {int(item): str(reference) for item, reference in conn.execute(query)}


def read_all_heldout(conn: Connection, run_id: int) -> list[tuple[str, Context]]:
    """Returns the texts and contexts of the held-out prompts of all splits."""
    query = select(heldout_prompts.c.text, heldout_prompts.c.context).where(heldout_prompts.c.run_id == run_id)
    return [(text, read_context(context)) for text, context in conn.execute(query)]


def heldout_splits(conn: Connection, run_id: int, turn: int | None = None) -> list[str]:
    """Returns the names of the run's splits, sorted; with `turn`, of those that hold this turn of conversations."""
    query = select(heldout_prompts.c.split).where(heldout_prompts.c.run_id == run_id).distinct()
    if turn is not None:
        query = query.where(heldout_prompts.c.turn == turn)
    return sorted(conn.execute(query).scalars())


def heldout_turns(conn: Connection, run_id: int) -> dict[str, tuple[str, ...]]:
    """Returns each split with those that hold the turns before it, from turn 1 on."""
    columns = heldout_prompts.c
    query = (
        select(columns.split, columns.follows)
        .where(columns.run_id == run_id)
        .group_by(columns.turn, columns.split, columns.follows)
        .order_by(columns.turn, columns.split)
    )
    turns: dict[str, tuple[str, ...]] = {}
    for split, follows in conn.execute(query):
        turns[split] = () if follows is None else (*turns[follows], follows)
    return turns


def copy_heldout_responses(
    conn: Connection, run_id: int, checkpoint: int, split: str, mode: str, rows: Sequence[HeldoutResponse]
) -> None:
    """Stores responses with their rewards. `mode` is greedy or sampled. Rows that exist already stay as they are."""
    stored: list[Row] = []
    for row in rows:
        finite = row.reward is not None and math.isfinite(row.reward)
        reason = None if finite else redacted_text(row.reason or "") or f"the reward is {row.reward}"
        stored.append(
            (
                run_id,
                checkpoint,
                split,
                mode,
                row.item,
                row.sample,
                clean_text(row.text),
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
    """Stores the parts that rewards consist of. Rows that exist already stay as they are."""
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
    """Returns a checkpoint's responses to a split, by item and sample."""
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


def heldout_samples(conn: Connection, run_id: int, checkpoint: int, split: str, mode: str) -> set[tuple[int, int]]:
    """Returns the item and sample of each response of a checkpoint that is stored."""
    columns = heldout_responses.c
    query = select(columns.item, columns["sample"]).where(
        columns.run_id == run_id, columns.checkpoint == checkpoint, columns.split == split, columns.mode == mode
    )
    return {(int(item), int(sample)) for item, sample in conn.execute(query)}


def heldout_missing(conn: Connection, run_id: int, checkpoint: int, split: str, mode: str, n: int) -> dict[int, int]:
    """Returns the items of a split that lack responses of a checkpoint: item -> responses that exist, in item order."""
    prompt, response = heldout_prompts.c, heldout_responses.c
    is_present = and_(
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
        .select_from(heldout_prompts.outerjoin(heldout_responses, is_present))
        .where(prompt.run_id == run_id, prompt.split == split)
        .group_by(prompt.item)
        .having(present < n)
        .order_by(prompt.item)
    )
    return {int(item): int(number) for item, number in conn.execute(query)}
