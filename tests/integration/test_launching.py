"""A service that launches on a real Ray cluster of its own: a run played, paused, resumed, stopped with the service."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.test_cli_serve import server

TINY = ["prompts.playground=12", "evaluation.playground=3", "iterations=2", "training.max_steps=1"]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with server(folder) as (process, url), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield process, client


def wait(client: httpx.Client, name: str, *statuses: str, stage: bool = False) -> dict[str, Any]:
    """The run when it stands so; with `stage`, when it does something, too. The test's own time-out ends it."""
    while True:
        run = client.get(f"/v1/runs/{name}").json()
        if run["status"] in statuses and (not stage or run["stage"]):
            return run
        assert run["status"] != "failed", run
        time.sleep(0.2)


@pytest.mark.timeout(900)
def test_a_service_launches_on_a_cluster_of_its_own_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with serving(tmp_path / "data") as (process, client):
        new = {"preset": "playground", "overrides": TINY, "name": "tiny"}
        name, other = (client.post("/v1/runs", json=new).json()["name"] for _ in range(2))
        playing = wait(client, name, "running", stage=True)
        assert playing["held_by"] and playing["launch"]["attempt"] == 1
        assert client.get(f"/v1/runs/{other}").json()["launch"]["ahead"] == 0, "one plays at a time"
        assert client.post(f"/v1/runs/{other}:cancel").json()["status"] == "cancelled"
        begun = psutil.Process(process.pid).children(recursive=True)
        assert [one for one in begun if "raylet" in one.name()]
        loaded = {Path(one.path).name for one in psutil.Process(process.pid).memory_maps()}
        assert not [library for library in loaded if "libtorch" in library]
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait(400) == 0, told
        assert f"eva resume {name}" in told
    assert [one for one in begun if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert not (tmp_path / "data/postgres/postmaster.pid").exists()
    sessions = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray")  # noqa: S108 - where Ray keeps them
    assert not [left for one in begun for left in sessions.glob(f"session_*_{one.pid}")]

    with serving(tmp_path / "data") as (process, client):
        assert client.get(f"/v1/runs/{name}").json()["status"] == "paused"
        assert client.post(f"/v1/runs/{name}:resume").status_code == 202
        assert wait(client, name, "finished")["launch"]["attempt"] == 2
        kinds = [event["kind"] for event in client.get(f"/v1/runs/{name}/events").json()["items"]]
        assert [kind for kind in kinds if kind in ("queued", "launched", "running", "paused", "finished")] == [
            "queued", "launched", "running", "paused", "queued", "launched", "running", "finished"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(400) == 0
