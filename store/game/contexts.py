"""What stands before a prompt's text, on its way into a column and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, text

from eva.prompts.conversations import as_rows
from eva.types import Context, Message
from store.postgres.values import json_text, storable
from store.schema.tables import prompts

ROLE_TOKENS = 16
"""What a chat template writes around a message, about."""

_ANY = text("SELECT EXISTS (SELECT FROM prompts WHERE run_id = :run_id AND context IS NOT NULL)")

_LONGEST = text("""
    SELECT coalesce(max(length), 0) FROM (
        SELECT (SELECT sum(length(message ->> 'content') + :around) FROM jsonb_array_elements(context) AS message)
        FROM (
            SELECT context FROM prompts WHERE run_id = :run_id AND context IS NOT NULL
            UNION ALL
            SELECT context FROM heldout_prompts WHERE run_id = :run_id AND context IS NOT NULL
        ) AS contexts
    ) AS lengths (length)
""")

roots = prompts.alias("roots")
"""The seed prompts at the roots of `prompts`, whose `context` is their descendants', too."""


is_root = and_(roots.c.run_id == prompts.c.run_id, roots.c.number == prompts.c.root)
"""How a query about `prompts` joins them: `.join(roots, is_root)`."""


def storable_context(context: Context) -> Context:
    """The messages with storable texts."""
    return tuple(Message(message.role, storable(message.content)) for message in context)


def context_column(context: Context) -> str | None:
    """The column's JSON; null for no messages."""
    return json_text(as_rows(context)) if context else None


def read_context(column: Sequence[Mapping[str, str]] | None) -> Context:
    """The messages of a column."""
    return tuple(Message(row["role"], row["content"]) for row in column or ())


def has_contexts(conn: Connection, run_id: int) -> bool:
    """Does any prompt of the run continue a conversation?"""
    return bool(conn.execute(_ANY, {"run_id": run_id}).scalar_one())


def longest_context(conn: Connection, run_id: int) -> int:
    """How many tokens stand before the text of a prompt at most, seed or held out? A character is one at most."""
    return int(conn.execute(_LONGEST, {"run_id": run_id, "around": ROLE_TOKENS}).scalar_one())
