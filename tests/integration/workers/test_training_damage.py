"""A checkpoint with a damaged file is never trained on, and one that a dead job left is made again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eva.config import Model, Training
from eva.errors import CheckpointError
from eva.types import Checkpoint, TrainingJob
from tests.support import tiny_models
from workers.training import checkpoints, job

DAMAGES = ("truncated", "flipped", "missing", "added")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that eva could have published."""
    folder = tiny_models.record_canary(tiny_models.llama(tmp_path_factory.mktemp("policies") / "policy"))
    checkpoints.seal(folder)
    return folder


def damaged(whole: Path, damage: str) -> Iterator[str]:
    """Each file of the checkpoint in turn; it is damaged while its name is held, and whole afterwards."""
    contents = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert {"model.safetensors", "config.json", "canary.json", "tokenizer.json", "manifest.json"} <= contents.keys()
    for name, content in contents.items():
        path = whole / (f"added-{name}" if damage == "added" else name)
        if damage == "missing":
            path.unlink()
        else:
            half = len(content) // 2
            path.write_bytes(
                {
                    "truncated": content[:-1],
                    "added": content,
                    "flipped": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
                }[damage]
            )
        yield name
        path.unlink(missing_ok=True)
        (whole / name).write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["policy", "reference"])
def test_a_job_refuses_every_damaged_file_that_it_starts_from(
    whole: Path, tmp_path: Path, part: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(job, "inspect_model", never)
    sound = tiny_models.record_canary(tiny_models.llama(tmp_path / "sound"))
    other = Checkpoint(0, 0, str(sound), checkpoints.seal(sound))
    mine = Checkpoint(0, 0, str(whole), checkpoints.verify(whole).digest)
    policies = (mine, other) if part == "policy" else (other, mine)
    asked = TrainingJob(1, 0, *policies, str(tmp_path / "pairs"), str(tmp_path / "run"), seed=1)
    for name in damaged(whole, damage):
        with pytest.raises(CheckpointError, match=f"{whole} is not a valid checkpoint"):
            job.run_job(asked, Training(), Model(path=str(whole)))
        assert not list((tmp_path / "run").glob("*checkpoint*")), name
    with pytest.raises(AssertionError, match="it was loaded"):
        job.run_job(asked, Training(), Model(path=str(whole)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_resumed_job_trains_again_if_its_checkpoint_is_damaged(
    whole: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TrainedError(Exception):
        """It would train."""

    def train(*_: object) -> None:
        raise TrainedError

    monkeypatch.setattr(job, "_train_and_publish", train)
    (tmp_path / checkpoints.checkpoint_name(1)).symlink_to(whole)
    mine = Checkpoint(0, 0, str(whole), checkpoints.verify(whole).digest)
    asked = TrainingJob(1, 0, mine, mine, str(tmp_path / "pairs"), str(tmp_path), seed=1)
    for _ in damaged(whole, damage):
        with pytest.raises(TrainedError):
            job.run_job(asked, Training(), Model(path=str(whole)))
