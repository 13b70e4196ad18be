"""Queries about comparisons with a baseline: its responses, and which of two responses the rewarder prefers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select, text

from eva.types import PromptResponses, Response
from store.game.contexts import read_context
from store.postgres.bulk import copy_once
from store.postgres.values import clean_text, redacted_text
from store.rows import ComparedRow, HeldoutComparison, JudgeRole
from store.schema.tables import heldout_baselines, heldout_comparisons

_BASELINES = ("run_id", "split", "item", "text")
_COMPARISONS = ("run_id", "checkpoint", "split", "item", "role", "reward", "baseline_reward", "preference", "reason")

# without a file, the baseline is the initial model: checkpoint 0
_TEXTS = """
    FROM heldout_comparisons c
    LEFT JOIN heldout_responses own ON own.run_id = c.run_id AND own.checkpoint = c.checkpoint
        AND own.split = c.split AND own.mode = 'greedy' AND own.item = c.item AND own.sample = 0
        AND own.finish <> 'failed'
    LEFT JOIN heldout_baselines b ON b.run_id = c.run_id AND b.split = c.split AND b.item = c.item
    LEFT JOIN heldout_responses initial ON initial.run_id = c.run_id AND initial.checkpoint = 0
        AND initial.split = c.split AND initial.mode = 'greedy' AND initial.item = c.item AND initial.sample = 0
        AND initial.finish <> 'failed'
"""
_BESIDE = "CASE WHEN b.item IS NULL THEN initial.text ELSE b.text END"
_COMPARED = text(
    f"SELECT c.checkpoint, c.item, c.preference, own.text, {_BESIDE} {_TEXTS}"
    "WHERE c.run_id = :run_id AND c.split = :split AND c.role = 'evaluator' AND c.checkpoint <= :last "
    "ORDER BY c.checkpoint, c.item"
)
_NOT_AUDITED = text(
    f"SELECT c.item, p.text, p.context, p.reference, own.text, {_BESIDE} {_TEXTS}"
    "JOIN heldout_prompts p ON p.run_id = c.run_id AND p.split = c.split AND p.item = c.item "
    "LEFT JOIN heldout_comparisons second ON second.run_id = c.run_id AND second.checkpoint = c.checkpoint "
    "AND second.split = c.split AND second.item = c.item AND second.role = 'auditor' "
    "WHERE c.run_id = :run_id AND c.split = :split AND c.role = 'evaluator' AND c.checkpoint = :checkpoint "
    "AND c.preference IS NOT NULL AND second.item IS NULL ORDER BY c.item"
)


def insert_baseline(conn: Connection, run_id: int, split: str, texts: Sequence[str]) -> None:
    """Stores a baseline's responses to a split's items 0 .. len - 1. Rows that exist already stay as they are."""
    rows = [(run_id, split, item, clean_text(response)) for item, response in enumerate(texts)]
    copy_once(conn, heldout_baselines, _BASELINES, rows)


def read_baseline(conn: Connection, run_id: int, split: str) -> dict[int, str]:
    """Returns the baseline's responses by item, where they came from a file."""
    columns = heldout_baselines.c
    query = (
        select(columns.item, columns.text)
        .where(columns.run_id == run_id, columns.split == split)
        .order_by(columns.item)
    )
    return {int(item): str(response) for item, response in conn.execute(query)}


def copy_comparisons(
    conn: Connection,
    run_id: int,
    checkpoint: int,
    split: str,
    rows: Sequence[HeldoutComparison],
    role: JudgeRole = "evaluator",
) -> None:
    """Stores comparisons. Rows that exist already stay as they are."""
    copy_once(
        conn,
        heldout_comparisons,
        _COMPARISONS,
        [
            (
                run_id,
                checkpoint,
                split,
                row.item,
                role,
                row.reward,
                row.baseline_reward,
                row.preference,
                None if row.reason is None else redacted_text(row.reason),
            )
            for row in rows
        ],
    )


def read_comparisons(
    conn: Connection, run_id: int, checkpoint: int, split: str, role: JudgeRole = "evaluator"
) -> list[HeldoutComparison]:
    """Returns the comparisons of a checkpoint's greedy responses to a split, by item."""
    columns = heldout_comparisons.c
    query = (
        select(columns.item, columns.reward, columns.baseline_reward, columns.preference, columns.reason)
        .where(columns.run_id == run_id, columns.checkpoint == checkpoint, columns.split == split, columns.role == role)
        .order_by(columns.item)
    )
    return [HeldoutComparison(*row) for row in conn.execute(query)]


def iter_compared(conn: Connection, run_id: int, split: str, last: int) -> Iterator[ComparedRow]:
    """Streams the comparisons of the checkpoints up to `last`, with both texts, by checkpoint and item."""
    values = {"run_id": run_id, "split": split, "last": last}
    with conn.execute(_COMPARED, values, execution_options={"yield_per": 200}) as rows:
        for row in rows:
            yield ComparedRow(*row)


def read_not_audited(conn: Connection, run_id: int, checkpoint: int, split: str) -> list[PromptResponses]:
    """Returns what the auditor has not compared yet, by item: the policy's response, then the baseline's."""
    values = {"run_id": run_id, "checkpoint": checkpoint, "split": split}
    return [
        PromptResponses(
            item,
            prompt,
            tuple(Response(sample, response, "stop", 0, 0) for sample, response in enumerate(texts)),
            context=read_context(context),
            reference=reference,
        )
        for item, prompt, context, reference, *texts in conn.execute(_NOT_AUDITED, values)
    ]
