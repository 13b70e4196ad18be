"""Keeps the planner of PostgreSQL informed about a run that grows."""

from __future__ import annotations

from sqlalchemy import Connection, text

FEWEST, GROWTH = 1_000, 1.5
"""From so many rows on, the statistics are renewed when a run has grown by this factor.

With fewer rows plans may be bad, which only makes a join of many tables slow: see `keep_join_order`.
"""

_COUNT = text("""
    SELECT (SELECT count(*) FROM prompts WHERE run_id = :run_id)
         + (SELECT count(*) FROM responses WHERE run_id = :run_id)
         + (SELECT count(*) FROM heldout_responses WHERE run_id = :run_id)
""")

_ANALYZE = text("""
    ANALYZE prompts, responses, rewards, evolutions, estimates, batches, pairs, heldout_responses, heldout_comparisons
""")


_KEEP_ORDER = text("SELECT set_config('join_collapse_limit', '1', true)")


def keep_join_order(conn: Connection) -> None:
    """Has the transaction's queries join their tables in the order in which they name them.

    For joins that find one row per key, from a table of few rows on. In an order of its own the planner took each of
    two tables for one row and joined all of both: 11 pairs of a run of 128 prompts took 15 seconds.
    """
    conn.execute(_KEEP_ORDER)


class PlannerStatistics:
    """Renews the statistics of the tables that hold one run's rows, as the run grows.

    PostgreSQL does so by itself when a tenth of a table has changed, which in a store of many runs is long after a run
    has begun. Until then its planner takes the run for a single row, and joins each text with each: a query of
    milliseconds took longer than eight minutes.
    """

    def __init__(self) -> None:
        self._known = 0

    def inform(self, conn: Connection, run_id: int) -> bool:
        """Renews the statistics if the run has grown enough, and returns whether it did. Safe to repeat."""
        rows = int(conn.execute(_COUNT, {"run_id": run_id}).scalar_one())
        if rows < max(FEWEST, GROWTH * self._known):
            return False
        conn.execute(_ANALYZE)
        self._known = rows
        return True
