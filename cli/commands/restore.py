"""`eva restore`: shows a deleted run in lists again."""

from __future__ import annotations

import click

from cli.store_access import existing_store, find
from cli.terminal.safe_text import printable


@click.command()
@click.argument("run")
def restore(run: str) -> None:
    """Show a deleted RUN in lists again. It is found by its whole name."""
    from orchestrator.hold.control import hide

    with existing_store() as store:
        row = find(store, run)
        with store.transaction() as conn:
            hide(conn, row, hidden=False)
        click.echo(f"{printable(row.name)} is {'restored' if row.deleted_at else 'not deleted'}.")
