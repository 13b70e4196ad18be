"""`eva submit`: launches a run that a service or a Ray cluster plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.remote import Remote
from cli.store_access import store_of
from cli.terminal.formats import print_json
from cli.terminal.safe_text import printable
from eva.config.files import config_values, load_config
from eva.errors import InputError
from eva.settings import Settings, read_settings

ALL = 2**31 - 1
"""No limit of runs at a time: a run that is submitted to a cluster plays at once. Only a service has a queue."""


@click.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. training.beta=0.1.")
@click.option("--name", metavar="STEM", help="The stem of the run's name.")
@click.option("--tag", "tags", multiple=True, help="A label; may be repeated.")
@click.option("--note", default="", help="A note in your own words.")
@click.option(
    "--restarts",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="How many drivers that died a service replaces.",
)
@click.option(
    "--url", envvar="EVA_URL", metavar="URL", help="The service that plays it; or set EVA_URL. Its key: EVA_KEY."
)
@click.option("--idempotency-key", metavar="KEY", help="The same command with the same key gives the same run.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
def submit(
    config: str,
    overrides: tuple[str, ...],
    name: str | None,
    tags: tuple[str, ...],
    note: str,
    restarts: int,
    url: str | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Launch a run of CONFIG, a YAML file or preset, on a service (--url) or on the Ray cluster at RAY_ADDRESS.

    The run is checked and stored before this returns. Follow it with `eva watch`.
    """
    all_overrides = [*overrides, *([f"name={name}"] if name else [])]
    if url is not None:
        source: dict[str, Any] = {"config": config_values(config)} if Path(config).is_file() else {"preset": config}
        body = {**source, "overrides": all_overrides, "tags": list(tags), "note": note, "restart": {"times": restarts}}
        run = Remote(url).post("/v1/runs", body, {"Idempotency-Key": idempotency_key} if idempotency_key else {})
        launched, watch = dict(run), f"eva watch {run['name']} --url {url}"
    else:
        launched = _on_cluster(read_settings(), config, all_overrides, tags, note, restarts, idempotency_key)
        watch = f"eva watch {launched['name']}"
    if as_json:
        print_json(launched)
        return
    click.echo(printable(f"{launched['name']} is {launched['status']}"))
    click.echo(printable(f"  {watch}"))


def _on_cluster(
    settings: Settings,
    config: str,
    overrides: list[str],
    tags: tuple[str, ...],
    note: str,
    restarts: int,
    key: str | None,
) -> dict[str, Any]:
    """Checks, stores and submits the run from here. A service on the same database watches its job, if there is one."""
    if settings.ray_address is None:
        raise InputError(
            "neither a service nor a Ray cluster is given",
            expected="the --url of a service, or the RAY_ADDRESS of a cluster",
            next_move="Start `eva serve` and pass the address that it prints, or play the run here with `eva run`",
        )
    from cli.service_launcher import cluster_jobs
    from orchestrator.launch.launcher import Launcher, RestartPolicy
    from orchestrator.launch.new_run import IdempotencyKey, LaunchRequest, launch

    loaded = load_config(config, overrides)
    # stored with the key: a command that is repeated after an upgrade must give the same text
    body = f"{loaded.model_dump_json()}\n{tags}\n{note}\n{restarts}"
    request = LaunchRequest(
        loaded, note, tags, RestartPolicy(restarts), None if key is None else IdempotencyKey(key, body)
    )
    with store_of(settings) as store:
        run = launch(store, request).run
        Launcher(store, cluster_jobs(settings, settings.ray_address), most=ALL).start(run)
        return {"name": run.name, "status": run.status}
