"""What a run decided: in full, for looking at, and as its fingerprint, for comparing it with another one."""

from __future__ import annotations

from typing import Any

from eva.config import RunConfig
from store.game import creation, heldout, prompts
from store.rows import RunRow
from store.session import Store
from store.views import statistics
from store.views.fingerprint import Fingerprint, fingerprint


def decisions(store: Store, run: RunRow) -> dict[str, Any]:
    """Prompts with lineage, draws, children, batches, pairs, held-out answers."""
    iterations = range(RunConfig.model_validate(run.config).iterations)
    with store.transaction() as conn:
        return {
            "prompts": prompts.read_prompts(conn, run.id),
            "estimates": [creation.read_estimates(conn, run.id, iteration) for iteration in iterations],
            "chains": [creation.read_chains(conn, run.id, iteration) for iteration in iterations],
            "batches": [creation.read_batch(conn, run.id, iteration) for iteration in iterations],
            "pairs": [creation.read_pairs(conn, run.id, iteration) for iteration in iterations],
            "accuracy": [
                (row.checkpoint, row.split, row.mode, row.n, row.correct) for row in heldout.accuracy(conn, run.id, 0.9)
            ],
            "statistics": statistics.get_statistics(conn, run.id, "batch"),
        }


def fingerprint_of(store: Store, run: RunRow) -> Fingerprint:
    """The run's fingerprint, its weights with it: equal only when nothing at all differs."""
    with store.transaction() as conn:
        return fingerprint(conn, run.id)
