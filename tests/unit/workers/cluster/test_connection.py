"""Starting Ray where Ray does not want to."""

from __future__ import annotations

import logging
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
