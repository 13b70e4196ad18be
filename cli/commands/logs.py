"""`eva logs`: what a run's driver and workers wrote down."""

from __future__ import annotations

import click

from cli.remote import run_path, source_of, url_option
from cli.terminal.safe_text import printable

MAIN = "eva.log"


@click.command()
@click.argument("run", default="last")
@click.option("--name", default=MAIN, show_default=True, help="Which log; --list says which there are.")
@click.option("-n", "--lines", type=click.IntRange(1, 5000), default=50, show_default=True, help="The last so many.")
@click.option("--list", "only_list", is_flag=True, help="Which logs are there?")
@url_option
def logs(run: str, name: str, lines: int, only_list: bool, url: str | None) -> None:
    """Show the end of a log of RUN, without what looks like a secret.

    RUN is a name, the unique beginning of one, or `last`. Logs lie on the machine that played it, or that serves.
    """
    with source_of(url) as source:
        found = source.get(f"{run_path(run)}/logs", name=MAIN if only_list else name, lines=lines)
        for log in found["files"] if only_list else ():
            click.echo(f"{log['bytes']:>12,}  {printable(log['name'])}")
        for line in () if only_list else found["lines"]:
            click.echo(printable(line.rstrip("\r")))
