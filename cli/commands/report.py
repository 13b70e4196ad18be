"""`eva report`: a run as one HTML page that opens from disk."""

from __future__ import annotations

from pathlib import Path

import click

from cli.opening import find, opened_existing
from eva.settings import read_settings
from eva.writing import standard_output, whole_file


@click.command()
@click.argument("run", default="last")
@click.option("--output", metavar="FILE", help="Where to; `-` is standard output.  [default: RUN.html]")
def report(run: str, output: str | None) -> None:
    """Write a run as one HTML page: it opens from disk, asks for nothing, and can be sent to anybody.

    RUN is a name, the unique beginning of one, or `last`. The page holds the dashboard's charts of the run, families
    and prompts of it, its config and how to play it again. With many prompts its fingerprint takes a while.
    """
    from api.report.facts import facts
    from api.report.page import page
    from api.service import Service

    with opened_existing() as store:
        row = find(store, run)
        told = facts(Service(store, read_settings(), longest_s=600), row.name, whole_fingerprint=True)
    target = Path(output or f"{row.name}.html")
    with standard_output() if output == "-" else whole_file(target) as file:
        file.write(page(told).encode())
    if output != "-":
        click.echo(f"The report of {row.name} is written to {target}", err=True)
