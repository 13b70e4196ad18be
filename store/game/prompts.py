"""Queries about prompts, their lineage and their categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, literal, select, text, update

from eva.creator.novelty import prompt_key
from eva.types import Prompt, PromptCategory
from store.game.contexts import clean_context, context_column, is_root, read_context, roots
from store.postgres.bulk import copy_once, copy_rows, read_array
from store.postgres.values import clean_text, clean_text_or_none
from store.rows import LineageRow
from store.schema.tables import prompt_categories, prompts, runs

_COLUMNS = (
    *("run_id", "number", "text", "context", "text_key", "parent", "root", "operator", "depth", "born", "topic"),
    *("reference", "likeness", "guide"),
)
_CATEGORIES = ("run_id", "prompt", "iteration", "category", "score")
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
    prompts.c.reference,
    prompts.c.likeness,
    prompts.c.guide,
)

_FAMILY_FACTS = text("""
    SELECT wanted.number,
        (SELECT count(*) FROM prompts c WHERE c.run_id = :run_id AND c.parent = wanted.number),
        ARRAY(SELECT b.iteration FROM batches b
              WHERE b.run_id = :run_id AND b.prompt = wanted.number ORDER BY b.iteration)
    FROM unnest(CAST(:numbers AS int[])) AS wanted (number)
""")


def insert_prompts(conn: Connection, run_id: int, new: Sequence[Prompt]) -> None:
    """Adds prompts, whose numbers must continue the run's in order and without gaps; parents come before children.

    Only a root's context is stored: it is that of its descendants, too. NUL characters and lone surrogates become
    U+FFFD. Raises ValueError when the numbers do not continue the run's.
    """
    if not new:
        return
    first = new[0].number
    if [prompt.number for prompt in new] != list(range(first, first + len(new))):
        raise ValueError("prompts were given with gaps or out of order, expected dense numbers in order")
    result = conn.execute(
        update(runs).where(runs.c.id == run_id, runs.c.prompt_count == first).values(prompt_count=first + len(new))
    )
    if result.rowcount != 1:
        raise ValueError(f"prompts of run {run_id} were given from number {first}, expected the run's next number")
    copy_rows(conn, prompts, _COLUMNS, [_columns_of(run_id, prompt) for prompt in new])


def read_prompts(conn: Connection, run_id: int, numbers: Sequence[int] | None = None) -> list[Prompt]:
    """Returns the prompts with these numbers (None: all), in number order. Unknown numbers are left out."""
    query = select(*_FIELDS).join(roots, is_root).where(prompts.c.run_id == run_id).order_by(prompts.c.number)
    if numbers is not None:
        query = query.where(prompts.c.number == func.any(list(numbers)))
    return [_prompt(row) for row in conn.execute(query)]


def iter_prompts(conn: Connection, run_id: int, after: int = -1, limit: int = 1000) -> list[Prompt]:
    """Returns a page of the prompts that follow number `after`, in number order."""
    query = (
        select(*_FIELDS)
        .join(roots, is_root)
        .where(prompts.c.run_id == run_id, prompts.c.number > after)
        .order_by(prompts.c.number)
        .limit(limit)
    )
    return [_prompt(row) for row in conn.execute(query)]


def read_numbers_born(conn: Connection, run_id: int, first: int, last: int) -> list[int]:
    """Returns the numbers of the prompts made in iterations `first` to `last` (-1: the seed prompts), ascending."""
    query = (
        select(prompts.c.number)
        .where(prompts.c.run_id == run_id, prompts.c.born.between(first, last))
        .order_by(prompts.c.number)
    )
    return list(conn.execute(query).scalars())


def read_text_keys(conn: Connection, run_id: int) -> set[int]:
    """Returns the keys of all the run's prompts (eva.creator.novelty.prompt_key), by which equal prompts are found."""
    rows = read_array(conn, "SELECT text_key FROM prompts WHERE run_id = %s", [run_id], [("key", ">i8")])
    return set(rows["key"].tolist())


def read_parents(conn: Connection, run_id: int) -> dict[int, int | None]:
    """Returns the parent of each prompt of the run, by number; None for seed prompts."""
    rows = conn.execute(select(prompts.c.number, prompts.c.parent).where(prompts.c.run_id == run_id))
    return {row.number: row.parent for row in rows}


def ancestors(conn: Connection, run_id: int, number: int) -> list[Prompt]:
    """Returns a prompt's ancestors, its seed first and itself last. Empty if the prompt does not exist."""
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
    """Returns the prompts that were evolved directly from this one, in number order."""
    query = (
        select(*_FIELDS)
        .join(roots, is_root)
        .where(prompts.c.run_id == run_id, prompts.c.parent == number)
        .order_by(prompts.c.number)
    )
    return [_prompt(row) for row in conn.execute(query)]


def descendants(conn: Connection, run_id: int, number: int, max_depth: int = 10, limit: int = 1000) -> list[LineageRow]:
    """Returns the prompts up to `max_depth` evolutions below this one, nearest first, then by number."""
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
    """Returns by number how many children each prompt has, and the iterations in whose batches it was."""
    rows = conn.execute(_FAMILY_FACTS, {"run_id": run_id, "numbers": list(numbers)})
    return {int(number): (int(count), list(iterations)) for number, count, iterations in rows}


def _columns_of(run_id: int, prompt: Prompt) -> tuple[int | float | str | None, ...]:
    text, context = clean_text(prompt.text), clean_context(prompt.context)
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
        clean_text_or_none(prompt.topic),
        clean_text_or_none(prompt.reference),
        prompt.likeness,
        prompt.guide,
    )


def _prompt(row: Row[*tuple[Any, ...]]) -> Prompt:
    *facts, context, reference, likeness, guide = row
    return Prompt(*facts, context=read_context(context), reference=reference, likeness=likeness, guide=guide)


def copy_categories(conn: Connection, run_id: int, iteration: int, categories: Mapping[int, PromptCategory]) -> None:
    """Stores the categories of prompts, by number. Rows that exist already stay as they are."""
    rows = [(run_id, number, iteration, each.name, each.score) for number, each in categories.items()]
    copy_once(conn, prompt_categories, _CATEGORIES, rows)


def read_categories(conn: Connection, run_id: int, numbers: Sequence[int]) -> dict[int, str]:
    """Returns the categories of those of these prompts that have one."""
    columns = prompt_categories.c
    query = select(columns.prompt, columns.category).where(
        columns.run_id == run_id, columns.prompt == func.any(list(numbers))
    )
    return {int(number): str(category) for number, category in conn.execute(query)}
