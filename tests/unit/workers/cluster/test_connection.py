"""Starting Ray where Ray does not want to."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from eva.errors import RayAwayError
from eva.settings import Settings
from workers.cluster import connection
from workers.cluster.connection import START_TRIES, connect, start_patiently

LATE = "The current node timed out during startup. This could happen because some of the raylet failed"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    taken: list[float] = []
    monkeypatch.setattr(connection, "time", SimpleNamespace(sleep=taken.append))
    monkeypatch.setattr(connection.ray, "shutdown", lambda: None)
    return taken


def test_ray_that_is_late_is_started_again(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def start() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Exception(LATE)
        return "started"

    assert start_patiently(start, "on this machine") == "started"
    assert pauses == [3.0, 6.0]
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2 and all(record.exc_info for record in told)


def test_ray_that_never_starts_is_a_sentence(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init(**_options: object) -> None:
        raise Exception(LATE)

    monkeypatch.setattr(connection.ray, "init", init)
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    with pytest.raises(RayAwayError, match=r"Ray did not start on this machine in 5 tries.*timed out during startup"):
        connect(Settings(tmp_path, None, None))
    assert len(pauses) == START_TRIES - 1


def test_what_a_failed_try_has_left_is_ended_before_the_next(pauses: list[float], tmp_path: Path) -> None:
    program = tmp_path / "ray/core/src/ray/raylet.py"
    program.parent.mkdir(parents=True)
    program.write_text("import time\ntime.sleep(60)\n")
    left: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        if left:
            assert left[0].wait(10) == -9
            return
        left.append(subprocess.Popen([sys.executable, str(program)]))
        raise Exception(LATE)

    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start_patiently(start, "on this machine")
    assert bystander.poll() is None and pauses == [3.0]
    bystander.kill()
    bystander.wait()


def test_an_address_that_is_none_is_told_at_once(pauses: list[float], tmp_path: Path) -> None:
    with pytest.raises(RayAwayError, match=r"no Ray cluster at 127\.0\.0\.1:x"):
        connect(Settings(tmp_path, None, "127.0.0.1:x"))
    assert pauses == []


def test_nobody_at_the_address_is_told_at_once(pauses: list[float], tmp_path: Path) -> None:
    with pytest.raises(RayAwayError, match=r"no Ray cluster at 127\.0\.0\.1:9 .*Check RAY_ADDRESS"):
        connect(Settings(tmp_path, None, "127.0.0.1:9"))
    assert pauses == []


def test_a_job_that_ray_sends_to_another_cluster_leaves_it_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    joined: list[str] = []
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "eva-7"}}))
    monkeypatch.setattr(connection, "require_listener", lambda _address: None)
    monkeypatch.setattr(connection, "require_guarded_ray", lambda _address: None)
    monkeypatch.setattr(connection.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connection.ray, "init", lambda address, **_options: joined.append(address))
    monkeypatch.setattr(connection.ray, "shutdown", joined.clear)
    known = {"_ray_internal_job_info_eva-7": True}
    monkeypatch.setattr(connection, "_internal_kv_exists", lambda key, namespace: known.get(key, False))
    connect(Settings(tmp_path, None, "127.0.0.1:6379"))
    assert joined == ["127.0.0.1:6379"]
    known.clear()
    with pytest.raises(RayAwayError, match=r"another cluster of this machine: it does not know job eva-7.*HOST:PORT"):
        connect(Settings(tmp_path, None, "127.0.0.1:6379"))
    assert joined == [], "it has left"
    monkeypatch.setenv("EVA_RAY_ADDRESS", "127.0.0.1:6379")
    connect(Settings(tmp_path, None, "127.0.0.1:6379"))
    assert joined, "a cluster that is named is the right one"


def test_a_killed_raylet_or_head_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head, socket.create_server(("127.0.0.1", 0)) as raylet:
        node = {"NodeID": "n", "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": raylet.getsockname()[1]}
        address = f"127.0.0.1:{head.getsockname()[1]}"
        context = SimpleNamespace(gcs_address=address, get_node_id=lambda: "n")
        others = {"NodeID": "m", "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 1}
        ray = SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: [others, node])
        monkeypatch.setattr(connection, "ray", ray)
        lost = connection.cluster_watch()
        assert lost() is None, "other machines may come and go"
        raylet.close()
        assert "raylet" in str(lost())
        head.close()
        assert "GCS" in str(lost())
