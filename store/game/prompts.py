"""Queries about prompts and their lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, literal, select, text, update

from eva.creator.novelty import prompt_key
from eva.types import Prompt
from store.game.contexts import context_column, is_root, read_context, roots, storable_context
from store.postgres.bulk import copy_rows, read_array
from store.postgres.values import storable, storable_or_none
from store.rows import LineageRow
from store.schema.tables import prompts, runs

_COLUMNS = ("run_id", "number", "text", "context", "text_key", "parent", "root", "operator", "depth", "born", "topic")
_FIELDS = (
    prompts.c.number,
    prompts.c.text,
    prompts.c.parent,
    prompts.c.root,
    prompts.c.operator,
    prompts.c.depth,
    prompts.c.born,
    prompts.c.topic,
    roots.c.context,
)

_FAMILY_FACTS = text("""
    SELECT asked.number,
        (SELECT count(*) FROM prompts c WHERE c.run_id = :run_id AND c.parent = asked.number),
        ARRAY(SELECT b.iteration FROM batches b
              WHERE b.run_id = :run_id AND b.prompt = asked.number ORDER BY b.iteration)
    FROM unnest(CAST(:numbers AS int[])) AS asked (number)
""")


def insert_prompts(conn: Connection, run_id: int, new: Sequence[Prompt]) -> None:
    """Add prompts whose numbers continue the run's, without gaps, in order; parents come before children.

    A child's context is its root's, and is kept there alone. NUL characters and lone surrogates become U+FFFD.
    Raises ValueError when the numbers do not continue.
    """
    if not new:
        return
    first = new[0].number
    if [prompt.number for prompt in new] != list(range(first, first + len(new))):
        raise ValueError("prompts were given with gaps or out of order, expected dense numbers in order")
    grown = conn.execute(
        update(runs).where(runs.c.id == run_id, runs.c.prompt_count == first).values(prompt_count=first + len(new))
    )
    if grown.rowcount != 1:
        raise ValueError(f"prompts of run {run_id} were given from number {first}, expected the run's next number")
    copy_rows(conn, prompts, _COLUMNS, [_stored(run_id, prompt) for prompt in new])


def read_prompts(conn: Connection, run_id: int, numbers: Sequence[int] | None = None) -> list[Prompt]:
    """Which prompts have these numbers (None: all)? In number order; unknown numbers are left out."""
    query = select(*_FIELDS).join(roots, is_root).where(prompts.c.run_id == run_id).order_by(prompts.c.number)
    if numbers is not None:
        query = query.where(prompts.c.number == func.any(list(numbers)))
    return [_prompt(row) for row in conn.execute(query)]


def iter_prompts(conn: Connection, run_id: int, after: int = -1, limit: int = 1000) -> list[Prompt]:
    """Which prompts follow number `after`? One page, in number order."""
    query = (
        select(*_FIELDS)
        .join(roots, is_root)
        .where(prompts.c.run_id == run_id, prompts.c.number > after)
        .order_by(prompts.c.number)
        .limit(limit)
    )
    return [_prompt(row) for row in conn.execute(query)]


def numbers_born(conn: Connection, run_id: int, first: int, last: int) -> list[int]:
    """Which prompts were made in iterations `first` to `last` (-1: the seed prompts)? In number order."""
    query = (
        select(prompts.c.number)
        .where(prompts.c.run_id == run_id, prompts.c.born.between(first, last))
        .order_by(prompts.c.number)
    )
    return list(conn.execute(query).scalars())


def known_keys(conn: Connection, run_id: int) -> set[int]:
    """Which prompts does the run have already? Their keys (eva.creator.novelty.prompt_key)."""
    found = read_array(conn, "SELECT text_key FROM prompts WHERE run_id = %s", [run_id], [("key", ">i8")])
    return set(found["key"].tolist())


def ancestors(conn: Connection, run_id: int, number: int) -> list[Prompt]:
    """From which prompts was this one evolved? Its seed first, itself last; empty when there is none such."""
    line = (
        select(prompts.c.number, prompts.c.parent)
        .where(prompts.c.run_id == run_id, prompts.c.number == number)
        .cte("line", recursive=True)
    )
    older = select(prompts.c.number, prompts.c.parent).where(
        prompts.c.run_id == run_id, prompts.c.number == line.c.parent
    )
    line = line.union_all(older)
    query = (
        select(*_FIELDS)
        .join(roots, is_root)
        .join(line, prompts.c.number == line.c.number)
        .where(prompts.c.run_id == run_id)
        .order_by(prompts.c.number)
    )
    return [_prompt(row) for row in conn.execute(query)]


def children(conn: Connection, run_id: int, number: int) -> list[Prompt]:
    """Which prompts were evolved directly from this one? In number order."""
    query = (
        select(*_FIELDS)
        .join(roots, is_root)
        .where(prompts.c.run_id == run_id, prompts.c.parent == number)
        .order_by(prompts.c.number)
    )
    return [_prompt(row) for row in conn.execute(query)]


def descendants(conn: Connection, run_id: int, number: int, max_depth: int = 10, limit: int = 1000) -> list[LineageRow]:
    """What grew from this prompt, up to `max_depth` evolutions away? Nearest first, then by number."""
    tree = select(literal(number).label("number"), literal(0).label("distance")).cte("tree", recursive=True)
    below = (
        select(prompts.c.number, tree.c.distance + 1)
        .join(tree, prompts.c.parent == tree.c.number)
        .where(prompts.c.run_id == run_id, tree.c.distance < max_depth)
    )
    tree = tree.union_all(below)
    query = (
        select(
            prompts.c.number,
            prompts.c.parent,
            tree.c.distance,
            prompts.c.operator,
            prompts.c.born,
            prompts.c.text,
        )
        .join(tree, prompts.c.number == tree.c.number)
        .where(prompts.c.run_id == run_id, tree.c.distance > 0)
        .order_by(tree.c.distance, prompts.c.number)
        .limit(limit)
    )
    return [LineageRow(*row) for row in conn.execute(query)]


def family_facts(conn: Connection, run_id: int, numbers: Sequence[int]) -> dict[int, tuple[int, list[int]]]:
    """How many children has each of these prompts, and in which iterations' batches was it? By number."""
    rows = conn.execute(_FAMILY_FACTS, {"run_id": run_id, "numbers": list(numbers)})
    return {int(number): (int(grown), list(iterations)) for number, grown, iterations in rows}


def _stored(run_id: int, prompt: Prompt) -> tuple[int | str | None, ...]:
    text, context = storable(prompt.text), storable_context(prompt.context)
    return (
        run_id,
        prompt.number,
        text,
        context_column(context) if prompt.parent is None else None,
        prompt_key(text, context),
        prompt.parent,
        prompt.root,
        prompt.operator,
        prompt.depth,
        prompt.born,
        storable_or_none(prompt.topic),
    )


def _prompt(row: Row[*tuple[Any, ...]]) -> Prompt:
    number, text, parent, root, operator, depth, born, topic, context = row
    return Prompt(number, text, parent, root, operator, depth, born, topic, read_context(context))
