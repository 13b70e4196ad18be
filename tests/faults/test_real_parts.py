"""Processes of real parts killed at their failpoints: an engine, the rewarder, the training, under a real driver."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eva.config.files import load_config
from eva.runtime import failpoints
from eva.runtime.failpoints import POINTS
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.session import Store
from store.views.fingerprint import Fingerprint, fingerprint, first_difference

KILLS = (
    "engine.worked=kill:{}@2",
    "engine.reloaded=kill:{}",
    "rewarder.rewarded=kill:{}@2",
    "training.trained=kill:{}",
    "checkpoint.renamed=kill:{}",
)
"""Each once, in whichever process is there first: the process is replaced, the driver goes on."""

REACHED = (
    "engine.opened",
    "engine.reloaded",
    "engine.measured",
    "engine.worked",
    "rewarder.asked",
    "rewarder.rewarded",
    "training.begun",
    "training.trained",
    "trainer.dispatched",
    "trainer.answered",
    "fleet.load.begun",
    "fleet.load.proven",
    "checkpoint.written",
    "checkpoint.sealed",
    "checkpoint.renamed",
)
"""What real parts stand at; the first seven kinds are reached by no fake."""

SMALL = ["prompts.playground=16", "iterations=2", "evaluation.playground=4"]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def play(store: Store, folder: Path, points: str) -> Fingerprint:
    run = register_run(store, load_config("playground", SMALL))
    failpoints.arm(points)
    drive(store, Settings(folder, None, None), run, NoListener())
    with store.transaction() as conn:
        return fingerprint(conn, run.id)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_cluster")
def test_killed_processes_of_real_parts_are_replaced_and_nothing_is_different(store: Store, tmp_path: Path) -> None:
    notes, killed = tmp_path / "notes", tmp_path / "killed"
    killed.mkdir()
    undisturbed = play(store, tmp_path, f"*=note:{notes}")
    reached = {line.split()[2] for line in notes.read_text().splitlines()}
    assert {*REACHED} <= reached <= {*POINTS}
    points = [entry.format(killed / re.sub(r"\W.*", "", entry.partition(".")[2])) for entry in KILLS]
    disturbed = play(store, tmp_path, ",".join(points))
    assert len(list(killed.iterdir())) == len(KILLS), "each of them was killed"
    assert first_difference(disturbed, undisturbed) is None
    assert disturbed.weights == undisturbed.weights, "training that was killed gave other weights"
