"""What stands before a prompt's text, on its way into a column and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_

from eva.types import Context, Message
from store.tables import prompts
from store.text import json_text, storable

roots = prompts.alias("roots")
"""The seed prompts at the roots of `prompts`, whose `context` is their descendants', too."""


is_root = and_(roots.c.run_id == prompts.c.run_id, roots.c.number == prompts.c.root)
"""How a query about `prompts` joins them: `.join(roots, is_root)`."""


def storable_context(context: Context) -> Context:
    """The messages with storable texts."""
    return tuple(Message(message.role, storable(message.content)) for message in context)


def context_column(context: Context) -> str | None:
    """The column's JSON; null for no messages."""
    return json_text([{"role": message.role, "content": message.content} for message in context]) if context else None


def read_context(column: Sequence[Mapping[str, str]] | None) -> Context:
    """The messages of a column."""
    return tuple(Message(row["role"], row["content"]) for row in column or ())
