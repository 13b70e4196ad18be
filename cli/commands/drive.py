"""`eva drive`: plays a run as a Ray job."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from cli.commands.run import continue_run, play_new, start_run
from cli.play import play
from cli.store_access import find, store_of
from eva.config import RunConfig
from eva.config.files import load_config
from eva.errors import ConfigError, ConflictError, LeaseTakenError
from eva.settings import Settings, read_settings
from store.rows import RunRow

LONGEST_HELD_S, LOOK_S = 90.0, 5.0
"""A driver that died holds its run until its lease ends, 30 seconds; one that holds it three times as long is alive."""


@click.command()
@click.argument("run", required=False)
@click.option(
    "--attempt", type=click.IntRange(min=1), help="Play only if the run waits for this attempt; set by the launcher."
)
@click.option("--config", metavar="CONFIG", help="Instead of RUN: play a new run of this YAML file or preset.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With --config: override a key.")
@click.option("--name", metavar="STEM", help="With --config: the stem of the run's name.")
@click.option(
    "--key",
    envvar="EVA_RUN_KEY",
    metavar="KEY",
    help="With --config: a job that is started again with the same key resumes the same run.",
)
def drive(
    run: str | None,
    attempt: int | None,
    config: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    key: str | None,
) -> None:
    """Play a run as a job of a Ray cluster: a stored RUN, or a new one.

    \b
    ray job submit --working-dir . \\
      --runtime-env-json '{"env_vars": {"EVA_DATA_DIR": "/data/eva"}}' -- eva drive --config run.yaml
    """
    if (run is None) == (config is None):
        raise click.UsageError("give either RUN, a stored run, or --config CONFIG for a new one")
    if run is not None and (overrides or name):
        raise click.UsageError("--set and --name go with --config")
    if config is not None and attempt is not None:
        raise click.UsageError("--attempt goes with RUN")
    settings = read_settings()
    _require_lasting()
    if config is not None:
        loaded = load_config(config, (*overrides, *([f"name={name}"] if name else [])))
        if key is None:
            start_run(settings, loaded, None)
        else:
            _drive_once(settings, loaded, key)
    elif run is not None:
        _drive(settings, run, attempt)


def _drive_once(settings: Settings, config: RunConfig, key: str) -> None:
    """Plays the run of this key: a new one, or the one that an earlier job started.

    A run that its user has paused or cancelled stays so: it is a machine that starts the job again.
    """
    from orchestrator.launch.new_run import IdempotencyKey, LaunchRequest, launch

    with store_of(settings) as store:
        launched = launch(store, LaunchRequest(config, key=IdempotencyKey(key)))
        row = launched.run
        if launched.new:
            play_new(store, settings, row)
            return
    if row.desired != "run" and row.status != "finished":
        raise ConflictError(
            f"run {row.name} of key {key!r} was asked to {row.desired}",
            expected="a run that has not been asked to stop",
            next_move=f"Resume it with: eva resume {row.name}",
        )
    _continue_when_free(settings, row, config)


def _continue_when_free(settings: Settings, row: RunRow, config: RunConfig) -> None:
    """Resumes a run as soon as its previous driver, which may have died, no longer holds it."""
    until = time.monotonic() + LONGEST_HELD_S
    while True:
        try:
            return continue_run(settings, row.name, config, None)
        except LeaseTakenError:
            if time.monotonic() > until:
                raise
            click.echo(f"{row.name} is still held by its previous driver; checking again in {LOOK_S:g} s")
            time.sleep(LOOK_S)


def _drive(settings: Settings, reference: str, attempt: int | None) -> None:
    from orchestrator.launch.launcher import require_queued
    from orchestrator.launch.resume import prepare

    with store_of(settings) as store:
        row = find(store, reference)
        if attempt is None:
            row = prepare(store, row)
        else:
            require_queued(store, row, attempt)
        play(store, settings, row)


def _require_lasting() -> None:
    """Raises ConfigError when the data directory would be deleted: Ray deletes a job's working directory."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not os.environ.get("EVA_DATA_DIR"):
        raise ConfigError(
            f"EVA_DATA_DIR is not set, and Ray deletes the job's working directory ({Path.cwd()}) with the job",
            expected="a permanent folder on a disk that all machines of the cluster share",
            next_move='Set it for the job: --runtime-env-json \'{"env_vars": {"EVA_DATA_DIR": "…"}}\'',
        )
