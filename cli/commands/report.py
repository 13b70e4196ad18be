"""`eva report`: writes a run as one HTML page that opens from disk."""

from __future__ import annotations

from pathlib import Path

import click

from cli.remote import Local, Remote, run_path, source_of, url_option
from cli.terminal.safe_text import printable
from eva.runtime.atomic_files import standard_output, whole_file


@click.command()
@click.argument("run", default="last")
@click.option("--out", metavar="FILE", help="The file to write; `-` is standard output.  [default: RUN.html]")
@url_option
def report(run: str, out: str | None, url: str | None) -> None:
    """Write a run as one HTML page, which opens from disk, loads nothing, and can be sent to anybody.

    RUN is a name, a unique prefix of one, or `last`. The page has the dashboard's charts of the run, some
    families and prompts, its config and how to play it again. It includes the run's fingerprint, which takes a read of
    every row; with --url, only for a run without many prompts.
    """
    with source_of(url) as source:
        name = str(source.get(run_path(run))["name"])
        target = Path(out or f"{name}.html")
        with standard_output() if out == "-" else whole_file(target) as file:
            if isinstance(source, Remote):
                source.download(f"{run_path(name)}/report", file)
            else:
                file.write(_page(source, name))
    if out != "-":
        click.echo(f"The report of {printable(name)} is written to {target}", err=True)


def _page(source: Local, name: str) -> bytes:
    from api.report.facts import facts
    from api.report.page import page

    return page(name, facts(source.service, name, whole_fingerprint=True)).encode()
