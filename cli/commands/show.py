"""`eva show`: the report of a run."""

from __future__ import annotations

import json

import click
from rich.console import Console

from cli.remote import run_path, source_of, url_option
from cli.report.view import show_report


@click.command()
@click.argument("run", default="last")
@click.option("--json", "as_json", is_flag=True, help="The same facts as JSON (docs/report.md).")
@url_option
def show(run: str, as_json: bool, url: str | None) -> None:
    """Show what a run has done so far.

    RUN is a name, the unique beginning of one, or `last`.
    """
    with source_of(url) as source:
        report = source.get(f"{run_path(run)}/summary")
        if as_json:
            click.echo(json.dumps(report, indent=1, ensure_ascii=False))
        else:
            show_report(report, Console(highlight=False))
