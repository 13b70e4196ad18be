"""How many rows a list has on all its pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, select

MOST_COUNTED = 100_000
"""How far rows are counted, so that a total stays cheap however long a list is."""


def count_rows(conn: Connection, matching: Select[Any]) -> int | None:
    """Returns how many rows a query has, or None if they are more than MOST_COUNTED."""
    some = matching.limit(MOST_COUNTED + 1).subquery()
    count = int(conn.execute(select(func.count()).select_from(some)).scalar_one())
    return count if count <= MOST_COUNTED else None
