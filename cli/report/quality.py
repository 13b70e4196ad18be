"""Diversity and reward audit on a terminal: a row per iteration, columns only for what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.terminal.formats import number, plain_table
from cli.terminal.safe_text import one_line

Facts = Mapping[str, Any]
Column = tuple[str, Callable[[Facts], str | None]]
Section = tuple[str, Sequence[RenderableType]]

LONGEST_REWARDER = 60


def _at(figures: Facts, path: str) -> Any:
    """What stands at `section.key` of an iteration's figures; None where there is nothing."""
    found: Any = figures
    for key in path.split("."):
        found = cast("Facts", found).get(key) if found else None
    return found


def _of(path: str, write: Callable[[Any], str]) -> Callable[[Facts], str | None]:
    """A cell: what stands there, written so."""
    return lambda figures: None if (found := _at(figures, path)) is None else write(found)


def _tenths(value: float) -> str:
    return number(float(value), 1)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _correlation(feature: str) -> Callable[[Facts], str | None]:
    """A cell: raw and partial correlation."""

    def read(figures: Facts) -> str | None:
        both = [_at(figures, f"features.{feature}.{kind}") for kind in ("raw", "partial")]
        return None if both == [None, None] else " / ".join("·" if one is None else _signed(one) for one in both)

    return read


DIVERSITY: Sequence[Column] = (
    ("distinct-2", _of("distinct_2", number)),
    ("expected", _of("expected_distinct", number)),
    ("vendi", _of("vendi", _tenths)),
    ("lengths", _of("length_entropy", number)),
    ("near dup", _of("near_duplicates", _percent)),
    ("roots", _of("effective_roots", _tenths)),
    ("topics", _of("effective_topics", _tenths)),
    ("responses", _of("response_distinct_2", number)),
)
"""docs/report.md names the figures behind the headings."""

FEATURES: Sequence[Column] = (
    *((name, _correlation(name)) for name in ("length", "lists", "headers", "bold")),
    ("longer wins", _of("verbosity.longer_wins", _percent)),
)
AGREEMENT: Sequence[Column] = (
    ("kendall", _of("second.kendall", _signed)),
    ("spearman", _of("second.spearman", _signed)),
    ("pairs alike", _of("second.pairs", _percent)),
    ("longer wins", _of("second.verbosity.longer_wins", _percent)),
    ("prompts", _of("second.prompts", number)),
)
JUDGE: Sequence[Column] = (
    ("shown first", _of("position.first", _signed)),
    ("order matters", _of("position.disagreement", _percent)),
    ("unreadable", _of("parts.unreadable", _percent)),
    ("US dollars", _of("cost_usd", number)),
)


def quality_sections(iterations: Sequence[Facts], width: int) -> Iterator[Section]:
    """What is stored of diversity and audit, each section with its title; nothing where nothing is."""
    if batches := _rows(iterations, "diversity"):
        yield "Diversity of the batch", [_table(batches, DIVERSITY, width), *_breaches(batches)]
    audits = _rows(iterations, "audit")
    seconds = [figures["second"]["rewarder"] for _, figures in audits if figures.get("second")]
    auditor = one_line(seconds[-1], LONGEST_REWARDER) if seconds else ""
    for title, columns in (
        ("Reward against length and formatting (correlation: raw / partial)", FEATURES),
        (f"Agreement of the reward with {auditor}", AGREEMENT),
        ("Does the order in which two responses are shown matter?", JUDGE),
    ):
        if any(read(figures) is not None for _, read in columns for _, figures in audits):
            yield title, [_table(audits, columns, width)]


def _breaches(rows: Sequence[tuple[int, Facts]]) -> Iterator[Text]:
    for iteration, figures in rows:
        for breach in figures["breaches"]:
            told, style = ("pauses the run", "red") if breach["pauses"] else ("warned", "yellow")
            yield Text(f"iteration {iteration}: {breach['text']} ({told})", style=style)


def _rows(iterations: Sequence[Facts], key: str) -> list[tuple[int, Facts]]:
    return [(row["iteration"], row[key]) for row in iterations if row[key] is not None]


def _table(rows: Sequence[tuple[int, Facts]], columns: Sequence[Column], width: int) -> Table:
    shown = [(heading, read) for heading, read in columns if any(read(figures) is not None for _, figures in rows)]
    table = plain_table(width)
    table.add_column("iteration", no_wrap=True)
    for heading, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for iteration, figures in rows:
        table.add_row(str(iteration), *(read(figures) or "·" for _, read in shown))
    return table
