"""`eva export`: a run's pairs, prompts, responses, judged prompts, held-out responses or rollouts, as a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from cli.remote import Local, Remote, run_path, source_of, url_option
from cli.terminal.safe_text import printable
from eva.errors import InfrastructureError
from eva.runtime.atomic_files import FORMATS, standard_output, whole_file
from eva.solver.losses import loss_facts
from store.runs.runs import find_run
from store.views.exports import KINDS, write_export

POLL_S = 0.2


@click.command()
@click.argument("run")
@click.option("--what", type=click.Choice(KINDS), required=True, help="What to write.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--out", metavar="FILE", help="The file to write; `-` is standard output.  [default: RUN-WHAT.FORMAT]")
@url_option
def export(run: str, what: str, form: str, out: str | None, url: str | None) -> None:
    """Write a run's pairs, prompts, responses, judged prompts, held-out responses or rollouts to a file.

    RUN is a name, a unique prefix of one, or `last`. The first columns of pairs are prompt, chosen and
    rejected, as TRL expects them: messages, with model.system_prompt, or texts where model.template is none. So TRL
    trains on the text that the run has trained on. Rollouts are responses with their tokens as sampled
    (docs/reference/rollouts.md). The file appears only when it is complete.
    """
    with source_of(url) as source:
        found = source.get(run_path(run))
        name = str(found["name"])
        target = Path(out or f"{name}-{what}.{form}")
        with standard_output() if out == "-" else whole_file(target) as file:
            count = (
                _download(source, name, what, form, file)
                if isinstance(source, Remote)
                else _write(source, name, what, form, file)
            )
    if out != "-":
        click.echo(f"Wrote {count:,} {what} of {printable(name)} to {target}", err=True)
        if what == "pairs" and _trains_online(found):
            click.echo(
                "There are no pairs: the run's loss trains on every response. See `--what responses` and rollouts.",
                err=True,
            )


def _trains_online(run: Mapping[str, Any]) -> bool:
    loss = run["config"].get("training", {}).get("loss")
    return loss is not None and loss_facts(loss).online


def _write(source: Local, name: str, what: str, form: str, file: IO[bytes]) -> int:
    with source.store.transaction() as conn:
        return write_export(conn, find_run(conn, name).id, what, form, file, runs_dir=source.service.settings.runs_dir)


def _download(source: Remote, name: str, what: str, form: str, file: IO[bytes]) -> int:
    """Let the service write the export, wait for it, and download it."""
    path = f"{run_path(name)}/exports"
    job = source.post(path, {"kind": what, "format": form})
    job_path = f"{path}/{job['id']}"
    while job["status"] in ("waiting", "running"):
        time.sleep(POLL_S)
        job = source.get(job_path)
    if job["status"] != "done":
        raise InfrastructureError(
            f"the service could not write the {what} of {name}: {job['error']}",
            expected="a finished export",
            next_move="Look at the service's log, then try again",
        )
    source.download(f"{job_path}/file", file)
    return int(job["rows"])
