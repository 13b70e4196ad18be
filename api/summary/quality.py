"""The parts of a report that warn: how diverse each batch was, and what the rewarder likes besides quality."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.run import Collapse
from eva.measures.diversity import breaches
from store.rows import JsonObject
from store.views import statistics

Facts = dict[str, Any]


def quality_facts(conn: Connection, run_id: int, config: RunConfig) -> dict[int, Facts]:
    """By iteration: `diversity` with its `breaches`, and `audit`, as they were stored; None until they are."""
    diversity, audits = (statistics.get_statistics(conn, run_id, name) for name in ("diversity", "audit"))
    return {
        iteration: {"diversity": _diversity(diversity.get(iteration), config.collapse), "audit": audits.get(iteration)}
        for iteration in {*diversity, *audits}
    }


def _diversity(figures: JsonObject | None, bounds: Collapse) -> Facts | None:
    if figures is None:
        return None
    found = [
        {**asdict(breach), "text": str(breach), "pauses": pauses}
        for pauses, limits in ((False, bounds.warn), (True, bounds.pause))
        for breach in breaches(figures, limits)
    ]
    return {**figures, "breaches": found}
