"""What `eva pause` and `eva cancel` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cli.store_access import find, opened_existing
from cli.terminal.formats import place
from cli.terminal.safe_text import printable
from orchestrator.hold.control import REACHED, Wish, ask, player, wait_until_obeyed


def wish_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--wait and --timeout."""
    seconds = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long --wait waits.",
    )
    return click.option("--wait", is_flag=True, help="Return when the run has obeyed.")(seconds(command))


def wish(reference: str, wanted: Wish, *, wait: bool, timeout_s: float) -> None:
    """Ask, wait if that is asked, and say what is true then."""
    with opened_existing() as store:
        before = find(store, reference)
        row = ask(store, before, wanted)
        if wait:
            row = wait_until_obeyed(store, row, wanted, timeout_s)
        where = place(row.iteration, row.config["iterations"])
        name = printable(row.name)
        if before.status == REACHED[wanted]:
            click.echo(f"{name} is {row.status} already, in {where}")
        elif row.status == REACHED[wanted]:
            click.echo(f"{name} is {row.status} in {where}")
        else:
            click.echo(
                f"{name} was asked to {wanted}: {player(store, row)} obeys at its next batch boundary, "
                f"in {where}; `eva runs` shows it"
            )
