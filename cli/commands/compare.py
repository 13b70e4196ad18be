"""`eva compare`: how runs differ, in what they were told and in what came of it."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.remote import source_of, url_option
from cli.terminal.formats import number, plain_table
from cli.terminal.safe_text import one_line, printable

VALUE_WIDTH = 40


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN ...")
@click.option("--json", "as_json", is_flag=True, help="As JSON, as the API gives it.")
@url_option
def compare(runs: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Show how two to six runs differ: their configs, their iterations, and who answered the same prompts better.

    Each RUN is a name, the unique beginning of one, or `last`; the others are set beside the first.
    """
    with source_of(url) as source:
        found = source.get("/v1/compare", run=[*runs])
        if as_json:
            click.echo(json.dumps(found, indent=1, ensure_ascii=False))
            return
        console = Console(highlight=False)
        _show_config(found, console)
        _show_curves(found["runs"], console)
        _show_paired(found["paired"], console)


def _show_config(found: dict[str, Any], console: Console) -> None:
    if not found["config"]:
        console.print("The configs are the same.")
        return
    table = plain_table(console.width)
    for heading in ("config", *(printable(run["name"]) for run in found["runs"])):
        table.add_column(heading, overflow="fold")
    for one in found["config"]:
        table.add_row(Text(printable(one["key"])), *(Text(_value(value)) for value in one["values"]))
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
    console.print("\nBatches, iteration by iteration (seconds and tokens add up)")
    console.print(table)


def _show_paired(paired: list[dict[str, Any]], console: Console) -> None:
    if not paired:
        console.print("\nThey have answered no prompt in common with checkpoints of the same number.")
        return
    table = plain_table(console.width)
    for heading in ("run", "prompts", "asked"):
        table.add_column(heading, overflow="fold")
    for heading in ("checkpoint", "count", "first", "this", "difference", "better", "worse"):
        table.add_column(heading, justify="right")
    for one in paired:
        error = "" if one["standard_error"] is None else f" ± {number(one['standard_error'])}"
        table.add_row(
            Text(printable(one["run"])),
            Text(printable(one["prompts"])),
            one["mode"],
            str(one["checkpoint"]),
            str(one["count"]),
            number(one["first"]),
            number(one["second"]),
            f"{one['difference']:+.3g}{error}",
            str(one["better"]),
            str(one["worse"]),
        )
    console.print("\nMean rewards over the same prompts, beside the first run (± one standard error)")
    console.print(table)


def _figure(value: float | None) -> str:
    return "" if value is None else number(value)


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), VALUE_WIDTH)
