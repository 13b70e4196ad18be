"""`eva demo`: plays the playground, or continues an interrupted demo."""

from __future__ import annotations

from pathlib import Path

import click

from cli.commands.run import start_run
from cli.play import facts_option, play
from cli.store_access import store_of
from cli.terminal.formats import place
from eva.config.files import config_hash, load_config
from eva.settings import read_settings
from store.views.report import newest_with_config

PRESET = "playground"
OVER = ("finished", "cancelled")


@click.command()
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. iterations=2.")
@click.option("--fresh", is_flag=True, help="Start a new run even if an earlier demo was interrupted.")
@facts_option
def demo(overrides: tuple[str, ...], fresh: bool, json_file: Path | None) -> None:
    """Play the playground: watch a tiny model learn.

    This is self-play with all real parts and takes minutes on this machine. An interrupted demo is continued.
    """
    from orchestrator.launch.resume import changes_of, prepare

    settings, config = read_settings(), load_config(PRESET, overrides)
    with store_of(settings) as store:
        with store.transaction() as conn:
            row = None if fresh else newest_with_config(conn, config_hash(config))
        if row is not None and row.status not in OVER and changes_of(row).code:
            click.echo(f"{row.name} was interrupted, but eva's code has changed since then: starting a new run.")
        elif row is not None and row.status not in OVER:
            where = place(row.iteration, config.iterations)
            click.echo(f"Continuing {row.name}, which was interrupted in {where}. Use --fresh to start a new run.")
            play(store, settings, prepare(store, row), json_file=json_file)
            return
    start_run(settings, config, json_file)
