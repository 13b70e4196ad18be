"""Diversity and reward audit on a terminal: a row per iteration, columns only for the figures that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.terminal.formats import number, plain_table
from cli.terminal.safe_text import one_line
from store.views.summary.schema import (
    Audit,
    CategoryFigures,
    Correlations,
    Diversity,
    Figure,
    Iteration,
    SteeringFacts,
)

Part = TypeVar("Part")
Cell = Callable[[Part], str | None]
Section = tuple[str, Sequence[RenderableType]]

LONGEST_REWARDER = 60
LONGEST_CATEGORY = 30


def _cell(read: Callable[[Part], Figure | None], write: Callable[[Figure], str]) -> Cell[Part]:
    """A cell that writes the figure that `read` finds, or nothing where there is none."""
    return lambda part: None if (figure := read(part)) is None else write(figure)


def _tenths(value: float) -> str:
    return number(float(value), 1)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _correlations(feature: str) -> Cell[Audit]:
    """A cell with the raw and the partial correlation of the reward with a feature."""

    def write(audit: Audit) -> str | None:
        found: Correlations | None = (audit.features or {}).get(feature)
        if found is None or (found.raw is None and found.partial is None):
            return None
        return " / ".join("·" if value is None else _signed(value) for value in (found.raw, found.partial))

    return write


DIVERSITY: Sequence[tuple[str, Cell[Diversity]]] = (
    ("distinct-2", _cell(lambda batch: batch.distinct_2, number)),
    ("expected", _cell(lambda batch: batch.expected_distinct, number)),
    ("vendi", _cell(lambda batch: batch.vendi, _tenths)),
    ("lengths", _cell(lambda batch: batch.length_entropy, number)),
    ("near dup", _cell(lambda batch: batch.near_duplicates, _percent)),
    ("roots", _cell(lambda batch: batch.effective_roots, _tenths)),
    ("topics", _cell(lambda batch: batch.effective_topics, _tenths)),
    ("responses", _cell(lambda batch: batch.response_distinct_2, number)),
)
"""docs/report.md names the figures behind the headings."""

FEATURES: Sequence[tuple[str, Cell[Audit]]] = (
    *((name, _correlations(name)) for name in ("length", "lists", "headers", "bold")),
    ("longer wins", _cell(lambda audit: audit.verbosity and audit.verbosity.longer_wins, _percent)),
)
AGREEMENT: Sequence[tuple[str, Cell[Audit]]] = (
    ("kendall", _cell(lambda audit: audit.second and audit.second.kendall, _signed)),
    ("spearman", _cell(lambda audit: audit.second and audit.second.spearman, _signed)),
    ("pairs alike", _cell(lambda audit: audit.second and audit.second.pairs, _percent)),
    (
        "longer wins",
        _cell(lambda audit: audit.second and audit.second.verbosity and audit.second.verbosity.longer_wins, _percent),
    ),
    ("prompts", _cell(lambda audit: audit.second and audit.second.prompts, number)),
)
JUDGE: Sequence[tuple[str, Cell[Audit]]] = (
    ("shown first", _cell(lambda audit: audit.position and audit.position.first, _signed)),
    ("order matters", _cell(lambda audit: audit.position and audit.position.disagreement, _percent)),
    ("unreadable", _cell(lambda audit: (audit.parts or {}).get("unreadable"), _percent)),
    ("US dollars", _cell(lambda audit: audit.cost_usd, number)),
)


def quality_sections(iterations: Sequence[Iteration], width: int) -> Iterator[Section]:
    """The sections about diversity and audit, each with its title; none where nothing is stored."""
    batches = [(row.iteration, row.diversity) for row in iterations if row.diversity is not None]
    if batches:
        steered = [(row.iteration, row.steering) for row in iterations if row.steering is not None]
        parts = [_table(batches, DIVERSITY, width), *_breaches(batches), *_steering(steered)]
        yield "Diversity of the batch", parts
    for iteration, categories in [(row.iteration, row.categories) for row in iterations if row.categories][-1:]:
        yield f"Categories of the batch, iteration {iteration}", [_categories(categories, width)]
    audits = [(row.iteration, row.audit) for row in iterations if row.audit is not None]
    auditors = [audit.second.rewarder for _, audit in audits if audit.second is not None]
    auditor = one_line(auditors[-1], LONGEST_REWARDER) if auditors else ""
    for title, columns in (
        ("Reward against length and formatting (correlation: raw / partial)", FEATURES),
        (f"Agreement of the reward with {auditor}", AGREEMENT),
        ("Does the order in which two responses are shown matter?", JUDGE),
    ):
        if any(cell(audit) is not None for _, cell in columns for _, audit in audits):
            yield title, [_table(audits, columns, width)]


def _categories(categories: Sequence[CategoryFigures], width: int) -> Table:
    """A row per category: what the policy is worst at, and where the gap between its responses is widest."""
    table = plain_table(width)
    table.add_column("category", no_wrap=True)
    for heading in ("prompts", "reward", "95 %", "gap", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in categories:
        figures = (row.reward, row.reward_interval), (row.gap, row.gap_interval)
        cells = [cell for mean, interval in figures for cell in (number(mean), _interval(interval))]
        table.add_row(one_line(row.category, LONGEST_CATEGORY), f"{row.prompts:,}", *cells)
    return table


def _interval(interval: tuple[Figure, Figure] | None) -> str:
    return "·" if interval is None else f"{number(interval[0])} .. {number(interval[1])}"


def _breaches(rows: Sequence[tuple[int, Diversity]]) -> Iterator[Text]:
    for iteration, diversity in rows:
        for breach in diversity.breaches:
            consequence, style = ("pauses the run", "red") if breach.pauses else ("warned", "yellow")
            yield Text(f"iteration {iteration}: {breach.text} ({consequence})", style=style)


def _steering(rows: Sequence[tuple[int, SteeringFacts]]) -> Iterator[Text]:
    """What each iteration's creator was steered by, and why."""
    for iteration, steering in rows:
        if steering.level:
            why = ", ".join(f"{name.figure} {number(name.value)}, bound {number(name.bound)}" for name in steering.why)
            changes = (
                f"buffer +{100 * steering.buffer:.0f} %, weights flattened by {number(steering.temperature)}, "
                f"breadth +{100 * steering.breadth:.0f} %"
            )
            yield Text(
                f"iteration {iteration}: steered at level {steering.level} ({why or 'on the way back'}): {changes}",
                style="yellow",
            )


def _table(rows: Sequence[tuple[int, Part]], columns: Sequence[tuple[str, Cell[Part]]], width: int) -> Table:
    shown = [(heading, cell) for heading, cell in columns if any(cell(part) is not None for _, part in rows)]
    table = plain_table(width)
    table.add_column("iteration", no_wrap=True)
    for heading, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for iteration, part in rows:
        table.add_row(str(iteration), *(cell(part) or "·" for _, cell in shown))
    return table
