"""`eva resume`: resumes a run, with its own config or with changes."""

from __future__ import annotations

from pathlib import Path

import click

from cli.commands.run import continue_run
from cli.play import facts_option
from cli.store_access import existing_store, find
from eva.config import RunConfig
from eva.config.files import load_config, with_overrides
from eva.settings import read_settings
from orchestrator.launch.resume import require_resumable


@click.command()
@click.argument("run", default="last")
@click.option("--config", metavar="CONFIG", help="A YAML file or preset to resume with.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, e.g. fleet.engines=2.")
@click.option(
    "--accept-changes", is_flag=True, help="Resume although config or code differ; the run's events record it."
)
@facts_option
def resume(
    run: str, config: str | None, overrides: tuple[str, ...], accept_changes: bool, json_file: Path | None
) -> None:
    """Resume RUN from where it stopped, with its own config unless another one is given.

    If the config or the code has changed, the command shows the differences and refuses, unless --accept-changes is
    given. RUN is a name, a unique prefix of one, or `last`.
    """
    with existing_store() as store:
        row = find(store, run)
    require_resumable(row)
    new_config: RunConfig | None = None
    if config is not None:
        new_config = load_config(config, overrides)
    elif overrides:
        new_config = with_overrides(RunConfig.model_validate(row.config), overrides)
    continue_run(read_settings(), row.name, new_config, json_file, accept=accept_changes)
