"""The connection of a driver to Ray: `connect`, `disconnect`, and `ray_connection` for the time between them."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray._private import parameter, ray_constants
from ray.experimental.internal_kv import _internal_kv_exists  # pyright: ignore[reportPrivateUsage] - Ray has no other way
from ray.job_config import JobConfig
from typing_extensions import override

from eva.errors import RayAwayError
from eva.library_failures import first_line
from eva.settings import DRIVERS_CLUSTER, Settings
from workers.cluster.access import closed_cluster_environment, require_guarded_ray, require_listener
from workers.cluster.environment import SAFE_PATH

OBJECT_STORE_BYTES = 200 * 2**20
START_TRIES, FIRST_PAUSE_S = 5, 3.0
"""How often Ray is started, and the pause after the first try; each later pause is twice as long."""
_ANSWER_S = 2.0

_JOB_KEY, _JOBS = "_ray_internal_job_info_", ray_constants.KV_NAMESPACE_JOB
"""Where a cluster keeps what it knows of a submitted job."""
_RAY_PROGRAMS = (b"/ray/core/src/ray/", b"/ray/_private/", b"/ray/dashboard/", b"/ray/autoscaler/")

log = logging.getLogger(__name__)
T = TypeVar("T")


class _Job(JobConfig):
    """A job whose workers do not get the driver's working directory as the first entry of their import path.

    Ray does that unless the job brings a working directory of its own. Ours goes last: `workers.cluster.environment`.
    """

    @override
    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect(settings: Settings) -> None:
    """Join the cluster at `settings.ray_address`, or start one for this process. Does nothing where connected already.

    Raises RayAwayError when it cannot be reached or, after several tries, does not start, and ConfigError when it
    accepts connections without a token.
    """
    if ray.is_initialized():
        return
    require_guarded_ray(settings.ray_address)
    set_ray_defaults()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": _Job()}
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        if settings.ray_address is None:
            os.environ.update(closed_cluster_environment())
            # Ray has read this switch of its environment when it was imported
            ray_constants.ENABLE_RAY_CLUSTER = False
            with _environment(SAFE_PATH), _hangup_ignored(), _without_monitors():
                start_patiently(lambda: ray.init(address="local", **local, **quiet), "on this machine")
        else:
            mark = {"EVA_DRIVER": os.environ["EVA_DRIVER"]} if "EVA_DRIVER" in os.environ else {}
            runtime_env: dict[str, Any] = {"env_vars": mark} if mark else {}
            if _submitted_with_folder(os.environ):
                runtime_env["worker_process_setup_hook"] = working_directory_mover()
            require_listener(settings.ray_address)
            start_patiently(
                lambda: ray.init(address=settings.ray_address, runtime_env=runtime_env or None, **quiet),
                f"at {settings.ray_address}",
            )
            _require_own_cluster(settings.ray_address)
    except (OSError, ValueError) as error:
        raise RayAwayError(
            f"no Ray cluster at {settings.ray_address or 'this machine'} ({first_line(error)})",
            expected="a running cluster at RAY_ADDRESS, or RAY_ADDRESS unset for one of its own",
            next_move="Check RAY_ADDRESS with `ray status`",
        ) from error
    finally:
        # Ray installs a SIGTERM handler that ends the process; how to stop is the driver's own decision.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)


def set_ray_defaults() -> None:
    """Sets what Ray reads in the environment when it starts a cluster, where the user has not."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray runs its workers at nice 15: an engine would yield to whatever else the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray would start an idle process per core. eva's actors have environments of their own, and never get one of those.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


@contextmanager
def _without_monitors() -> Generator[None]:
    """A cluster of one machine and one driver needs no autoscaler, and eva reads logs as files.

    `ray.init` has no option for the two processes, which cost two seconds of a core and go on looking around.
    """
    plain = parameter.RayParams
    parameter.RayParams = partial(plain, include_log_monitor=False, no_monitor=True)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType] - see above
    try:
        yield
    finally:
        parameter.RayParams = plain


def _require_own_cluster(address: str) -> None:
    """Leaves the cluster and raises RayAwayError if this process is a job of another one.

    Ray tells its jobs the address of the newest cluster on their machine, whichever they were submitted to. A cluster
    that DRIVERS_CLUSTER names is the right one.
    """
    job = _job_config(os.environ).get("metadata", {}).get("job_submission_id")
    if job is None or os.environ.get(DRIVERS_CLUSTER) or _internal_kv_exists(_JOB_KEY + job, namespace=_JOBS):
        return
    ray.shutdown()
    raise RayAwayError(
        f"Ray told this job to join {address}, which is another cluster of this machine: it does not know job {job}",
        expected="the cluster that the job was submitted to",
        next_move="Set RAY_ADDRESS of the service to HOST:PORT of that cluster's head, which its jobs then join, and "
        "resume the run",
    )


def start_patiently(start: Callable[[], T], where: str) -> T:
    """Returns what `start` returns, after START_TRIES tries at most: on a loaded machine, Ray's processes are late.

    What a try has started is ended before the next. Raises RayAwayError, and ConnectionError or ValueError at once if
    it says that nothing can be there. Each traceback is in the log.
    """
    for attempt in range(1, START_TRIES + 1):
        before = set(_ray_children())
        try:
            return start()
        except (ConnectionError, ValueError):
            raise
        except Exception as error:
            # Ray raises bare exceptions
            _end_attempt(before)
            log.warning("Ray did not start %s (try %d of %d)", where, attempt, START_TRIES, exc_info=error)
            if attempt == START_TRIES:
                raise RayAwayError(
                    f"Ray did not start {where} in {START_TRIES} tries, the last time with {first_line(error)}",
                    expected="a machine with enough free memory and processor time for Ray's processes",
                    next_move="Resume the run when the machine has less to do; the tracebacks are in the log",
                ) from error
        time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("the last try returns or raises")


def _end_attempt(before: set[int]) -> None:
    """Ends what a failed start has left: Ray itself only ends what it has started whole."""
    ray.shutdown()
    for pid in set(_ray_children()) - before:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ray_children() -> list[int]:
    """Returns the processes of Ray that this one has started itself."""
    children: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and any(mark in (folder / "cmdline").read_bytes() for mark in _RAY_PROGRAMS):
                children.append(int(folder.name))
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    return children


def _submitted_with_folder(environment: Mapping[str, str]) -> bool:
    """Whether this process is a job of `ray job submit --working-dir`."""
    return bool(_job_config(environment).get("runtime_env", {}).get("working_dir"))


def _job_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """What Ray tells a job about itself; empty for a process that is none."""
    return json.loads(environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))


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


def cluster_watch() -> Callable[[], str | None]:
    """Returns a function that says which of Ray's processes does not answer, None if all do. Ray must be connected.

    It asks by TCP, never through Ray: a client of Ray waits a minute for a head that is gone, and then ends the process
    without a word.
    """
    context = ray.get_runtime_context()
    # through Ray's client (ray://) the cluster is another one's to watch
    head, node = str(getattr(context, "gcs_address", "")), context.get_node_id()
    if ":" not in head:
        return lambda: None
    places = [("Ray's head (GCS)", *head.rsplit(":", 1))]
    places.extend(
        ("Ray's process on this machine (raylet)", known["NodeManagerAddress"], known["NodeManagerPort"])
        for known in ray.nodes()
        if known["NodeID"] == node
    )

    def lost() -> str | None:
        for name, host, port in places:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
            except OSError:
                return f"{name} at {host}:{port} does not answer"
        return None

    return lost


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
