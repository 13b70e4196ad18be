"""`eva runs`: the list of runs, where they stand and who plays them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from typing_extensions import override

from cli.remote import LARGEST_PAGE, Source, source_of, url_option
from cli.terminal.formats import age, doing, plain_table, print_json
from cli.terminal.safe_text import printable

STATUSES = ("created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Since(click.ParamType[datetime]):
    """A moment: ISO 8601 (without a time zone, in this machine's), or how long ago."""

    name = "when"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = re.fullmatch(r"(\d{1,6})([mhdw])", str(value))
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(str(value)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no date such as 2026-11-30 and no duration such as 12h", param, ctx)


@click.command()
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only runs with this status; repeatable."
)
@click.option("--tag", metavar="TAG", help="Only runs with this tag.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only runs whose config has this value, such as training.loss=rloo; repeatable.",
)
@click.option(
    "--since", type=Since(), metavar="WHEN", help="Only runs created since: a date or time, or 30m, 12h, 7d ago."
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many of the newest runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it.")
@url_option
def runs(
    statuses: tuple[str, ...],
    tag: str | None,
    configs: tuple[str, ...],
    since: datetime | None,
    limit: int,
    as_json: bool,
    url: str | None,
) -> None:
    """List the runs of this data directory, or of a service, newest first."""
    filters = {
        "status": statuses or None,
        "tag": tag,
        "config": configs or None,
        "created_after": since and since.isoformat(),
    }
    with source_of(url) as source:
        newest, total = _newest(source, limit, filters)
        if as_json:
            print_json(newest)
        elif newest:
            _show(newest)
            if total is None or total > len(newest):
                of = "more than 100,000" if total is None else f"{total:,}"
                click.echo(f"These are the newest {len(newest):,} of {of}. --limit shows more.")
        elif any(filters.values()):
            click.echo("No run is like that. `eva runs` lists all.")
        else:
            click.echo("There are no runs yet. Start one with `eva demo` or `eva run CONFIG`.")


def _newest(source: Source, limit: int, filters: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int | None]:
    """The newest runs, and how many there are; None if they are too many to count."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = source.get("/v1/runs", limit=min(LARGEST_PAGE, limit - len(rows)), cursor=cursor, **filters)
        rows += page["items"]
        cursor = page["next"]
        if cursor is None or len(rows) >= limit:
            return rows, page["total"]


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
