"""Plays a run on a terminal: progress, the report at its end, and what to do when it stops."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console

from cli.main import INTERRUPTED
from cli.report.view import show_report
from cli.terminal.log_file import chatter_to
from cli.terminal.progress import watch_of
from cli.terminal.safe_text import printable
from eva.config import RunConfig
from eva.errors import ConflictError, EvaError, RunStoppedError
from eva.library_failures import told_failure
from eva.runtime.atomic_files import write_json_file
from eva.settings import Settings
from orchestrator.watch.listener import Listener
from store.rows import RunRow
from store.runs.runs import get_run
from store.session import Store
from store.views.summary.run_summary import summary_of
from store.views.summary.schema import summary_json

Drive = Callable[[Store, Settings, RunRow, Listener], None]

facts_option = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the report as JSON to this file (docs/report.md).",
)
"""The option --json of every command that plays a run: its function takes `json_file`."""


def play(store: Store, settings: Settings, run: RunRow, *, json_file: Path | None = None) -> None:
    """Plays a run to its end and prints its report. Ctrl-C exits with code 130 and says how to resume.

    Raises what the driver raises, and prints the log's path when a machine or service has failed.
    """
    log = log_path(settings, run)
    with chatter_to(log, settings.log_format) as terminal:
        watch = watch_of(
            run.name,
            int(run.config["iterations"]),
            run.iteration,
            Console(file=terminal, highlight=False),
            lambda line: _say(terminal, line),
        )
        try:
            with watch:
                _drive()(store, settings, run, watch)
        except KeyboardInterrupt:
            _say(
                terminal,
                f"Stopped at {watch.where()}. Nothing that was finished is lost.",
                f"Resume it with: eva run --resume {shlex.quote(run.name)}",
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (ConflictError, RunStoppedError):
            raise
        except Exception as error:
            if told_failure(error) is None:
                raise
            if not isinstance(error, EvaError):
                logging.getLogger(__name__).error("the run stopped", exc_info=error)
            _say(
                terminal,
                f"The run stopped at {watch.where()}; what was finished is stored.",
                f"Log: {log}",
                f"When the cause is fixed: eva run --resume {shlex.quote(run.name)}",
            )
            raise
    finish(store, settings, run, json_file)


def log_path(settings: Settings, run: RunRow) -> Path:
    """The file that receives what libraries print while the run plays. The workers' logs are in the same folder."""
    return settings.logs_dir / run.folder_name / "eva.log"


def finish(store: Store, settings: Settings, run: RunRow, json_file: Path | None) -> None:
    """Prints the report of a run that has ended, and where to find everything."""
    from orchestrator.launch.preflight import rewarder_of

    with store.transaction() as conn:
        row = get_run(conn, run.id)
        summary = summary_of(conn, row, rewarder_of(RunConfig.model_validate(row.config)))
    if json_file is not None:
        write_json_file(json_file, summary_json(summary))
    show_report(summary, Console(highlight=False))
    name = shlex.quote(run.name)
    lines = [
        "",
        f"data         {settings.data_dir}",
        f"database     {store.url}",
        f"checkpoints  {settings.runs_dir / run.folder_name}",
    ]
    if (log := log_path(settings, run)).exists():
        lines.append(f"log          {log}")
    if json_file is not None:
        lines.append(f"facts        {json_file.resolve()}")
    seed = summary.family[0].number if summary.family else 0
    learned = "responses" if any(iteration.weighed for iteration in summary.iterations) else "pairs"
    lines += [
        "",
        "Next",
        f"  eva show {name}",
        f"  eva lineage {name} {seed}",
        f"  eva export {name} --what {learned} --format parquet",
        "  eva runs",
        "  eva config --reference",
    ]
    click.echo("\n".join(map(printable, lines)))


def _drive() -> Drive:
    # loads the workers, which commands that only read do not need
    from orchestrator.driver import drive

    return drive


def _say(terminal: TextIO, *lines: str) -> None:
    for line in lines:
        terminal.write(printable(line) + "\n")
    terminal.flush()
