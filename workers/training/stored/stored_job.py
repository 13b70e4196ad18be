"""Training jobs of a run whose checkpoints are in an object store. Nothing is read from a disk that machines share.

The job's files come with it, its checkpoints from the store, and it works in a folder of this machine. What it
publishes there goes to the store. If that fails, the folder keeps it for the next attempt.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

import ray

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.runtime.full_disk import full_disk_errors
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.solver.manifest import TRAINING
from eva.storage.stored_folder import StoredFolder
from eva.types import Checkpoint, ChunkPairs, TrainingJob, TrainingResult
from workers.training.checkpoints import checkpoint_name
from workers.training.chunks.chunk_job import KEPT_STEPS, Residence
from workers.training.job import publish_model, read_record, run_job
from workers.training.stored.node_cache import NodeCache, node_cache
from workers.training.stored.publication import find_stored, publish_stored

JobFiles = Mapping[str, bytes]
"""The contents of a job's files, by the paths that it names them with."""


def publish_stored_model(model: Model, training: Training, place: str, *, engines_on_gpu: bool = False) -> Checkpoint:
    """Publishes the run's model as checkpoint 0 below `place`. One that is there is kept.

    Raises ModelError, DiskFullError, StorageError.
    """
    for found, manifest in find_stored(place, checkpoint_name(0)):
        return Checkpoint(0, 0, found, manifest.digest)
    cache = node_cache()
    folder = _work_folder(cache, place)
    with full_disk_errors(folder):
        local = publish_model(model, training, folder, engines_on_gpu=engines_on_gpu)
    return _publish(local, place, cache, ignore_note)


def run_stored_job(
    job: TrainingJob,
    files: JobFiles,
    training: Training,
    model: Model,
    *,
    used: ExitStack,
    engines_on_gpu: bool = False,
    report: StepListener | None = None,
    note: Note = ignore_note,
    residence: Residence | None = None,
) -> TrainingResult:
    """`run_job` for a job whose folder and checkpoints are in a store, and whose `files` are not on this machine.

    `used` holds this machine's copies of its checkpoints until it is closed. A checkpoint of this job that is in the
    store already is returned as it is. Raises what `run_job` raises, and StorageError.
    """
    cache = node_cache()
    folder = _work_folder(cache, job.folder)
    with full_disk_errors(folder):
        local = _localised(job, files, folder)
        if job.hand_over is None:
            note("looks for the checkpoint of an earlier attempt in the store")
            if (earlier := _earlier(local, training, job.folder)) is not None:
                _tidy(job, training, folder)
                return earlier
        local = _with_policies(local, cache, used, note)
        result = run_job(
            local,
            training,
            model,
            engines_on_gpu=engines_on_gpu,
            report=report,
            note=note,
            residence=residence,
        )
    if result.checkpoint == local.policy:  # no step was taken yet
        return replace(result, checkpoint=job.policy)
    published = _publish(result.checkpoint, job.hand_over or job.folder, cache, note)
    _tidy(job, training, folder)
    return replace(result, checkpoint=published)


def _work_folder(cache: NodeCache, place: str) -> Path:
    """The folder of this machine in which jobs of the run at `place` work."""
    folder = cache.root.parent / "work" / PurePosixPath(place).name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _localised(job: TrainingJob, files: JobFiles, folder: Path) -> TrainingJob:
    """The job with paths of this machine. Files keep their content's digest as name, so that chunks never meet."""
    (folder / "jobs").mkdir(exist_ok=True)

    def local(path: str) -> str:
        content = files[path]
        target = folder / "jobs" / f"{hashlib.sha256(content).hexdigest()[:16]}{Path(path).suffix}"
        target.write_bytes(content)
        return str(target)

    inside = None if job.hand_over is None else str(folder / "inside" / PurePosixPath(job.hand_over).name)
    return replace(
        job,
        folder=str(folder),
        pairs_path=local(job.pairs_path) if job.pairs_path else "",
        chunks=tuple(ChunkPairs(local(chunk.pairs_path), chunk.steps) for chunk in job.chunks),
        hand_over=inside,
        machine=f"node:{ray.util.get_node_ip_address()}" if ray.is_initialized() else None,
    )


def _with_policies(job: TrainingJob, cache: NodeCache, used: ExitStack, note: Note) -> TrainingJob:
    def local(checkpoint: Checkpoint) -> Checkpoint:
        copy = used.enter_context(cache.opened(checkpoint.path, checkpoint.digest, note))
        return replace(checkpoint, path=str(copy))

    return replace(
        job,
        policy=local(job.policy),
        reference=local(job.reference),
        initial=None if job.initial is None else local(job.initial),
        earlier=tuple(map(local, job.earlier)),
    )


def _earlier(job: TrainingJob, training: Training, place: str) -> TrainingResult | None:
    """The result of an earlier attempt at this job that is in the store, None without one."""
    for found, manifest in find_stored(place, checkpoint_name(job.number)):
        record = json.loads(StoredFolder(found).read(TRAINING))
        try:
            return read_record(job, training, record, found, manifest.digest)
        except TrainingFailedError:
            continue  # another job made it, as one with another config does
    return None


def _publish(local: Checkpoint, place: str, cache: NodeCache, note: Note) -> Checkpoint:
    stored = publish_stored(Path(local.path), place, note)
    cache.adopt(Path(local.path), local.digest)
    return replace(local, path=stored)


def _tidy(job: TrainingJob, training: Training, folder: Path) -> None:
    """Removes what nobody needs any more: older handed-over policies; after an iteration, its files and all of them."""
    if job.hand_over is None:
        shutil.rmtree(folder / "jobs", ignore_errors=True)
        shutil.rmtree(folder / "inside", ignore_errors=True)
    if training.keep_synced or training.sync_every is None:
        return
    if job.hand_over is None:
        StoredFolder(f"{job.folder}/inside").delete()
        return
    inside = StoredFolder(job.hand_over)
    for older in inside.folders()[:-KEPT_STEPS]:
        inside.folder(older).delete()
