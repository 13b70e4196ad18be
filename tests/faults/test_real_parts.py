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

CUT_KILLS = ("training.chunk_trained=kill:{}@2", "training.state_stored=kill:{}", "engine.reloaded=kill:{}")
CUT_REACHED = ("training.chunk_trained", "training.state_stored")
"""What real parts stand at besides when the batches are cut into chunks."""

SMALL = ["prompts.playground=16", "iterations=2", "evaluation.playground=4"]
CUT = [
    *("prompts.playground=16", "iterations=1", "evaluation.playground=4"),
    *("training.batch=4", "training.epochs=1", "training.sync_every=1", "training.state_every=2"),
]
"""Four chunks of four prompts."""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def play(store: Store, folder: Path, points: str, changes: list[str] = SMALL) -> Fingerprint:
    run = register_run(store, load_config("playground", changes))
    failpoints.arm(points)
    drive(store, Settings(folder, None, None), run, NoListener())
    with store.transaction() as conn:
        return fingerprint(conn, run.id)


def killing(folder: Path, kills: tuple[str, ...]) -> str:
    """The failpoints that kill once each; a file in the folder says which has."""
    folder.mkdir()
    return ",".join(entry.format(folder / re.sub(r"\W.*", "", entry.partition(".")[2])) for entry in kills)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("changes", "kills", "expected"), [(SMALL, KILLS, REACHED), (CUT, CUT_KILLS, CUT_REACHED)], ids=["whole", "cut"]
)
def test_killed_processes_of_real_parts_are_replaced_and_nothing_is_different(
    changes: list[str], kills: tuple[str, ...], expected: tuple[str, ...], store: Store, tmp_path: Path
) -> None:
    notes, killed = tmp_path / "notes", tmp_path / "killed"
    undisturbed = play(store, tmp_path, f"*=note:{notes}", changes)
    reached = {line.split()[2] for line in notes.read_text().splitlines()}
    assert {*expected} <= reached <= {*POINTS}
    disturbed = play(store, tmp_path, killing(killed, kills), changes)
    assert len(list(killed.iterdir())) == len(kills), "each of them was killed"
    assert first_difference(disturbed, undisturbed) is None
    assert disturbed.weights == undisturbed.weights, "training that was killed gave other weights"
