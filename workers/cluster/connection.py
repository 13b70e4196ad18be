"""The connection of a driver to Ray: `connect`, `disconnect`, and `ray_connection` for the time between them."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.job_config import JobConfig
from typing_extensions import override

from eva.errors import InfrastructureError
from eva.runtime.ray_access import require_guarded_ray, require_listener
from eva.settings import Settings
from workers.cluster.environment import SAFE_PATH

OBJECT_STORE_BYTES = 200 * 2**20


class _Job(JobConfig):
    """A job whose workers do not get the driver's working directory as the first entry of their import path.

    Ray does that unless the job brings a working directory of its own. Ours goes last: `workers.cluster.environment`.
    """

    @override
    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect(settings: Settings) -> None:
    """Join the cluster at `settings.ray_address`, or start one for this process. Does nothing where connected already.

    Raises InfrastructureError when it cannot be reached, ConfigError when it accepts connections without a token.
    """
    if ray.is_initialized():
        return
    require_guarded_ray(settings.ray_address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray runs its workers at nice 15: an engine would yield to whatever else the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": _Job()}
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        if settings.ray_address is None:
            with _environment(SAFE_PATH), _hangup_ignored():
                ray.init(address="local", **local, **quiet)
        else:
            mark = {"EVA_DRIVER": os.environ["EVA_DRIVER"]} if "EVA_DRIVER" in os.environ else {}
            runtime_env: dict[str, Any] = {"env_vars": mark} if mark else {}
            if _submitted_with_folder(os.environ):
                runtime_env["worker_process_setup_hook"] = working_directory_mover()
            require_listener(settings.ray_address)
            ray.init(address=settings.ray_address, runtime_env=runtime_env or None, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = settings.ray_address or "this machine"
        raise InfrastructureError(
            f"no Ray cluster at {where} ({str(error).splitlines()[0]})",
            expected="a running cluster at RAY_ADDRESS, or RAY_ADDRESS unset for one of its own",
            next_move="Check RAY_ADDRESS with `ray status`",
        ) from error
    finally:
        # Ray installs a SIGTERM handler that ends the process; how to stop is the driver's own decision.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)


def _submitted_with_folder(environment: Mapping[str, str]) -> bool:
    """Whether this process is a job of `ray job submit --working-dir`."""
    job = json.loads(environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return bool(job.get("runtime_env", {}).get("working_dir"))


def working_directory_mover() -> Callable[[], None]:
    """Returns what each worker does first: `ray job submit --working-dir` puts that folder first on its import path.

    A nested function, because Ray sends the code of one. Any other is imported by the worker, perhaps from that folder.
    """

    def move_working_directory_last() -> None:
        import os
        import sys

        folder = os.path.realpath(os.getcwd())
        others = [entry for entry in sys.path if os.path.realpath(entry) != folder]
        sys.path[:] = [*others, folder]

    return move_working_directory_last


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    """Sets environment variables for the processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _hangup_ignored() -> Generator[None]:
    """Has processes that start meanwhile survive the closing of the terminal: their driver ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends with its actors."""
    ray.shutdown()


@contextmanager
def ray_connection(settings: Settings) -> Generator[None]:
    """`connect`, and `disconnect` at the end; an earlier connection stays open."""
    before = ray.is_initialized()
    connect(settings)
    try:
        yield
    finally:
        if not before:
            disconnect()
