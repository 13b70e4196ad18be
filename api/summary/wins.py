"""The part of a summary about win rates: every policy against the baseline of each held-out set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from store.views import statistics


def win_rates(conn: Connection, run_id: int) -> dict[str, list[dict[str, Any]]]:
    """By set, the figures of every policy that was compared, in the order of the checkpoints."""
    found: dict[str, list[dict[str, Any]]] = {}
    for by_set in statistics.get_statistics(conn, run_id, "win_rates").values():
        for name, figures in by_set.items():
            own = next((score for score in figures["arena"] if score["checkpoint"] == figures["checkpoint"]), None)
            kept = {key: value for key, value in figures.items() if key != "arena"}
            found.setdefault(name, []).append(kept | {"elo": own and own["elo"]})
    return dict(sorted(found.items()))
