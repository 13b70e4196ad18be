"""The launcher of `eva serve`: its thread, its Ray cluster, and how both end."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager

import click

from cli.terminal.safe_text import printable
from eva.errors import EvaError
from eva.runtime.processes import this_process
from eva.settings import Settings
from orchestrator.hold.orphans import MARK
from orchestrator.launch.launcher_thread import LaunchLoop
from store.session import Store
from workers.cluster.environment import job_environment
from workers.cluster.jobs import RayJobs
from workers.cluster.local_cluster import STOP_JOB_S, LocalCluster


@contextmanager
def launcher_service(store: Store, settings: Settings) -> Generator[None]:
    """Launches queued runs in the meantime. At the end, runs in our own cluster are stopped, ready to be resumed."""
    if settings.ray_address is not None:
        loop = LaunchLoop(store, cluster_jobs(settings, settings.ray_address), settings.concurrent_runs)
        loop.start()
        try:
            yield
        finally:
            loop.end(STOP_JOB_S)
        return
    cluster = LocalCluster(settings.logs_dir / "ray.log", {MARK: json.dumps(this_process())})
    environment = job_environment(settings, same_machine=True)
    jobs = RayJobs(cluster.address, sys.executable, environment, cluster.started, cluster.gcs_address)
    loop = LaunchLoop(store, jobs, settings.concurrent_runs)
    loop.start()
    try:
        yield
    finally:
        try:
            _stop(loop, cluster)
        finally:
            cluster.close()


def cluster_jobs(settings: Settings, address: str) -> RayJobs:
    """The jobs of a cluster that somebody else has started.

    Its machines have their own environment. With an embedded database, the cluster is this machine.
    """
    here = settings.database_url is None
    environment = job_environment(settings, same_machine=here)
    # a bare HOST:PORT is that of the cluster's head, which drivers can be told to join
    head = (lambda: address) if ":" in address and "://" not in address else None
    return RayJobs(lambda: address, sys.executable if here else "python", environment, gcs_address=head)


def _stop(loop: LaunchLoop, cluster: LocalCluster) -> None:
    loop.leave()
    cluster.give_up()
    loop.end(STOP_JOB_S)
    if not cluster.started():
        return
    try:
        stopped = loop.stop_runs(STOP_JOB_S)
    except EvaError as error:
        click.echo(printable(f"The playing runs could not be stopped: {error}"), err=True)
        return
    for name in stopped:
        click.echo(printable(f"Stopped {name}. Nothing that was finished is lost. Resume it with: eva resume {name}"))
