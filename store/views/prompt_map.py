"""Queries behind the map of a run's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from eva.prompt_map.projection import IterationPrompts
from store.schema.tables import prompts


@dataclass(frozen=True, slots=True)
class MappedPrompt:
    """A prompt as the map needs it; of its text, the beginning."""

    number: int
    text: str
    born: int
    operator: str | None


def read_births(conn: Connection, run_id: int, before: int) -> list[IterationPrompts]:
    """How many prompts did each iteration before this one make, and from which number on? Seeds are born in -1."""
    number = prompts.c.number
    query = (
        select(prompts.c.born, func.min(number), func.count())
        .where(prompts.c.run_id == run_id, prompts.c.born < before)
        .group_by(prompts.c.born)
        .order_by(prompts.c.born)
    )
    return [IterationPrompts(*row) for row in conn.execute(query)]


def read_mapped(conn: Connection, run_id: int, numbers: Sequence[int], longest: int) -> list[MappedPrompt]:
    """These prompts, with so many characters of their texts, in number order."""
    query = (
        select(prompts.c.number, func.left(prompts.c.text, longest), prompts.c.born, prompts.c.operator)
        .where(prompts.c.run_id == run_id, prompts.c.number == func.any(list(numbers)))
        .order_by(prompts.c.number)
    )
    return [MappedPrompt(*row) for row in conn.execute(query)]
