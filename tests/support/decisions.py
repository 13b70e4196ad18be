"""What a run decided: in full, for looking at, and as its fingerprint, for comparing it with another one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from eva.config import RunConfig
from store.game import batches, evolutions, pairs, prompts
from store.rows import BatchRow, RunRow
from store.schema.tables import batches as batches_table
from store.session import Store
from store.views import statistics
from store.views.fingerprint import Fingerprint, fingerprint
from store.views.report import heldout_scores


def decisions(store: Store, run: RunRow) -> dict[str, Any]:
    """Prompts with lineage, draws, children, batches, pairs, held-out responses."""
    iterations = range(RunConfig.model_validate(run.config).iterations)
    with store.transaction() as conn:
        return {
            "prompts": prompts.read_prompts(conn, run.id),
            "estimates": [batches.read_estimates(conn, run.id, iteration) for iteration in iterations],
            "chains": [evolutions.read_chains(conn, run.id, iteration) for iteration in iterations],
            "batches": [read_batch(conn, run.id, iteration) for iteration in iterations],
            "pairs": [pairs.read_pairs(conn, run.id, iteration) for iteration in iterations],
            "accuracy": [
                (row.checkpoint, row.split, row.mode, row.n, row.correct) for row in heldout_scores(conn, run.id, 0.9)
            ],
            "statistics": statistics.get_statistics(conn, run.id, "batch"),
        }


def read_batch(conn: Connection, run_id: int, iteration: int) -> list[BatchRow]:
    """An iteration's batch in number order."""
    columns = batches_table.c
    query = (
        select(columns.prompt, columns.buffer, columns.checkpoint, columns.info, columns.reason)
        .where(columns.run_id == run_id, columns.iteration == iteration)
        .order_by(columns.prompt)
    )
    return [BatchRow(*row) for row in conn.execute(query)]


def fingerprint_of(store: Store, run: RunRow) -> Fingerprint:
    """The run's fingerprint, its weights with it: equal only when nothing at all differs."""
    with store.transaction() as conn:
        return fingerprint(conn, run.id)
