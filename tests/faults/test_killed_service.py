"""`eva serve` is killed while a run of its plays: nothing is left behind, and the next service plays the run on."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.faults.simulated_cluster import without_models
from tests.support.processes import alive, server

GONE_S = 60
NEW = {
    "preset": "playground",
    "name": "killed",
    "overrides": [
        *("prompts.playground=8", "evaluation.playground=4", "iterations=1", "reward={kind: mock}"),
        *("fleet.cpu_cache_gb=0.25", "generation.keep_cut=true"),
    ],
}


@pytest.fixture
def environment(data_folder: Path) -> Iterator[Mapping[str, str]]:
    """A stand-in for vLLM that takes its time, and a folder for Ray whose path is short enough for its sockets."""
    ray = Path(tempfile.mkdtemp(prefix="eva-"))
    yield {
        **without_models(data_folder / "asked"),
        "EVA_STEP_S": "0.5",
        "RAY_TMPDIR": str(ray),
    }
    shutil.rmtree(ray, ignore_errors=True)


def asked(folder: Path) -> int:
    """How many requests engines have received so far."""
    file = folder / "asked"
    return len(file.read_text().splitlines()) if file.exists() else 0


def postmaster(folder: Path) -> int:
    """The number of the embedded database's process."""
    return int((folder / "postgres/postmaster.pid").read_text().split()[0])


def until(done: Callable[[], bool]) -> None:
    """Has no time-out: the test has one."""
    while not done():
        time.sleep(0.1)


@pytest.mark.timeout(900)
def test_a_killed_service_leaves_no_process_behind_and_its_run_is_paused_with_the_reason_and_resumed(
    data_folder: Path, environment: Mapping[str, str]
) -> None:
    """But for the database: the next service uses it, and ends it."""
    with server(data_folder, env=environment) as (process, url):
        run = httpx.post(f"{url}/v1/runs", json=NEW, timeout=60, trust_env=False).json()["name"]
        path = f"/v1/runs/{run}"
        until(lambda: asked(data_folder) >= 3)
        begun = psutil.Process(process.pid).children(recursive=True)
        commands = {each.pid: " ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])}
        for part in ("/raylet", "/gcs_server", f"drive {run}", "workers.cluster.local_cluster"):
            assert any(part in commands.get(each.pid, "") for each in begun), part
        process.kill()
    killed_at, before = time.monotonic(), asked(data_folder)
    while any(map(alive, begun)) and time.monotonic() < killed_at + GONE_S:
        time.sleep(0.1)
    assert [commands.get(each.pid) for each in filter(alive, begun)] == []
    database = psutil.Process(postmaster(data_folder))
    with server(data_folder, env=environment) as (process, url):
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            until(lambda: client.get(path).json()["status"] not in ("running", "interrupted"))
            told = client.get(path).json()
            assert told["status"] == "paused" and "the Ray cluster that played the run is gone" in told["error"]
            client.post(f"{path}:resume").raise_for_status()
            until(lambda: asked(data_folder) > before)
            again = client.get(path).json()
            assert (again["status"], again["launch"]["attempt"]) == ("running", 2)
        assert postmaster(data_folder) == database.pid
        process.terminate()
        assert process.wait(400) == 0
    assert not alive(database)
