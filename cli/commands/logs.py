"""`eva logs`: the logs of a run's driver and workers."""

from __future__ import annotations

import click

from cli.remote import run_path, source_of, url_option
from cli.terminal.safe_text import printable

MAIN = "eva.log"


@click.command()
@click.argument("run", default="last")
@click.option("--name", default=MAIN, show_default=True, help="Which log; --list lists them.")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 5000), default=50, show_default=True, help="How many of the last lines."
)
@click.option("--list", "only_list", is_flag=True, help="List the logs instead.")
@url_option
def logs(run: str, name: str, lines: int, only_list: bool, url: str | None) -> None:
    """Show the end of a log of RUN, with secrets removed.

    RUN is a name, a unique prefix of one, or `last`. Logs are on the machine that played the run, or that
    serves it.
    """
    with source_of(url) as source:
        page = source.get(f"{run_path(run)}/logs", name=MAIN if only_list else name, lines=lines)
        for log in page["files"] if only_list else ():
            click.echo(f"{log['bytes']:>12,}  {printable(log['name'])}")
        for line in () if only_list else page["lines"]:
            click.echo(printable(line.rstrip("\r")))
