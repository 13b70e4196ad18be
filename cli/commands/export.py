"""`eva export`: pairs, prompts or responses of a run, as a file that other tools read."""

from __future__ import annotations

from pathlib import Path

import click

from cli.opening import find, opened_existing
from cli.writing import standard_output, whole_file, write_jsonl, write_parquet
from store.exports import COLUMNS, EXPORTS, message_columns


@click.command()
@click.argument("run")
@click.option("--what", type=click.Choice([*EXPORTS]), required=True, help="What to write.")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@click.option("--out", metavar="FILE", help="Where to; `-` is standard output.  [default: RUN-WHAT.FORMAT]")
def export(run: str, what: str, form: str, out: str | None) -> None:
    """Write a run's pairs, prompts or responses to a file.

    RUN is a name, the unique beginning of one, or `last`. Pairs have the columns prompt, chosen and rejected
    first and load straight into TRL; where prompts continue conversations, these three hold messages. A file appears
    when it is complete, or not at all.
    """
    with opened_existing() as store:
        row = find(store, run)
        target = Path(out or f"{row.name}-{what}.{form}")
        with standard_output() if out == "-" else whole_file(target) as file, store.transaction() as conn:
            rows = EXPORTS[what](conn, row.id)
            if form == "jsonl":
                count = write_jsonl(rows, file)
            else:
                messages = message_columns(conn, row.id, what)
                columns = tuple(dict.fromkeys((*COLUMNS[what], *messages)))
                count = write_parquet(rows, file, columns, messages)
    if out != "-":
        click.echo(f"{count:,} {what} of {row.name} written to {target}", err=True)
