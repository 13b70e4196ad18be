"""`eva fork`: a new run that continues from an iteration of another one."""

from __future__ import annotations

from pathlib import Path

import click

from cli.play import facts_option, play
from cli.store_access import existing_store, find
from cli.terminal.safe_text import printable
from eva.settings import read_settings


@click.command()
@click.argument("run")
@click.option(
    "--at",
    type=click.IntRange(min=0),
    required=True,
    metavar="ITERATION",
    help="The first iteration that the fork plays itself.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, e.g. training.beta=0.1.")
@click.option("--name", metavar="STEM", help="The stem of the fork's name; short for --set name=STEM.")
@click.option("--no-play", is_flag=True, help="Make the fork without playing it; `eva resume` does that later.")
@facts_option
def fork(
    run: str, at: int, overrides: tuple[str, ...], name: str | None, no_play: bool, json_file: Path | None
) -> None:
    """Make a new run that shares RUN's history up to the start of ITERATION, and play it with other settings.

    RUN itself does not change, and may be playing. Keys that the shared history fixes cannot be changed
    (docs/reference/control.md). RUN is a name, a unique prefix of one, or `last`.
    """
    from orchestrator.launch.forks import forked_config
    from orchestrator.launch.new_run import LaunchRequest, launch_fork
    from orchestrator.launch.preflight import find_machines

    settings = read_settings()
    with existing_store() as store:
        parent = find(store, run)
        config = forked_config(parent, at, (*overrides, *([f"name={name}"] if name else [])))
        row = launch_fork(
            store, parent, at, LaunchRequest(config), lambda: None if no_play else find_machines(settings)
        ).run
        click.echo(
            f"{printable(row.name)}: forked from {printable(parent.name)} at iteration {at}, "
            f"{row.prompt_count:,} prompts shared"
        )
        if no_play:
            click.echo(f"Play it with: eva resume {row.name}")
        else:
            play(store, settings, row, json_file=json_file)
