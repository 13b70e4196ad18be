"""The raylet of a real driver's cluster is killed: the command says so, and a resume ends the run alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from store.rows import RunRow
from store.runs import runs
from store.session import Store
from store.views.fingerprint import Fingerprint, first_difference
from tests.support.decisions import fingerprint_of
from tests.support.faults.simulated_cluster import without_models
from tests.support.parent_death import end_with_parent
from tests.support.processes import alive
from tests.support.structure import ROOT

SMALL = (
    *("prompts.playground=8", "evaluation.playground=2", "iterations=2", "reward={kind: mock}"),
    *("generation.keep_cut=true", "fleet.cpu_cache_gb=0.25"),
)
NEW = ["run", "playground", *(word for change in SMALL for word in ("--set", change))]
NOTICED_S = 60


class Commands:
    """`eva` over one database, with Ray and real actors but without models."""

    def __init__(self, store: Store, database_url: str, folder: Path) -> None:
        self._store, self.asked = store, folder / "asked"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "EVA_DATA_DIR": str(folder),
            "EVA_DATABASE_URL": database_url,
            **without_models(self.asked),
        }

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.faults.eva_without_models", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self._environment, **(env or {})},
            preexec_fn=end_with_parent,
        )

    def play(self, *arguments: str) -> Fingerprint:
        """The fingerprint of the last run, which this command has finished."""
        ended = self.start(*arguments)
        told = ended.communicate()[0]
        assert ended.returncode == 0, told
        return fingerprint_of(self._store, self.last())

    def last(self) -> RunRow:
        with self._store.transaction() as conn:
            return runs.find_run(conn, "last")


@pytest.mark.timeout(900)
def test_a_killed_raylet_pauses_the_run_with_a_sentence_and_a_resume_ends_it_alike(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    eva = Commands(store, database_url, tmp_path)
    undisturbed = eva.play(*NEW)
    requests = len(eva.asked.read_text().splitlines())
    disturbed = eva.start(*NEW, env={"EVA_STEP_S": "1"})
    while len(eva.asked.read_text().splitlines()) < requests * 3 // 2 and disturbed.poll() is None:
        time.sleep(0.05)
    begun = psutil.Process(disturbed.pid).children(recursive=True)
    (raylet,) = [each for each in begun if each.name() == "raylet"]
    raylet.kill()
    killed_at = time.monotonic()
    told = disturbed.communicate(timeout=10 * NOTICED_S)[0]
    lasted_s = time.monotonic() - killed_at
    run = eva.last()
    assert (run.status, disturbed.returncode) == ("paused", 4), told
    assert run.error is not None and "the Ray cluster is lost: Ray's process on this machine (raylet)" in run.error
    assert run.error in told and f"eva run --resume {run.name}" in told and "Traceback" not in told
    assert lasted_s < NOTICED_S, told
    assert not any(map(alive, begun))
    resumed = eva.play("resume", run.name)
    assert eva.last().id == run.id
    assert first_difference(resumed, undisturbed) is None
    assert resumed.weights == undisturbed.weights
