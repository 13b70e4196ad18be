"""`eva submit`: a run that is played elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cli.remote import Remote
from cli.store_access import opened
from cli.terminal.safe_text import printable
from eva.config.files import config_values, load_config
from eva.errors import InputError
from eva.settings import Settings, read_settings

ALL = 2**31 - 1
"""Who submits a run to a cluster decides that it plays now; the queue is the service's."""


@click.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. training.beta=0.1.")
@click.option("--name", metavar="STEM", help="Stem of the run's name.")
@click.option("--tag", "tags", multiple=True, help="A label; may be repeated.")
@click.option("--note", default="", help="Your words about it.")
@click.option(
    "--restarts",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="How often a driver that died is replaced by a service.",
)
@click.option("--url", envvar="EVA_URL", metavar="URL", help="The service that plays it, or EVA_URL; its key: EVA_KEY.")
@click.option("--idempotency-key", metavar="KEY", help="Sent again with this, it is the same run.")
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
    """Have CONFIG, a YAML file or preset, played by a service (--url), or straight by the Ray cluster at RAY_ADDRESS.

    The run is checked and stored before this returns; `eva watch` shows how it goes.
    """
    wanted = [*overrides, *([f"name={name}"] if name else [])]
    if url is not None:
        source: dict[str, Any] = {"config": config_values(config)} if Path(config).is_file() else {"preset": config}
        body = {**source, "overrides": wanted, "tags": list(tags), "note": note, "restart": {"times": restarts}}
        run = Remote(url).post("/v1/runs", body, {"Idempotency-Key": idempotency_key} if idempotency_key else {})
        told, watched = dict(run), f"eva watch {run['name']} --url {url}"
    else:
        told = _on_cluster(read_settings(), config, wanted, tags, note, restarts, idempotency_key)
        watched = f"eva watch {told['name']}"
    if as_json:
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    click.echo(printable(f"{told['name']} is {told['status']}"))
    click.echo(printable(f"  {watched}"))


def _on_cluster(
    settings: Settings,
    config: str,
    overrides: list[str],
    tags: tuple[str, ...],
    note: str,
    restarts: int,
    key: str | None,
) -> dict[str, Any]:
    """Check, store and submit it ourselves. A service on the same database looks after it, if there is one."""
    if settings.ray_address is None:
        raise InputError(
            "it is not said who plays the run",
            expected="--url of a service, or RAY_ADDRESS of a cluster",
            next_move="Start `eva serve` and give the address that it prints; or play here: `eva run`",
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
    with opened(settings) as store:
        run = launch(store, request).run
        Launcher(store, cluster_jobs(settings, settings.ray_address), most=ALL).start(run)
        return {"name": run.name, "status": run.status}
