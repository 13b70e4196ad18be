"""`eva show`: the report of a run."""

from __future__ import annotations

from typing import Any

import click
from pydantic import ValidationError
from rich.console import Console

from cli.remote import Remote, run_path, url_option
from cli.report.view import show_report
from cli.store_access import existing_store, find
from cli.terminal.formats import print_json
from eva.config import RunConfig
from store.views.summary.run_summary import summary_of
from store.views.summary.schema import read_summary, summary_json


@click.command()
@click.argument("run", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON (docs/report.md).")
@url_option
def show(run: str, as_json: bool, url: str | None) -> None:
    """Show what a run has done so far.

    RUN is a name, a unique prefix of one, or `last`.
    """
    values = _stored(run) if url is None else Remote(url).get(f"{run_path(run)}/summary")
    if as_json:
        print_json(values)
        return
    try:
        summary = read_summary(values)
    except ValidationError as error:
        if url is None:
            raise
        raise Remote(url).other_version("returns a summary that cannot be read here") from error
    show_report(summary, Console(highlight=False))


def _stored(run: str) -> dict[str, Any]:
    """The summary of a run in this machine's store, as a service returns it."""
    # loads the rewarders, which no other command that only reads needs
    from orchestrator.launch.preflight import rewarder_of

    run_path(run)  # refuses what cannot be a name, as with --url
    with existing_store() as store:
        row = find(store, run)
        with store.transaction() as conn:
            return summary_json(summary_of(conn, row, rewarder_of(RunConfig.model_validate(row.config))))
