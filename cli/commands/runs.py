"""`eva runs`: which runs there are, where they stand, who plays them."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli.opening import opened_existing
from cli.printable import printable
from cli.tables import plain_table
from cli.wording import age, doing
from store.reports import RunOverview, run_overviews


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def runs(limit: int, as_json: bool) -> None:
    """List the runs of this data directory, newest first."""
    with opened_existing() as store, store.transaction() as conn:
        found = run_overviews(conn, limit)
    if as_json:
        click.echo(json.dumps([_facts(overview) for overview in found], indent=1, ensure_ascii=False))
        return
    if not found:
        click.echo("There are no runs yet. Start one with `eva demo` or `eva run CONFIG`.")
        return
    console = Console(highlight=False)
    table = plain_table(console.width)
    for heading, justify in (
        ("run", "left"),
        ("status", "left"),
        ("iterations", "right"),
        ("stage", "left"),
        ("prompts", "right"),
        ("age", "right"),
        ("held by", "left"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for overview in found:
        facts = _facts(overview)
        table.add_row(
            _name(facts),
            _status(facts),
            f"{facts['iteration']}/{facts['iterations']}",
            _stage(facts),
            f"{facts['prompts']:,}",
            age(facts["age_s"]),
            Text(printable(facts["held_by"] or "")),
        )
    console.print(table)


def _facts(overview: RunOverview) -> dict[str, Any]:
    run, owner = overview.run, overview.held_by
    return {
        "name": run.name,
        "status": run.status,
        "desired": run.desired,
        "iteration": run.iteration,
        "iterations": run.config.get("iterations"),
        "stage": overview.stage,
        "stage_done": overview.stage_done,
        "stage_total": overview.stage_total,
        "prompts": run.prompt_count,
        "age_s": round(overview.age_s, 1),
        "created_at": run.created_at.isoformat(),
        "error": run.error,
        "forked_from": overview.forked_from and {"run": overview.forked_from, "iteration": run.forked_at},
        "held_by": f"{owner.get('pid')} on {owner.get('host')}" if owner else None,
    }


def _name(facts: dict[str, Any]) -> Text:
    name, origin = Text(printable(facts["name"])), facts["forked_from"]
    return name if origin is None else name.append(
        f"\n  fork of {printable(origin['run'])} at {origin['iteration']}", style="dim")


def _status(facts: dict[str, Any]) -> Text:
    # killed drivers leave the status as it was: without a holder nothing runs
    status = "interrupted" if facts["status"] == "running" and facts["held_by"] is None else facts["status"]
    return Text(status, style={"finished": "green", "failed": "red", "running": "cyan"}.get(status, "yellow"))


def _stage(facts: dict[str, Any]) -> str:
    if facts["stage"] is None:
        return ""
    share = f" {facts['stage_done']:,}/{facts['stage_total']:,}" if facts["stage_total"] else ""
    return doing(facts["stage"]) + share
