"""`eva fingerprint`: a digest of everything a run decided, or where two runs first differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.store_access import existing_store
from cli.terminal.formats import plain_table, print_json
from cli.terminal.safe_text import printable
from store.rows import RunRow
from store.runs.runs import find_run
from store.session import begin_snapshot
from store.views.fingerprint import START, Fingerprint, FirstDifference, PartDigest, first_difference
from store.views.fingerprint import fingerprint as take

SHOWN = 16
"""Digits shown of each digest; --json prints all of them."""


@click.command()
@click.argument("run", default="last")
@click.argument("other", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def fingerprint(ctx: click.Context, run: str, other: str | None, as_json: bool) -> None:
    """Print the digest of everything that RUN decided, and of each part of each iteration.

    With OTHER, say whether both made the same decisions; if not, say where they first differ and exit with 1. Times,
    costs and events do not count (docs/reference/fingerprint.md). RUN is a name, a unique prefix of one, or `last`.
    """
    with existing_store() as store, store.transaction() as conn:
        begin_snapshot(conn)
        rows = [find_run(conn, reference) for reference in (run, other) if reference is not None]
        prints = [take(conn, row.id) for row in rows]
    if len(rows) == 1:
        _show_json({"run": rows[0].name} | asdict(prints[0])) if as_json else _show(rows[0], prints[0])
        return
    difference = first_difference(*prints)
    if as_json:
        _show_json(
            {
                "runs": [row.name for row in rows],
                "digests": [row.digest for row in prints],
                "equal": difference is None,
                "first_difference": None if difference is None else asdict(difference),
                "weights_differ_from": _weights_differ_from(*prints),
            }
        )
    else:
        _compare(rows, prints, difference)
    if difference is not None:
        ctx.exit(1)


def _show(row: RunRow, digests: Fingerprint) -> None:
    click.echo(f"{printable(row.name)}  {digests.digest}")
    console = Console(highlight=False)
    table = plain_table(console.width)
    for heading, justify in (("iteration", "right"), ("part", "left"), ("rows", "right"), ("digest", "left")):
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    for part in digests.parts:
        table.add_row(_iteration(part.iteration), _words(part.part), f"{part.rows:,}", part.digest[:SHOWN])
    for number, digest in digests.weights:
        table.add_row(
            _iteration(number - 1),
            Text(f"weights of checkpoint {number}", style="dim"),
            "",
            Text(digest[:SHOWN], style="dim"),
        )
    console.print(table)


def _compare(rows: list[RunRow], prints: list[Fingerprint], difference: FirstDifference | None) -> None:
    for row, digests in zip(rows, prints, strict=True):
        click.echo(f"{printable(row.name)}  {digests.digest}")
    if difference is None:
        click.echo("equal: both runs made the same decisions")
    else:
        start = difference.iteration == START
        where = "before the first iteration" if start else f"in iteration {difference.iteration}"
        click.echo(f"different: first {where}, {_words(difference.part)}")
        for row, part in zip(rows, (difference.one, difference.other), strict=True):
            click.echo(f"  {printable(row.name)}: {_rows(part)}")
    if (number := _weights_differ_from(*prints)) is not None:
        click.echo(f"weights differ from checkpoint {number} on (weights are not part of the digest)")


def _weights_differ_from(one: Fingerprint, other: Fingerprint) -> int | None:
    ones, others = dict(one.weights), dict(other.weights)
    return min((number for number in ones.keys() & others.keys() if ones[number] != others[number]), default=None)


def _rows(part: PartDigest | None) -> str:
    return "no rows" if part is None else f"{part.rows:,} rows, {part.digest[:SHOWN]}"


def _iteration(number: int) -> str:
    return "start" if number == START else str(number)


def _words(part: str) -> str:
    return part.replace("_", " ")


def _show_json(facts: dict[str, Any]) -> None:
    print_json(facts)
