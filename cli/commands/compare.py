"""`eva compare`: how runs differ in config and results."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.remote import source_of, url_option
from cli.terminal.formats import number, plain_table, print_json
from cli.terminal.safe_text import one_line, printable

VALUE_WIDTH = 40


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN ...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it.")
@url_option
def compare(runs: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Show how two to six runs differ: their configs, their iterations, and their rewards on the same prompts.

    Each RUN is a name, a unique prefix of one, or `last`; all others are compared with the first.
    """
    with source_of(url) as source:
        comparison = source.get("/v1/compare", run=[*runs])
        if as_json:
            print_json(comparison)
            return
        console = Console(highlight=False)
        _show_config(comparison, console)
        _show_curves(comparison["runs"], console)
        _show_paired(comparison["paired"], console)


def _show_config(comparison: dict[str, Any], console: Console) -> None:
    if not comparison["config"]:
        console.print("The configs are the same.")
        return
    table = plain_table(console.width)
    for heading in ("config", *(printable(run["name"]) for run in comparison["runs"])):
        table.add_column(heading, overflow="fold")
    for row in comparison["config"]:
        table.add_row(Text(printable(row["key"])), *(Text(_value(value)) for value in row["values"]))
    console.print(table)


def _show_curves(runs: list[dict[str, Any]], console: Console) -> None:
    table = plain_table(console.width)
    table.add_column("run", overflow="fold")
    for heading in ("iteration", "seconds", "tokens", "reward", "best", "info"):
        table.add_column(heading, justify="right")
    for run in runs:
        for point in run["curve"]:
            table.add_row(
                Text(printable(run["name"])),
                str(point["iteration"]),
                f"{point['seconds']:,.0f}",
                "" if point["tokens"] is None else f"{point['tokens']:,}",
                _figure(point["reward_mean"]),
                _figure(point["reward_best"]),
                _figure(point["info_mean"]),
            )
    console.print("\nBatches by iteration (seconds and tokens are running totals)")
    console.print(table)


def _show_paired(paired: list[dict[str, Any]], console: Console) -> None:
    if not paired:
        console.print("\nCheckpoints of the same number have no prompt in common that both runs responded to.")
        return
    console.print("\nMean rewards on the same prompts, compared with the first run (± one standard error)")
    for name, rows in groupby(paired, lambda row: row["run"]):
        console.print(Text(f"\n{printable(name)}"))
        console.print(_paired_table([*rows], console.width))


def _paired_table(rows: list[dict[str, Any]], width: int) -> Table:
    """The comparisons of one run: few columns, so that they fit 80 characters."""
    table = plain_table(width)
    table.add_column("prompts", overflow="fold")
    for heading in ("policy", "count", "first", "this", "difference", "better", "worse"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        error = "" if row["standard_error"] is None else f" ± {number(row['standard_error'])}"
        table.add_row(
            Text(printable(f"{row['prompts']}, {row['mode']}")),
            str(row["checkpoint"]),
            str(row["count"]),
            number(row["first"]),
            number(row["second"]),
            f"{row['difference']:+.3g}{error}",
            str(row["better"]),
            str(row["worse"]),
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else number(value)


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), VALUE_WIDTH)
