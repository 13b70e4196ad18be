"""Starts driver processes quickly: each is forked from a process that has imported everything and opened nothing.

python -m tests.support.faults.drivers      reads an order per line, and writes an outcome per line
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from eva.config import RunConfig
from eva.runtime import failpoints
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.watch.listener import NoListener
from store.runs import runs
from store.session import open_store
from tests.support.fakes import always
from tests.support.faults.game import Notebook, game_roles

ROOT = Path(__file__).parents[3]
PATIENCE_S = 120.0
FAILED = 3


@dataclass(frozen=True)
class Order:
    """An order to play a run to its end with these failpoints, or to kill its driver after `kill_after_s` seconds.

    `folder` is the data directory; the notebook and the driver's log are written there.
    """

    run: str
    folder: str
    database_url: str
    failpoints: str = ""
    kill_after_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a driver process ended. `status`: 0, FAILED after an error, or minus the number of the signal that killed it.

    Times are by the monotonic clock.
    """

    status: int
    began: float
    ended: float

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Drivers:
    """The process that forks drivers, and its two pipes. A context manager; takes one order at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment.pop(failpoints.VARIABLE, None)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faults.drivers"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def drive(self, order: Order) -> Outcome:
        """Starts a driver, and waits until it ends."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(asdict(order)) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the process that forks drivers has ended"
        return Outcome(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=PATIENCE_S)


def serve() -> None:
    for line in sys.stdin:
        order = Order(**json.loads(line))
        began = time.monotonic()
        if (pid := os.fork()) == 0:
            _become(order)
        outcome = Outcome(_await(pid, order.kill_after_s), began, time.monotonic())
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()


def _become(order: Order) -> None:
    """Turns the forked process into a driver; never returns."""
    status = FAILED
    try:
        log = os.open(Path(order.folder) / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for standard in (1, 2):
            os.dup2(log, standard)
        random.seed(os.getpid())  # no decision may depend on this seed
        _play(order)
        status = 0
    except BaseException:  # noqa: BLE001 - this process ends here, and its log says why
        traceback.print_exc()
    finally:
        os._exit(status)


def _play(order: Order) -> None:
    settings = Settings(Path(order.folder), order.database_url, None)
    store = open_store(settings, migrate=False)
    with store.transaction() as conn:
        run = runs.find_run(conn, order.run)
    failpoints.arm(order.failpoints)
    roles = game_roles(Notebook(notebook(order.folder, order.run)), RunConfig.model_validate(run.config))
    drive(store, settings, run, NoListener(), build=always(roles), ttl_s=6.0)


def notebook(folder: str | Path, run: str) -> Path:
    return Path(folder) / f"{run}.asked"


def _await(pid: int, kill_after_s: float | None) -> int:
    """Waits for the exit status; kills the process when its time is up, or when it hangs."""
    deadline = time.monotonic() + (PATIENCE_S if kill_after_s is None else kill_after_s)
    while time.monotonic() < deadline:
        if (status := _ended(pid)) is not None:
            return status
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _ended(pid: int) -> int | None:
    ended_pid, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended_pid else None


if __name__ == "__main__":
    serve()
