"""Queries that search a run's prompts: filters, sort orders, pages."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    Table,
    and_,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.sql.selectable import FromClause

from store.postgres.values import clean_text
from store.schema.tables import WORDS, batches, estimates, prompts
from store.views.prompt_lists.figures import FIGURES, LATER, with_figure, with_figures
from store.views.totals import count_rows

_Query = Select[*tuple[Any, ...]]

_PROMPT = (
    prompts.c.number,
    prompts.c.text,
    prompts.c.parent,
    prompts.c.root,
    prompts.c.operator,
    prompts.c.depth,
    prompts.c.born,
    prompts.c.topic,
    prompts.c.reference,
    prompts.c.likeness,
    prompts.c.guide,
)

GUARDS = ("likeness", "guide")
"""What is known of a child from its birth on: how much it repeats other prompts, and the guide's score."""

PLAIN, COMPUTED = ("number", "info", "depth", "born"), (*FIGURES, *LATER, *GUARDS)
SORTS = tuple(sign + name for name in (*PLAIN, *COMPUTED) for sign in ("", "-"))
"""The sort orders. A minus puts the largest first. Prompts without the value always come last."""


@dataclass(frozen=True, slots=True)
class PromptFilter:
    """Selects prompts of a run.

    With `iteration`, only prompts of its pool or batch, and `info` is that iteration's. Without, `info` is that of the
    first time that a prompt was judged.
    """

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
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class FoundPrompt:
    """A prompt on a page. `iteration` is the one that `info` comes from, or None if it was never judged.

    `checkpoint` is the policy whose responses were judged there, and the FIGURES are those of these responses.
    `answer` is the commonest answer among them, where the rewarder reads answers. `gain` and `children` are LATER.
    """

    number: int
    text: str
    parent: int | None
    root: int
    operator: str | None
    depth: int
    born: int
    topic: str | None
    reference: str | None
    likeness: float | None
    guide: float | None
    iteration: int | None
    info: float | None
    checkpoint: int | None
    reward: float | None
    margin: float | None
    length: float | None
    correlation: float | None
    vote: float | None
    success: float | None
    answer: str | None
    gain: float | None
    children: int


@dataclass(frozen=True, slots=True)
class PageStart:
    """Where a page begins: after the prompt `number`, whose sorted value is `value` (None: infinite)."""

    value: float | None
    number: int


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a page and where it begins. One index, read forwards or backwards, serves both directions."""

    sort: str
    after: PageStart | None

    @property
    def by(self) -> str:
        return self.sort.removeprefix("-")

    def cut(self, query: _Query, column: ColumnElement[Any], number: ColumnElement[int], limit: int) -> _Query:
        """Cuts a page out of a query whose rows are sorted by this column and number."""
        beyond = true() if self.after is None else self._beyond(self.after, column, number)
        return self.ordered(query.where(beyond), column, number).limit(limit)

    def ordered(self, query: _Query, column: ColumnElement[Any], number: ColumnElement[int]) -> _Query:
        keys = (number,) if column is number else (column, number)
        return query.order_by(*(key.desc() if self.sort.startswith("-") else key for key in keys))

    def _beyond(self, after: PageStart, column: ColumnElement[Any], number: ColumnElement[int]) -> ColumnElement[bool]:
        further = operator.lt if self.sort.startswith("-") else operator.gt
        if column is number:
            return further(number, after.number)
        bound = literal(after.value, Float(53))
        # the first condition follows from the second, but lets an index start at it
        return and_(
            or_(further(column, bound), column == bound), or_(further(column, bound), further(number, after.number))
        )


def prompt_page(
    conn: Connection, run_id: int, wanted: PromptFilter, sort: str, limit: int, after: PageStart | None = None
) -> list[FoundPrompt]:
    """Returns a page of the prompts in the order of `sort`. Equal ones are sorted by number, in the same direction."""
    order = _Order(sort, after)
    if order.by in COMPUTED:
        return _found(conn, _figure_page(run_id, wanted, order, limit))
    if order.by != "info":
        return _found(conn, _with_figures(run_id, _page(run_id, wanted, order, limit), order))
    page: list[FoundPrompt] = []
    if after is None or after.value is not None:
        page = _found(conn, _with_figures(run_id, _page(run_id, wanted, order, limit, informed=True), order))
        after = None
    if len(page) == limit or wanted.info_min is not None or wanted.info_max is not None:
        return page
    rest = _Order("number", after)
    others = _page(run_id, wanted, rest, limit - len(page), informed=False)
    return page + _found(conn, _with_figures(run_id, others, rest))


def count_prompts(conn: Connection, run_id: int, wanted: PromptFilter) -> int | None:
    """Returns how many prompts there are of these, or None if they are too many to count."""
    if wanted.iteration is None and wanted.info_min is None and wanted.info_max is None:
        # which prompts match does not depend on when they were judged
        matching = select(prompts.c.number).where(
            prompts.c.run_id == run_id, *_conditions(run_id, wanted, literal(None, Float(53)), None)
        )
    else:
        matching = _all(run_id, wanted)
    return count_rows(conn, matching)


def page_start_after(prompt: FoundPrompt, sort: str) -> PageStart:
    """Returns the start of the page that follows this prompt."""
    by = sort.removeprefix("-")
    value: float | None = None if by == "number" else getattr(prompt, by)
    return PageStart(None if value is None else float(value), prompt.number)


def _found(conn: Connection, query: _Query) -> list[FoundPrompt]:
    return [FoundPrompt(*row) for row in conn.execute(query)]


def _page(run_id: int, wanted: PromptFilter, order: _Order, limit: int, *, informed: bool | None = None) -> _Query:
    """Returns the query of a page. `informed`: only prompts that have info (True) or have none (False)."""
    if wanted.iteration is not None or order.by == "info":
        return _judged_page(run_id, wanted, order, limit, informed)
    return order.cut(_all(run_id, wanted, informed), prompts.c[order.by], prompts.c.number, limit)


def _judged_page(run_id: int, wanted: PromptFilter, order: _Order, limit: int, informed: bool | None) -> _Query:
    """The same for judged prompts: a page of batches and a page of pools, merged."""
    arms: list[_Query] = []
    for table in (batches, estimates):
        query = _judged(run_id, wanted, table, informed)
        number = table.c.prompt
        column = {"info": table.c.info, "depth": prompts.c.depth, "born": prompts.c.born, "number": number}[order.by]
        arms.append(select(order.cut(query, column, number, limit).subquery()))
    both = union_all(*arms).subquery()
    return order.ordered(select(both), both.c[order.by], both.c.number).limit(limit)


def _judged(run_id: int, wanted: PromptFilter, table: Table, informed: bool | None = None) -> _Query:
    """The judged prompts of the batches or of the pools."""
    return (
        select(*_PROMPT, table.c.iteration, table.c.info, table.c.checkpoint)
        .join(table, and_(table.c.run_id == prompts.c.run_id, table.c.prompt == prompts.c.number))
        .where(
            table.c.run_id == run_id,
            prompts.c.run_id == run_id,
            _counts(table, wanted.iteration),
            *_conditions(run_id, wanted, table.c.info, informed),
        )
    )


def _all(run_id: int, wanted: PromptFilter, informed: bool | None = None) -> _Query:
    """All prompts that match, in no order."""
    if wanted.iteration is not None:
        both = union_all(*(_judged(run_id, wanted, table, informed) for table in (batches, estimates))).subquery()
        return select(both)
    judged = _first_judged()
    return (
        select(*_PROMPT, judged.c.iteration, judged.c.info, judged.c.checkpoint)
        .select_from(prompts)
        .outerjoin(judged, true())
        .where(prompts.c.run_id == run_id, *_conditions(run_id, wanted, judged.c.info, informed))
    )


def _with_figures(run_id: int, page: _Query, order: _Order) -> _Query:
    """A page with the figures of its prompts, in its order."""
    found = page.subquery()
    columns, joined = with_figures(run_id, found)
    return order.ordered(select(found, *columns).select_from(joined), found.c[order.by], found.c.number)


def _figure_page(run_id: int, wanted: PromptFilter, order: _Order, limit: int) -> _Query:
    """A page in the order of a figure, which is computed for every prompt that matches, or of a guard."""
    found = _all(run_id, wanted).subquery()
    value, joined = (found.c[order.by], found) if order.by in GUARDS else with_figure(run_id, found, order.by)
    falling = order.sort.startswith("-")
    query = select(found, value.label("sorted")).select_from(joined)
    if (after := order.after) is not None:
        later = found.c.number > after.number
        if after.value is None:
            query = query.where(value.is_(None), later)
        else:
            bound = literal(after.value, Float(53))
            further = value < bound if falling else value > bound
            query = query.where(or_(further, and_(value == bound, later), value.is_(None)))
    by_value = value.desc().nulls_last() if falling else value.nulls_last()
    page = query.order_by(by_value, found.c.number).limit(limit).subquery()
    # the other figures are computed for this page alone
    columns, joined = with_figures(run_id, page)
    by_value = page.c.sorted.desc().nulls_last() if falling else page.c.sorted.nulls_last()
    shown = [column for column in page.c if column is not page.c.sorted]
    return select(*shown, *columns).select_from(joined).order_by(by_value, page.c.number)


def _counts(table: Table, iteration: int | None) -> ColumnElement[bool]:
    """Whether a row is the one that counts for its prompt: the first of all, or within an iteration the batch's."""
    if iteration is None:
        return table.c.first
    if table is batches:
        return table.c.iteration == iteration
    both = (batches.c.run_id == table.c.run_id, batches.c.prompt == table.c.prompt, batches.c.iteration == iteration)
    # evaluated once per row that a page reads: the OFFSET keeps the planner from joining the whole table
    in_batch = exists(select(literal(1)).where(*both).correlate(table).offset(0))
    return and_(table.c.iteration == iteration, ~in_batch)


def _first_judged() -> FromClause:
    """When a prompt was first judged, with one lookup per prompt that is read."""
    of_prompt = [
        select(table.c.iteration, table.c.info, table.c.checkpoint)
        .where(table.c.run_id == prompts.c.run_id, table.c.prompt == prompts.c.number, table.c.first)
        .correlate(prompts)
        for table in (batches, estimates)
    ]
    return union_all(*of_prompt).lateral("judged")


def _conditions(
    run_id: int, wanted: PromptFilter, info: ColumnElement[float | None], informed: bool | None
) -> list[ColumnElement[bool]]:
    same = (
        (prompts.c.born, wanted.born),
        (prompts.c.depth, wanted.depth),
        (prompts.c.root, wanted.root),
        (prompts.c.operator, wanted.operator and clean_text(wanted.operator)),
        (prompts.c.topic, wanted.topic and clean_text(wanted.topic)),
    )
    conditions: list[ColumnElement[bool]] = [column == value for column, value in same if value is not None]
    if informed is not None:
        conditions.append(info.is_not(None) if informed else info.is_(None))
    if wanted.info_min is not None:
        conditions.append(info >= wanted.info_min)
    if wanted.info_max is not None:
        conditions.append(info <= wanted.info_max)
    if wanted.numbers is not None:
        conditions.append(prompts.c.number == func.any(list(wanted.numbers)))
    if wanted.text:
        conditions.append(prompts.c.text.icontains(clean_text(wanted.text), autoescape=True))
    if wanted.words:
        conditions.append(_with_words(run_id, wanted.words))
    return conditions


def _with_words(run_id: int, words: str) -> ColumnElement[bool]:
    """Finds prompts by their words through the index, as a subquery: the planner misjudges how rare words are."""
    search = func.websearch_to_tsquery(cast("simple", REGCONFIG), clean_text(words))
    matching = select(prompts.c.number).where(prompts.c.run_id == run_id, literal_column(WORDS.text).op("@@")(search))
    return prompts.c.number.in_(matching.offset(0))
