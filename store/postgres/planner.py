"""Keeps the planner of PostgreSQL informed about a run that grows."""

from __future__ import annotations

from sqlalchemy import Connection, text

FEWEST, GROWTH = 1_000, 1.5
"""With fewer rows any plan will do; from then on the statistics are renewed when a run has grown by this factor."""

_COUNT = text("""
    SELECT (SELECT count(*) FROM prompts WHERE run_id = :run_id)
         + (SELECT count(*) FROM responses WHERE run_id = :run_id)
         + (SELECT count(*) FROM heldout_responses WHERE run_id = :run_id)
""")

_ANALYZE = text("""
    ANALYZE prompts, responses, rewards, evolutions, estimates, batches, pairs, heldout_responses, heldout_comparisons
""")


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
