"""`eva drive`: what a Ray job runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.commands.run import start_run
from cli.opening import find, opened
from cli.playing import play
from eva.config_files import load_config
from eva.errors import ConfigError
from eva.settings import Settings, read_settings


@click.command()
@click.argument("run", required=False)
@click.option("--attempt", type=click.IntRange(min=1), help="Only if the run waits for this one: what a launcher asks.")
@click.option("--config", metavar="CONFIG", help="Instead of RUN: a new run of this YAML file or preset.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With --config: override a key.")
@click.option("--name", metavar="STEM", help="With --config: stem of the run's name.")
def drive(run: str | None, attempt: int | None, config: str | None, overrides: tuple[str, ...],
          name: str | None) -> None:
    """Play a run as a job of a Ray cluster: RUN, which is stored, or a new one.

    \b
    ray job submit --working-dir . \\
      --runtime-env-json '{"env_vars": {"EVA_DATA_DIR": "/data/eva"}}' -- eva drive --config run.yaml
    """
    if (run is None) == (config is None):
        raise click.UsageError("give either RUN, a run that is stored, or --config CONFIG for a new one")
    if run is not None and (overrides or name):
        raise click.UsageError("--set and --name go with --config")
    if config is not None and attempt is not None:
        raise click.UsageError("--attempt goes with RUN")
    settings = read_settings()
    _require_lasting()
    if config is not None:
        start_run(settings, load_config(config, (*overrides, *([f"name={name}"] if name else []))), None)
    elif run is not None:
        _drive(settings, run, attempt)


def _drive(settings: Settings, reference: str, attempt: int | None) -> None:
    from orchestrator.launch import require_wanted
    from orchestrator.resuming import prepare

    with opened(settings) as store:
        row = find(store, reference)
        if attempt is None:
            row = prepare(store, row)
        else:
            require_wanted(store, row, attempt)
        play(store, settings, row)


def _require_lasting() -> None:
    """Raise ConfigError for a data directory that goes with the job: Ray deletes the job's working directory."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not os.environ.get("EVA_DATA_DIR"):
        raise ConfigError(
            f"EVA_DATA_DIR is not set, and a job's working directory ({Path.cwd()}) is deleted with the job",
            expected="a folder that stays, on a disk that all machines of the cluster share",
            next_move="Give it to the job: --runtime-env-json '{\"env_vars\": {\"EVA_DATA_DIR\": \"…\"}}'")
