"""A service that launches on a real Ray cluster of its own: a run played, paused, resumed, stopped with the service.

A client that was generated from the API's document asks for it, watches it and takes its results away.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.client_fixtures import Generated
from tests.support.processes import alive, server

Ask = Callable[..., Any]

TINY = ["prompts.playground=12", "evaluation.playground=3", "iterations=2", "training.max_steps=1"]
OWN = ["reward={kind: verifier, function: 'rewards:length'}", "training.loss=losses:unlikely"]
"""A reward function and a loss that lie in the folder in which the service was started."""


@pytest.fixture
def other_cluster() -> Iterator[Path]:
    """Where Ray keeps its sessions, with all that it finds of a newer cluster on this machine, at a closed port."""
    nowhere = "127.0.0.1:1"
    folder = Path(tempfile.mkdtemp(prefix="eva-"))  # Ray's sockets need a short path
    (folder / "ray").mkdir()
    (folder / "ray/ray_current_cluster").write_text(nowhere)
    raylet = ["raylet", "-c", "read line", f"--gcs-address={nowhere}"]
    with subprocess.Popen(raylet, executable="/bin/sh", stdin=subprocess.PIPE):
        yield folder
    shutil.rmtree(folder)


@contextmanager
def serving(folder: Path, cwd: Path, ray: Path, generated: Generated) -> Iterator[tuple[subprocess.Popen[str], Ask]]:
    """`eva serve`, and its operations as the generated client asks for them."""
    env = {"EVA_FUNCTIONS": "rewards:length,losses:unlikely", "RAY_TMPDIR": str(ray)}
    with server(folder, cwd=cwd, env=env) as (process, url):
        timeout = httpx.Timeout(60)
        with generated.part("Client")(base_url=url, timeout=timeout, httpx_args={"trust_env": False}) as client:
            yield process, partial(generated.ask, client)


def wait(ask: Ask, name: str, *statuses: str, stage: bool = False) -> Any:
    """The run when it stands so; with `stage`, when it does something, too. The test's own time-out ends it."""
    while True:
        run = ask("runs.get_run", name)
        if run.status in statuses and (not stage or run.stage):
            return run
        assert run.status != "failed", run
        time.sleep(0.2)


def look(generated: Generated, ask: Ask, name: str) -> None:
    """What a finished run leaves, as its user takes it away."""
    iterations = ask("iterations.list_iterations", name).items
    assert [(one.number, one.status) for one in iterations] == [(0, "done"), (1, "done")]
    assert sum(one.pairs for one in iterations) > 0
    (child,) = ask("prompts.list_prompts", name, born=1, limit=1).items
    details = ask("prompts.get_prompt", name, child.number)
    assert details.responses.items and details.why[0].startswith(f"Iteration 1 made it from prompt {child.parent}")
    lineage = ask("prompts.get_lineage", name, child.number)
    assert [one.number for one in lineage.ancestors][-1] == child.parent
    pairs = generated.part("models.ExportRequest")(kind=generated.part("models.ExportKind").PAIRS)
    export = ask("exports.create_export", name, body=pairs)
    while export.status in ("waiting", "running"):
        time.sleep(0.1)
        export = ask("exports.get_export", name, export.id)
    rows = ask("exports.get_export_file", name, export.id).payload.read().splitlines()
    assert len(rows) == export.rows == sum(one.pairs for one in iterations)
    assert {"prompt", "chosen", "rejected"} <= json.loads(rows[0]).keys()


@pytest.mark.timeout(900)
def test_a_service_launches_on_a_cluster_of_its_own_and_leaves_nothing_behind(
    data_folder: Path, generated: Generated, misleading_folder: Path, other_cluster: Path
) -> None:
    """Another cluster is on the machine, which no driver joins.

    It is started in a folder whose files have the names of modules: they hide none, in any process of a run.
    """
    with serving(data_folder, misleading_folder, other_cluster, generated) as (process, ask):
        new = generated.part("models.NewRun")(preset="playground", overrides=[*TINY, *OWN], name="tiny")
        rehearsed = ask("runs.create_run", body=new, dry_run=True)
        assert rehearsed.config["iterations"] == 2 and rehearsed.estimate and rehearsed.checks
        assert ask("runs.list_runs").items == []
        name, other = (ask("runs.create_run", body=new).name for _ in range(2))
        playing = wait(ask, name, "running", stage=True)
        assert playing.held_by and playing.launch.attempt == 1
        assert ask("runs.get_run", other).launch.ahead == 0, "one plays at a time"
        assert ask("runs.cancel_run", other).status == "cancelled"
        begun = psutil.Process(process.pid).children(recursive=True)
        assert [one for one in begun if "raylet" in one.name()]
        loaded = {Path(one.path).name for one in psutil.Process(process.pid).memory_maps()}
        assert not [library for library in loaded if "libtorch" in library]
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait(400) == 0, told
        assert f"eva resume {name}" in told
    gone_by = time.monotonic() + 20  # a process that was told to end takes its time on a busy machine
    while (left := list(filter(alive, begun))) and time.monotonic() < gone_by:
        time.sleep(0.1)
    assert left == []
    assert not (data_folder / "postgres/postmaster.pid").exists()
    assert not list(other_cluster.glob("ray/session_2*"))

    with serving(data_folder, misleading_folder, other_cluster, generated) as (process, ask):
        assert ask("runs.get_run", name).status == "paused"
        ask("runs.resume_run", name)
        assert wait(ask, name, "finished").launch.attempt == 2
        kinds = [event.kind for event in ask("events.list_events", name).items]
        assert [kind for kind in kinds if kind in ("queued", "launched", "running", "paused", "finished")] == [
            "queued",
            "launched",
            "running",
            "paused",
            "queued",
            "launched",
            "running",
            "finished",
        ]
        look(generated, ask, name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(400) == 0
