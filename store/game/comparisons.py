"""Queries about comparisons with a baseline: its answers, and which of two answers the rewarder prefers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select, text

from eva.types import PromptResponses, Response
from store.game.contexts import read_context
from store.postgres.bulk import copy_once
from store.postgres.values import storable, told
from store.rows import ComparedRow, Comparison, JudgeRole
from store.schema.tables import heldout_baselines, heldout_comparisons

_BASELINES = ("run_id", "split", "item", "text")
_COMPARISONS = ("run_id", "checkpoint", "split", "item", "role", "reward", "baseline_reward", "preference", "reason")

# without a file, the baseline is the given model: checkpoint 0
_ANSWERS = """
    FROM heldout_comparisons c
    LEFT JOIN heldout_responses own ON own.run_id = c.run_id AND own.checkpoint = c.checkpoint
        AND own.split = c.split AND own.mode = 'greedy' AND own.item = c.item AND own.sample = 0
        AND own.finish <> 'failed'
    LEFT JOIN heldout_baselines b ON b.run_id = c.run_id AND b.split = c.split AND b.item = c.item
    LEFT JOIN heldout_responses given ON given.run_id = c.run_id AND given.checkpoint = 0
        AND given.split = c.split AND given.mode = 'greedy' AND given.item = c.item AND given.sample = 0
        AND given.finish <> 'failed'
"""
_BESIDE = "CASE WHEN b.item IS NULL THEN given.text ELSE b.text END"
_COMPARED = text(
    f"SELECT c.checkpoint, c.item, c.preference, own.text, {_BESIDE} {_ANSWERS}"
    "WHERE c.run_id = :run_id AND c.split = :split AND c.role = 'evaluator' AND c.checkpoint <= :last "
    "ORDER BY c.checkpoint, c.item"
)
_WITHOUT_SECOND = text(
    f"SELECT c.item, p.text, p.context, own.text, {_BESIDE} {_ANSWERS}"
    "JOIN heldout_prompts p ON p.run_id = c.run_id AND p.split = c.split AND p.item = c.item "
    "LEFT JOIN heldout_comparisons second ON second.run_id = c.run_id AND second.checkpoint = c.checkpoint "
    "AND second.split = c.split AND second.item = c.item AND second.role = 'auditor' "
    "WHERE c.run_id = :run_id AND c.split = :split AND c.role = 'evaluator' AND c.checkpoint = :checkpoint "
    "AND c.preference IS NOT NULL AND second.item IS NULL ORDER BY c.item"
)


def insert_baseline(conn: Connection, run_id: int, split: str, answers: Sequence[str]) -> None:
    """Store what a baseline answered to a split's items 0 .. len - 1; what is there already stays as it is."""
    rows = [(run_id, split, item, storable(answer)) for item, answer in enumerate(answers)]
    copy_once(conn, heldout_baselines, _BASELINES, rows)


def read_baseline(conn: Connection, run_id: int, split: str) -> dict[int, str]:
    """What did the baseline answer, by item, where its answers came from a file?"""
    columns = heldout_baselines.c
    query = (
        select(columns.item, columns.text)
        .where(columns.run_id == run_id, columns.split == split)
        .order_by(columns.item)
    )
    return {int(item): str(answer) for item, answer in conn.execute(query)}


def copy_comparisons(
    conn: Connection,
    run_id: int,
    checkpoint: int,
    split: str,
    rows: Sequence[Comparison],
    role: JudgeRole = "evaluator",
) -> None:
    """Store comparisons; what is there already stays as it is."""
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
                None if row.reason is None else told(row.reason),
            )
            for row in rows
        ],
    )


def read_comparisons(
    conn: Connection, run_id: int, checkpoint: int, split: str, role: JudgeRole = "evaluator"
) -> list[Comparison]:
    """How do this checkpoint's greedy answers to the split compare? By item."""
    columns = heldout_comparisons.c
    query = (
        select(columns.item, columns.reward, columns.baseline_reward, columns.preference, columns.reason)
        .where(columns.run_id == run_id, columns.checkpoint == checkpoint, columns.split == split, columns.role == role)
        .order_by(columns.item)
    )
    return [Comparison(*row) for row in conn.execute(query)]


def iter_compared(conn: Connection, run_id: int, split: str, last: int) -> Iterator[ComparedRow]:
    """How do the checkpoints up to `last` compare, and with which answers? Streamed by checkpoint and item."""
    given = {"run_id": run_id, "split": split, "last": last}
    with conn.execute(_COMPARED, given, execution_options={"yield_per": 200}) as rows:
        for row in rows:
            yield ComparedRow(*row)


def without_second(conn: Connection, run_id: int, checkpoint: int, split: str) -> list[PromptResponses]:
    """Which comparisons has the auditor not made? By item, the policy's answer before the baseline's."""
    given = {"run_id": run_id, "checkpoint": checkpoint, "split": split}
    return [
        PromptResponses(
            item,
            prompt,
            tuple(Response(sample, answer, "stop", 0, 0) for sample, answer in enumerate(answers)),
            context=read_context(context),
        )
        for item, prompt, context, *answers in conn.execute(_WITHOUT_SECOND, given)
    ]
