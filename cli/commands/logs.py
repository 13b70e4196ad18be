"""`eva logs`: what a run's driver and workers wrote down."""

from __future__ import annotations

import os

import click

from cli.opening import find, opened_existing
from cli.printable import printable
from eva.log_files import list_logs, read_log
from eva.redaction import redact, secrets_of
from eva.settings import read_settings

MAIN = "eva.log"


@click.command()
@click.argument("run", default="last")
@click.option("--name", default=MAIN, show_default=True, help="Which log; --list says which there are.")
@click.option("-n", "--lines", type=click.IntRange(1, 5000), default=50, show_default=True, help="The last so many.")
@click.option("--list", "only_list", is_flag=True, help="Which logs are there?")
def logs(run: str, name: str, lines: int, only_list: bool) -> None:
    """Show the end of a log of RUN, without what looks like a secret.

    RUN is a name, the unique beginning of one, or `last`. Logs lie on the machine that played it.
    """
    with opened_existing() as store:
        row = find(store, run)
    folder = read_settings().logs_dir / row.place
    if only_list:
        for log in list_logs(folder):
            click.echo(f"{log.size:>12,}  {printable(log.name)}")
        return
    secrets = secrets_of(row.config, os.environ)
    for line in read_log(folder, name, lines=lines).lines:
        click.echo(printable(redact(line.rstrip("\r"), secrets)))
