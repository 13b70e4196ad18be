"""`eva export`: pairs, prompts, responses or judged prompts of a run, as a file that other tools read."""

from __future__ import annotations

from pathlib import Path

import click

from cli.opening import find, opened_existing
from eva.writing import FORMATS, standard_output, whole_file
from store.exports import EXPORTS, write_export


@click.command()
@click.argument("run")
@click.option("--what", type=click.Choice([*EXPORTS]), required=True, help="What to write.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--out", metavar="FILE", help="Where to; `-` is standard output.  [default: RUN-WHAT.FORMAT]")
def export(run: str, what: str, form: str, out: str | None) -> None:
    """Write a run's pairs, prompts, responses or judged prompts to a file.

    RUN is a name, the unique beginning of one, or `last`. Pairs have the columns prompt, chosen and rejected
    first and load straight into TRL; where prompts continue conversations, these three hold messages. A file appears
    when it is complete, or not at all.
    """
    with opened_existing() as store:
        row = find(store, run)
        target = Path(out or f"{row.name}-{what}.{form}")
        with standard_output() if out == "-" else whole_file(target) as file, store.transaction() as conn:
            count = write_export(conn, row.id, what, form, file)
    if out != "-":
        click.echo(f"{count:,} {what} of {row.name} written to {target}", err=True)
