"""`eva runs`: the list of runs, where they stand and who plays them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.remote import LARGEST_PAGE, Source, source_of, url_option
from cli.terminal.formats import age, doing, plain_table
from cli.terminal.safe_text import printable


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many of the newest runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it.")
@url_option
def runs(limit: int, as_json: bool, url: str | None) -> None:
    """List the runs of this data directory, or of a service, newest first."""
    with source_of(url) as source:
        newest = _newest(source, limit)
        if as_json:
            click.echo(json.dumps(newest, indent=1, ensure_ascii=False))
        elif newest:
            _show(newest)
        else:
            click.echo("There are no runs yet. Start one with `eva demo` or `eva run CONFIG`.")


def _newest(source: Source, limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(rows) < limit:
        page = source.get("/v1/runs", limit=min(LARGEST_PAGE, limit - len(rows)), cursor=cursor)
        rows += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    console = Console(highlight=False)
    table = plain_table(console.width)
    for heading, justify in (
        ("run", "left"),
        ("status", "left"),
        ("iterations", "right"),
        ("stage", "left"),
        ("prompts", "right"),
        ("age", "right"),
        ("driver", "left"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for facts in rows:
        driver = facts["held_by"]
        table.add_row(
            _name(facts),
            _status(facts),
            f"{facts['iteration']}/{facts['iterations']}",
            _stage(facts),
            f"{facts['prompts']:,}",
            age((now - datetime.fromisoformat(facts["created_at"])).total_seconds()),
            Text("" if driver is None else printable(f"{driver['pid']} on {driver['host']}")),
        )
    console.print(table)


def _name(facts: dict[str, Any]) -> Text:
    name, origin = Text(printable(facts["name"])), facts["forked_from"]
    return (
        name
        if origin is None
        else name.append(f"\n  fork of {printable(origin['run'])} at {origin['iteration']}", style="dim")
    )


def _status(facts: dict[str, Any]) -> Text:
    status = facts["status"]
    return Text(status, style={"finished": "green", "failed": "red", "running": "cyan"}.get(status, "yellow"))


def _stage(facts: dict[str, Any]) -> str:
    stage = facts["stage"]
    if stage is None:
        return ""
    return doing(stage["name"]) + (f" {stage['done']:,}/{stage['total']:,}" if stage["total"] else "")
