"""Requests to pause or cancel a run: the shared part of `eva pause` and `eva cancel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cli.store_access import existing_store, find
from cli.terminal.formats import place
from cli.terminal.safe_text import printable
from orchestrator.hold.control import REACHED, StopRequest, force_cancel, player, request_stop, wait_for_stop
from store.runs import events


def wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --wait and --timeout to a command."""
    seconds = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="How long --wait waits at most.",
    )
    return click.option("--wait", is_flag=True, help="Return only when the run has paused or been cancelled.")(
        seconds(command)
    )


def force(reference: str, obey_s: float) -> None:
    """Cancel a run, also if its driver does not obey within `obey_s`, and print what was done."""
    with existing_store() as store:
        row = find(store, reference)
        driver = player(store, row)
        row = force_cancel(store, row, obey_s)
        with store.transaction() as conn:
            last = events.events_after(conn, row.id, row.event_seq - 1)
        forced = any(event.kind == "cancelled" and event.data.get("forced") for event in last)
        where = f"{printable(row.name)} is {row.status} in {place(row.iteration, row.config['iterations'])}"
        how = f"; {driver} did not obey: the run was taken from it, and it was ended if it runs here" if forced else ""
        click.echo(where + how)


def request(reference: str, stop: StopRequest, *, wait: bool, timeout_s: float) -> None:
    """Request the state, wait for it if `wait` is set, and print where the run stands."""
    with existing_store() as store:
        before = find(store, reference)
        row = request_stop(store, before, stop)
        if wait:
            row = wait_for_stop(store, row, stop, timeout_s)
        where = place(row.iteration, row.config["iterations"])
        name = printable(row.name)
        if before.status == REACHED[stop]:
            click.echo(f"{name} is already {row.status}, in {where}")
        elif row.status == REACHED[stop]:
            click.echo(f"{name} is {row.status} in {where}")
        else:
            click.echo(
                f"{name} will {stop}: {player(store, row)} stops at its next batch boundary, in {where}. "
                "Check with `eva runs`."
            )
