"""The context of a prompt, i.e. the messages before its text: to and from its column, and queries about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, text

from eva.prompts.conversations import as_rows
from eva.types import Context, Message
from store.postgres.values import clean_text, json_text
from store.schema.tables import prompts

ROLE_TOKENS = 16
"""About how many tokens a chat template writes around a message."""

_ANY = text("SELECT EXISTS (SELECT FROM prompts WHERE run_id = :run_id AND context IS NOT NULL)")

_LONGEST = text("""
    SELECT coalesce(max(length), 0) FROM (
        SELECT (SELECT sum(length(message ->> 'content') + :around) FROM jsonb_array_elements(context) AS message)
            + responses * (:response_tokens + :around)
        FROM (
            SELECT context, 0 FROM prompts WHERE run_id = :run_id AND context IS NOT NULL
            UNION ALL
            SELECT context, turn - 1 FROM heldout_prompts WHERE run_id = :run_id AND context IS NOT NULL
        ) AS contexts (context, responses)
    ) AS lengths (length)
""")

roots = prompts.alias("roots")
"""The seed prompts at the roots of `prompts`. Their `context` is that of their descendants, too."""

is_root = and_(roots.c.run_id == prompts.c.run_id, roots.c.number == prompts.c.root)
"""The join condition: a query about `prompts` adds `.join(roots, is_root)`."""


def clean_context(context: Context) -> Context:
    """Returns the messages with texts that Postgres can store."""
    return tuple(Message(message.role, clean_text(message.content)) for message in context)


def context_column(context: Context) -> str | None:
    """Returns the column's JSON, or None without messages."""
    return json_text(as_rows(context)) if context else None


def read_context(column: Sequence[Mapping[str, str]] | None) -> Context:
    """Returns the messages in a column."""
    return tuple(Message(row["role"], row["content"]) for row in column or ())


def has_contexts(conn: Connection, run_id: int) -> bool:
    """Whether any prompt of the run continues a conversation."""
    return bool(conn.execute(_ANY, {"run_id": run_id}).scalar_one())


def longest_context(conn: Connection, run_id: int, response_tokens: int) -> int:
    """Returns an upper bound on the tokens before a prompt's text, over seed and held-out prompts.

    It counts each character as a token, and `response_tokens` for each response of the policy that a later turn of a
    held-out conversation has before it.
    """
    values = {"run_id": run_id, "around": ROLE_TOKENS, "response_tokens": response_tokens}
    return int(conn.execute(_LONGEST, values).scalar_one())
