"""`eva export`: pairs, prompts, responses or judged prompts of a run, as a file that other tools read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

import click

from cli.remote import Local, Remote, run_path, source_of, url_option
from cli.terminal.safe_text import printable
from eva.errors import InfrastructureError
from eva.runtime.atomic_files import FORMATS, standard_output, whole_file
from store.runs.runs import find_run
from store.views.exports import EXPORTS, write_export

POLL_S = 0.2


@click.command()
@click.argument("run")
@click.option("--what", type=click.Choice([*EXPORTS]), required=True, help="What to write.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--out", metavar="FILE", help="Where to; `-` is standard output.  [default: RUN-WHAT.FORMAT]")
@url_option
def export(run: str, what: str, form: str, out: str | None, url: str | None) -> None:
    """Write a run's pairs, prompts, responses or judged prompts to a file.

    RUN is a name, the unique beginning of one, or `last`. Pairs have the columns prompt, chosen and rejected
    first and load straight into TRL; where prompts continue conversations, these three hold messages. A file appears
    when it is complete, or not at all.
    """
    with source_of(url) as source:
        name = str(source.get(run_path(run))["name"])
        target = Path(out or f"{name}-{what}.{form}")
        with standard_output() if out == "-" else whole_file(target) as file:
            count = (
                _fetched(source, name, what, form, file)
                if isinstance(source, Remote)
                else _written(source, name, what, form, file)
            )
    if out != "-":
        click.echo(f"{count:,} {what} of {printable(name)} written to {target}", err=True)


def _written(source: Local, name: str, what: str, form: str, file: IO[bytes]) -> int:
    with source.store.transaction() as conn:
        return write_export(conn, find_run(conn, name).id, what, form, file)


def _fetched(source: Remote, name: str, what: str, form: str, file: IO[bytes]) -> int:
    """Have the service write it, wait, and fetch it."""
    path = f"{run_path(name)}/exports"
    found = source.post(path, {"kind": what, "format": form})
    place = f"{path}/{found['id']}"
    while found["status"] in ("waiting", "running"):
        time.sleep(POLL_S)
        found = source.get(place)
    if found["status"] != "done":
        raise InfrastructureError(
            f"the service could not write the {what} of {name}: {found['error']}",
            expected="an export that is done",
            next_move="Ask again; look at the service's log",
        )
    source.download(f"{place}/file", file)
    return int(found["rows"])
