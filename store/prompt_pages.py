"""Queries that look for prompts: filters, orders, pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import REGCONFIG, distinct_on
from sqlalchemy.sql.selectable import FromClause

from store.tables import WORDS, batches, estimates, prompts
from store.text import storable

SORTS = ("number", "-number", "info", "-info", "depth", "-depth")
"""Orders of a page; a minus puts the largest first. Prompts without info come last either way."""


@dataclass(frozen=True, slots=True)
class PromptFilter:
    """Which prompts of a run. With `iteration`, those of its pool or batch, and `info` is that iteration's; without,
    it is that of the first time a prompt was judged."""

    iteration: int | None = None
    born: int | None = None
    operator: str | None = None
    info_min: float | None = None
    info_max: float | None = None
    depth: int | None = None
    root: int | None = None
    topic: str | None = None
    text: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """A prompt of a page; `iteration` is the one that `info` comes from, None where it was never judged."""

    number: int
    text: str
    parent: int | None
    root: int
    operator: str | None
    depth: int
    born: int
    topic: str | None
    iteration: int | None
    info: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after the prompt `number`, whose sorted value is `value` (None: infinite)."""

    value: float | None
    number: int


def prompt_page(
    conn: Connection, run_id: int, wanted: PromptFilter, sort: str, limit: int, after: Place | None = None
) -> list[FoundPrompt]:
    """Which prompts of the run are these? A page in the order of `sort`, equal ones by number."""
    judged = _first_judged() if wanted.iteration is None else _judged_in(run_id, wanted.iteration)
    query = _joined(judged, inner=wanted.iteration is not None).where(prompts.c.run_id == run_id)
    for condition in _conditions(wanted, judged):
        query = query.where(condition)
    key, descending = _key(sort, judged), sort.startswith("-")
    if key is None:
        number = prompts.c.number
        query = query.order_by(number.desc() if descending else number)
        if after is not None:
            query = query.where(number < after.number if descending else number > after.number)
    else:
        query = query.order_by(key.desc() if descending else key, prompts.c.number)
        if after is not None:
            bound = _infinite(descending) if after.value is None else literal(after.value, Float(53))
            beyond = key < bound if descending else key > bound
            query = query.where(or_(beyond, and_(key == bound, prompts.c.number > after.number)))
    return [FoundPrompt(*row) for row in conn.execute(query.limit(limit))]


def place_of(prompt: FoundPrompt, sort: str) -> Place:
    """Where the page after this prompt begins."""
    value = {"info": prompt.info, "depth": float(prompt.depth)}.get(sort.removeprefix("-"))
    return Place(value, prompt.number)


def _joined(judged: FromClause, *, inner: bool) -> Select[*tuple[Any, ...]]:
    columns = (
        prompts.c.number,
        prompts.c.text,
        prompts.c.parent,
        prompts.c.root,
        prompts.c.operator,
        prompts.c.depth,
        prompts.c.born,
        prompts.c.topic,
        judged.c.iteration,
        judged.c.info,
    )
    query = select(*columns).select_from(prompts)
    if inner:
        return query.join(judged, judged.c.prompt == prompts.c.number)
    return query.outerjoin(judged, true())


def _first_judged() -> FromClause:
    """As part of a batch or of a pool, whichever came first; one lookup per prompt that is read."""
    of_prompt = [
        select(table.c.iteration, table.c.info, literal(place).label("place"))
        .where(table.c.run_id == prompts.c.run_id, table.c.prompt == prompts.c.number)
        .correlate(prompts)
        for place, table in enumerate((batches, estimates))
    ]
    found = union_all(*of_prompt).lateral("found")
    return (
        select(found.c.iteration, found.c.info)
        .select_from(found)
        .order_by(found.c.iteration, found.c.place)
        .limit(1)
        .lateral("judged")
    )


def _judged_in(run_id: int, iteration: int) -> FromClause:
    """The pool and the batch of an iteration; a prompt that is in both has the batch's info."""
    both = [
        select(table.c.prompt, table.c.iteration, table.c.info, literal(place).label("place")).where(
            table.c.run_id == run_id, table.c.iteration == iteration
        )
        for place, table in enumerate((batches, estimates))
    ]
    found = union_all(*both).subquery("found")
    return (
        select(found.c.prompt, found.c.iteration, found.c.info)
        .ext(distinct_on(found.c.prompt))
        .order_by(found.c.prompt, found.c.place)
        .subquery("judged")
    )


def _conditions(wanted: PromptFilter, judged: FromClause) -> list[ColumnElement[bool]]:
    same = (
        (prompts.c.born, wanted.born),
        (prompts.c.depth, wanted.depth),
        (prompts.c.root, wanted.root),
        (prompts.c.operator, wanted.operator and storable(wanted.operator)),
        (prompts.c.topic, wanted.topic and storable(wanted.topic)),
    )
    found: list[ColumnElement[bool]] = [column == value for column, value in same if value is not None]
    if wanted.info_min is not None:
        found.append(judged.c.info >= wanted.info_min)
    if wanted.info_max is not None:
        found.append(judged.c.info <= wanted.info_max)
    if wanted.text:
        found.append(prompts.c.text.icontains(storable(wanted.text), autoescape=True))
    if wanted.words:
        asked = func.websearch_to_tsquery(cast("simple", REGCONFIG), storable(wanted.words))
        found.append(literal_column(WORDS.text).op("@@")(asked))
    return found


def _key(sort: str, judged: FromClause) -> ColumnElement[float] | None:
    match sort.removeprefix("-"):
        case "info":
            return func.coalesce(judged.c.info, _infinite(sort.startswith("-")))
        case "depth":
            return prompts.c.depth
        case _:
            return None


def _infinite(descending: bool) -> ColumnElement[float]:
    return literal("-Infinity" if descending else "Infinity").cast(Float(53))
