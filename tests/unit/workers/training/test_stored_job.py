"""A job whose checkpoints are in a store works in a folder of its machine, with copies, and publishes what it made."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from eva.config import Model, Training
from eva.errors import StorageError
from eva.storage.stored_folder import StoredFolder
from eva.storage.stored_manifests import stored_damage
from eva.types import Checkpoint, ChunkPairs, TrainingJob, TrainingResult
from workers.training import checkpoints
from workers.training.stored import stored_job
from workers.training.stored.node_cache import node_cache
from workers.training.stored.publication import publish_stored
from workers.training.stored.stored_job import run_stored_job

TRAINING, MODEL = Training(sync_every=4), Model(path="playground")


class Trained:
    """Stands for `run_job`: seals a checkpoint that is made of the job's files, and remembers its jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[TrainingJob] = []
        monkeypatch.setattr(stored_job, "run_job", self)
        monkeypatch.setattr(stored_job, "read_record", self.read_record)

    def __call__(self, job: TrainingJob, *_: Any, **__: Any) -> TrainingResult:
        self.jobs.append(job)
        files = [
            Path(path).read_text() for path in (*(chunk.pairs_path for chunk in job.chunks), job.pairs_path) if path
        ]
        assert (Path(job.policy.path) / "model.safetensors").is_file()
        if not files[-1]:
            return TrainingResult(job.policy, ())
        name = checkpoints.checkpoint_name(job.number) if job.hand_over is None else f"step-{len(files):06d}"

        def write(folder: Path) -> None:
            (folder / "model.safetensors").write_text("+".join(files))
            (folder / "training.json").write_text(json.dumps({"pairs": files}))

        where = Path(job.hand_over or job.folder)
        digest = checkpoints.publish(write, where, name)
        return TrainingResult(Checkpoint(job.number, job.iteration, str(where / name), digest), ())

    def read_record(self, job: TrainingJob, _: Training, record: Any, place: str, digest: str) -> TrainingResult:
        if record["pairs"] != [Path(job.pairs_path).read_text()]:
            raise stored_job.TrainingFailedError("another job made it")
        return TrainingResult(Checkpoint(job.number, job.iteration, place, digest), ())


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.setenv("EVA_CACHE_DIR", str(tmp_path / "cache"))
    return Trained(monkeypatch)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A job of a run in a store, whose policy is not on this machine, and whose file of pairs is nowhere."""
    folder = tmp_path / "made" / checkpoints.checkpoint_name(0)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"policy")
    digest = checkpoints.seal(folder)
    run = f"file://{tmp_path}/bucket/run-1-0123abcd"
    policy = Checkpoint(0, 0, publish_stored(folder, run, lambda _: None), digest)
    shutil.rmtree(folder)
    return TrainingJob(1, 0, policy, policy, "/of/the/driver/pairs.jsonl", run, seed=1)


def run(job: TrainingJob, content: str = "pairs", used: ExitStack | None = None) -> TrainingResult:
    paths = [chunk.pairs_path for chunk in job.chunks] or [job.pairs_path]
    files = {path: f"{content}{number}".encode() if content else b"" for number, path in enumerate(paths)}
    return run_stored_job(job, files, training=TRAINING, model=MODEL, used=used or ExitStack())


def test_a_job_trains_on_this_machine_and_publishes_in_the_store(trained: Trained, job: TrainingJob) -> None:
    with ExitStack() as used:
        result = run(job, used=used)
    assert result.checkpoint.path == f"{job.folder}/checkpoint-0001-{result.checkpoint.digest[:16]}"
    assert stored_damage(result.checkpoint.path, result.checkpoint.digest) is None
    local = trained.jobs[0]
    assert not [path for path in asdict(local).values() if "bucket" in str(path)], "it names nothing of the store"
    assert node_cache().holds(result.checkpoint.digest), "its engines need no download"
    assert not Path(local.pairs_path).exists(), "and nothing is left of the job"


def test_what_an_earlier_attempt_published_is_not_trained_again_and_another_jobs_is_no_obstacle(
    trained: Trained, job: TrainingJob
) -> None:
    first, other = run(job), run(job, content="other pairs")
    assert first.checkpoint.digest != other.checkpoint.digest and len(trained.jobs) == 2
    assert run(job).checkpoint == first.checkpoint and len(trained.jobs) == 2


def test_a_store_that_is_away_costs_the_writing_and_not_the_training(
    trained: Trained, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(StoredFolder, "upload", away)
        with pytest.raises(StorageError):
            run(job)
    kept = Path(trained.jobs[0].folder) / checkpoints.checkpoint_name(1)
    assert checkpoints.is_valid(kept)
    written = run(job).checkpoint
    assert stored_damage(written.path, written.digest) is None and not kept.exists()


def test_policies_inside_an_iteration_are_handed_over_by_the_store_and_the_older_ones_go(
    trained: Trained, job: TrainingJob
) -> None:
    inside = f"{job.folder}/inside/iteration-0000"
    chunks = tuple(ChunkPairs(f"/of/the/driver/pairs-{number}", 4) for number in range(4))
    parts = [replace(job, pairs_path="", chunks=chunks[: count + 1], hand_over=inside) for count in range(3)]
    assert run(replace(parts[0], chunks=chunks[:1]), content="").checkpoint == job.policy, "no step was taken"
    handed = [run(part).checkpoint for part in parts]
    assert all(checkpoint.path.startswith(f"{inside}/step-00000") for checkpoint in handed)
    assert StoredFolder(inside).folders() == [checkpoint.path.rpartition("/")[2] for checkpoint in handed[1:]]
    run(replace(job, pairs_path="", chunks=chunks))
    assert StoredFolder(inside).folders() == []
