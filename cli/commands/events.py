"""`eva events`: what happened in a run."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from cli.remote import LARGEST_PAGE, run_path, source_of, url_option
from cli.terminal.safe_text import one_line, printable


@click.command()
@click.argument("run", default="last")
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Only events with a larger number.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="At most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@url_option
def events(run: str, after: int, limit: int, as_json: bool, url: str | None) -> None:
    """List what happened in RUN, in order.

    RUN is a name, a unique prefix of one, or `last`.
    """
    with source_of(url) as source:
        while limit > 0:
            page = source.get(f"{run_path(run)}/events", after=after, limit=min(LARGEST_PAGE, limit))
            for event in page["items"]:
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
            if not page["items"]:
                break
            after, limit = page["last"], limit - len(page["items"])


def _line(event: dict[str, Any]) -> str:
    where = "" if event["iteration"] is None else f"iteration {event['iteration']}"
    where += "" if event["stage"] is None else f" {printable(event['stage'])}"
    facts = ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in event["data"].items()
    )
    at = datetime.fromisoformat(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{event['seq']:>5}  {at}  {printable(event['kind']):<18} {where:<26} {one_line(facts, 160)}".rstrip()
