"""Queries for the map of a run's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from eva.prompt_map.projection import IterationPrompts
from store.schema.tables import prompts


@dataclass(frozen=True, slots=True)
class MappedPrompt:
    """A prompt on the map, with the beginning of its text."""

    number: int
    text: str
    born: int
    operator: str | None


def read_births(conn: Connection, run_id: int, before: int) -> list[IterationPrompts]:
    """Returns for each iteration before this one its first prompt number and its count. Seed prompts are born in -1."""
    number = prompts.c.number
    query = (
        select(prompts.c.born, func.min(number), func.count())
        .where(prompts.c.run_id == run_id, prompts.c.born < before)
        .group_by(prompts.c.born)
        .order_by(prompts.c.born)
    )
    return [IterationPrompts(*row) for row in conn.execute(query)]


def read_mapped(conn: Connection, run_id: int, numbers: Sequence[int], longest: int) -> list[MappedPrompt]:
    """Returns these prompts in number order, with at most `longest` characters of their texts."""
    query = (
        select(prompts.c.number, func.left(prompts.c.text, longest), prompts.c.born, prompts.c.operator)
        .where(prompts.c.run_id == run_id, prompts.c.number == func.any(list(numbers)))
        .order_by(prompts.c.number)
    )
    return [MappedPrompt(*row) for row in conn.execute(query)]
