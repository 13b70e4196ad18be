"""A local Ray cluster, as other users and machines see it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import worker as ray_worker

from cli.privacy_diagnosis import diagnose_clusters, listening_addresses
from eva.settings import Settings
from workers.cluster.access import token_file

NO_IDLE_WORKERS = "RAY_prestart_worker_first_driver"


def test_no_process_of_a_local_cluster_listens_beyond_loopback(ray_cluster: Settings) -> None:
    del ray_cluster
    ray.get(ray.remote(lambda: None).remote())
    me = psutil.Process()
    addresses = {process.name(): listening_addresses(process) for process in (me, *me.children(recursive=True))}
    assert {"gcs_server", "raylet"} <= {name for name, listening in addresses.items() if listening}
    everywhere = [
        (name, ip, port)
        for name, listening in addresses.items()
        for ip, port in listening
        if not ip.removeprefix("::ffff:").startswith("127.") and ip != "::1"
    ]
    assert everywhere == []
    mine = [finding for finding in diagnose_clusters() if "which only this machine can reach" in finding.detail]
    assert mine and {finding.verdict for finding in mine} == {"ok"}


def test_a_local_cluster_starts_no_process_that_a_run_does_not_need(ray_cluster: Settings) -> None:
    started = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert any("raylet" in one for one in started)
    assert [one for one in started if "monitor.py" in one] == []  # of logs, and of the autoscaler
    assert os.environ.get(NO_IDLE_WORKERS) == "0"


def test_the_sessions_of_a_local_cluster_lie_in_a_closed_folder_and_its_token_is_evas_own(
    ray_cluster: Settings,
) -> None:
    del ray_cluster
    sessions = Path(os.environ["RAY_TMPDIR"])
    node: Any = ray_worker._global_node  # Ray has no public name for this
    session = Path(node.get_session_dir_path())
    assert session.parent == sessions / "ray" and session.is_dir()
    assert sessions.stat().st_mode & 0o077 == 0
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token_file())
