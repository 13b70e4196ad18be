"""A Ray cluster on this machine, run by a separate process: the keeper.

So the API's process need not import Ray or wait for it. The keeper starts the cluster, prints its address, and stops
the cluster when its standard input closes: on `close()`, and when the parent process dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from eva.errors import InfrastructureError
from eva.runtime.processes import SESSION_MARK, this_process
from workers.cluster.access import closed_cluster_environment
from workers.cluster.environment import cluster_environment, python_module

START_S, STOP_S = 300, 180
LAST_WRITES_S = 10
"""How long the folders of a stopped cluster are looked after."""
STOP_JOB_S = 60
"""Seconds that a driver has to store finished work before Ray kills it."""


class LocalCluster:
    """The cluster: started by the first `address()`, and again after it died. `close` ends it with all its jobs."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log, self._environment = log, dict(environment or {})
        self._address, self._gcs_address = "", ""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def address(self) -> str:
        """Returns the URL of its job service. Raises InfrastructureError if the cluster does not start."""
        with self._lock:
            if not self.started():
                self._start()
            return self._address

    def gcs_address(self) -> str:
        """Returns HOST:PORT, by which a driver joins this cluster and no other one of the machine."""
        with self._lock:
            return self._gcs_address

    def started(self) -> bool:
        """Whether the cluster runs."""
        return self._process is not None and self._process.poll() is None

    def give_up(self) -> None:
        """Stops waiting for a cluster that is starting. Does nothing otherwise."""
        process = self._process
        if process is not None and not self._address:
            process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ends the cluster. Does nothing if none was started."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # the job service runs any command it is sent, so it requires a token; this process sends it, too
        os.environ |= {"RAY_AUTH_MODE": "token", **closed_cluster_environment()}
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                python_module("workers.cluster.local_cluster"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=cluster_environment(self._environment),
                # Ctrl-C in the terminal is handled here: drivers are stopped before their cluster ends
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._address = ""
        # an interrupt, because Ray then cleans up what it has started
        too_late = threading.Timer(START_S, self._process.send_signal, (signal.SIGINT,))
        too_late.start()
        line = self._process.stdout.readline()
        too_late.cancel()
        if not line.startswith("{"):
            _end(self._process)
            raise InfrastructureError(
                "no Ray cluster could be started on this machine",
                expected=f"one within {START_S} s",
                next_move=f"Read {self._log}; or start one with `ray start --head` and set RAY_ADDRESS=auto",
            )
        started = json.loads(line)
        self._address, self._gcs_address = started["address"], started["gcs_address"]


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
    process.stdout.close()


def keep() -> None:
    """The keeper: starts the cluster, prints its address, waits until standard input closes, stops the cluster."""
    import logging

    os.environ.setdefault("RAY_JOB_STOP_WAIT_TIME_S", str(STOP_JOB_S))
    os.environ.pop("RAY_ADDRESS", None)
    import ray
    from ray._private import parameter

    from workers.cluster.connection import OBJECT_STORE_BYTES, set_ray_defaults, start_patiently

    set_ray_defaults()
    # Ray's job agent listens on a fixed port. If another cluster of this machine has it, jobs never start. `ray start`
    # has an option for the port, `ray.init` has none.
    parameter.RayParams = partial(parameter.RayParams, dashboard_agent_listen_port=0)  # pyright: ignore[reportAttributeAccessIssue] - see above
    context: Any = start_patiently(
        lambda: ray.init(
            address="local",
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,
        ),
        "on this machine",
    )
    folder = Path(str(context.address_info["session_dir"]))
    (folder / SESSION_MARK).write_text(json.dumps(this_process()), encoding="utf-8")
    try:
        started = {"address": f"http://{context.dashboard_url}", "gcs_address": context.address_info["gcs_address"]}
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        ray.shutdown()
        _remove_sessions(folder.parent)


def _remove_sessions(folder: Path) -> None:
    """Removes the folders of this process's sessions, with those of tries that failed.

    Processes that are ending may still write there for a moment.
    """
    import shutil

    given_up = time.monotonic() + LAST_WRITES_S
    while (left := list(folder.glob(f"session_2*_{os.getpid()}"))) and time.monotonic() < given_up:
        for session in left:
            shutil.rmtree(session, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    keep()
