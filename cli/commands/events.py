"""`eva events`: what happened in a run."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from cli.opening import find, opened_existing
from cli.printable import one_line, printable
from eva.redaction import redact_json, secrets_of
from store.events import events_after
from store.rows import EventRow


@click.command()
@click.argument("run", default="last")
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Only those with a larger number.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per line.")
def events(run: str, after: int, limit: int, as_json: bool) -> None:
    """List what happened in RUN, in order.

    RUN is a name, the unique beginning of one, or `last`.
    """
    with opened_existing() as store:
        row = find(store, run)
        with store.transaction() as conn:
            found = events_after(conn, row.id, after, limit)
    secrets = secrets_of(row.config, os.environ)
    for event in found:
        data = redact_json(event.data, secrets)
        click.echo(json.dumps(_facts(event, data), ensure_ascii=False) if as_json else _line(event, data))


def _facts(event: EventRow, data: Any) -> dict[str, Any]:
    return {"seq": event.seq, "at": event.at.isoformat(), "kind": event.kind, "iteration": event.iteration,
            "stage": event.stage, "data": data}


def _line(event: EventRow, data: dict[str, Any]) -> str:
    where = "" if event.iteration is None else f"iteration {event.iteration}"
    where += "" if event.stage is None else f" {printable(event.stage)}"
    facts = ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
                      for key, value in data.items())
    at = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{event.seq:>5}  {at}  {printable(event.kind):<18} {where:<26} {one_line(facts, 160)}".rstrip()
