"""Transactions of those who only look: one moment of the database, no writes, and no query without an end."""

from __future__ import annotations

from sqlalchemy import Connection, text

_BEGIN = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_LONGEST = text("SELECT set_config('statement_timeout', :milliseconds, true)")


def at_one_moment(conn: Connection) -> None:
    """Let the rest of the transaction see the database as it is now, whatever is written meanwhile. Call it first."""
    conn.execute(_BEGIN)


def only_look(conn: Connection, longest_s: float) -> None:
    """Call it first in a transaction: queries see one moment, and one that takes longer than this raises StoreError."""
    at_one_moment(conn)
    conn.execute(_LONGEST, {"milliseconds": str(max(1, int(longest_s * 1000)))})
