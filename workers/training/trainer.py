"""The role `Trainer`: jobs run in one long-lived process, which is watched and replaced."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import ray
from ray.exceptions import (
    ActorUnschedulableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from eva.config import Model, RunConfig, Training
from eva.errors import EvaError, NoRoomError, TrainingFailedError
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import disk_full_cause, disk_full_error
from eva.runtime.logs import WorkerLog, process_log_context
from eva.runtime.worker_reports import Incident, IncidentListener, StepListener, WorkerStatus, ignore_incident
from eva.solver.manifest import is_stored
from eva.storage.places import credentials_for
from eva.storage.stored_manifests import keep_copy
from eva.types import Checkpoint, Player, TrainingJob, TrainingResult, TrainingStep
from workers.cluster.actors import find_process, lost_machine, stop_actor
from workers.cluster.environment import training_environment
from workers.cluster.room import Room, beside_gpus
from workers.cluster.secrets import NO_SECRETS, Secrets, hub_secrets, read_secrets
from workers.models.model_folder import is_hub_id

if TYPE_CHECKING:
    from workers.training.chunks.chunk_job import Residence

_DEATHS = (
    RayActorError,
    ActorUnschedulableError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    GetTimeoutError,
)
_RETRIES = 2
_BACKOFF_S = 1.0
_FETCH_S = 60.0
_POLL_S, _LOOK_S = 0.2, 5.0
_TAIL_LINES = 15
log = logging.getLogger(__name__)


class TrainingProcess:
    """What runs in the actor: one job at a time. A second thread answers questions about its steps."""

    def __init__(self, log: WorkerLog) -> None:
        self._steps: list[tuple[TrainingStep, int]] = []
        self._notes, self._doing = 0, "a job"
        self._residence: Residence | None = None
        self._used = ExitStack()
        log.begin()

    def log_to(self, log: WorkerLog) -> None:
        """Continues in another log file: the jobs are another run's from now on."""
        log.begin()

    def warm(self) -> None:
        """Imports what a job needs, which takes many seconds once."""
        self._job_module()

    def publish_initial(
        self, model: Model, training: Training, folder: str, secrets: Secrets, *, engines_on_gpu: bool
    ) -> Checkpoint:
        job_module = self._job_module()
        from workers.training.stored.stored_job import publish_stored_model

        secrets.install()
        if is_stored(folder):
            return publish_stored_model(model, training, folder, engines_on_gpu=engines_on_gpu)
        return job_module.publish_model(model, training, Path(folder), engines_on_gpu=engines_on_gpu)

    def train(
        self,
        job: TrainingJob,
        training: Training,
        model: Model,
        files: Mapping[str, bytes] | None = None,
        secrets: Secrets = NO_SECRETS,
        *,
        engines_on_gpu: bool,
    ) -> TrainingResult:
        """Runs a job. `files` and `secrets` are those of a job whose checkpoints are in a store."""
        run_job = self._job_module().run_job
        from workers.training.chunks.chunk_job import Residence
        from workers.training.stored.stored_job import run_stored_job

        self._residence = self._residence or Residence()
        self._steps = []
        secrets.install()
        used = ExitStack()
        run = run_job if files is None else partial(run_stored_job, files=files, used=used)
        with process_log_context(iteration=job.iteration, stage="train"):
            log.info("trains checkpoint %d from %s", job.number, job.policy.path)
            try:
                return run(
                    job,
                    training=training,
                    model=model,
                    engines_on_gpu=engines_on_gpu,
                    report=lambda step, total: self._steps.append((step, total)),
                    note=self._note,
                    residence=self._residence,
                )
            finally:
                # The trainer that stays reads the copies of its policy until the next job.
                before, self._used = self._used, used
                before.close()

    @staticmethod
    def _job_module() -> Any:
        """Imports what a job needs. Trainers collect garbage often, and would go through all of the libraries' objects
        each time, which takes as long as a small training step: those are exempt from then on."""
        known = sys.modules.get("workers.training.job")
        if known is None:
            known = import_module("workers.training.job")
            gc.collect()
            gc.freeze()
        return known

    @ray.method(concurrency_group="watch")
    def progress_since(self, count: int) -> tuple[list[tuple[TrainingStep, int]], int, str]:
        """Returns the steps after the first `count`, the number of notes, and the last note."""
        return self._steps[count:], self._notes, self._doing

    def _note(self, doing: str) -> None:
        self._notes, self._doing = self._notes + 1, doing


@dataclass(frozen=True, slots=True)
class KeptProcess:
    """A training process that a run has left running, with the environment that it was started in."""

    actor: Any
    located: Any
    environment: Mapping[str, str]

    def end(self) -> None:
        """Ends the process."""
        stop_actor(self.actor, self.located)


class LocalTrainer:
    """Trains in a Ray actor beside the engines. As a context manager it ends the process.

    A process that dies, or makes no progress for `training.timeout_s`, is replaced and its job repeated, twice at most;
    a machine that was lost does not count. A job that needs GPUs waits until machines have them free, and they are
    asked of the cluster meanwhile. The library's output goes to `logs/trainer.log`.
    """

    def __init__(
        self,
        config: RunConfig,
        logs: Path,
        creator: Path | None = None,
        *,
        notice: IncidentListener = ignore_incident,
        kept: KeptProcess | None = None,
        data_dir: Path | None = None,
    ) -> None:
        """
        Args:
            creator: a folder with the creator's first weights, where the config does not name one.
            kept: a process that another run has left. It is taken over if it fits this run, and ended otherwise.
            data_dir: where copies of the manifests of stored checkpoints are kept.
        """
        self._config, self._log, self._creator = config, logs / "trainer.log", creator
        self._data_dir = data_dir
        self._on_gpu = config.fleet.gpus_per_engine > 0
        self._notice = notice
        self._actor: Any = None
        self._located: Any = None
        self._stays = False
        if kept is not None:
            self._take_over(kept)
        self._working: WorkerStatus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process. A running job is lost and leaves nothing behind."""
        if self._actor is not None:
            stop_actor(self._actor, self._located)
            self._actor = None
        self._stays = False

    def release(self) -> KeptProcess | None:
        """Returns the process, which another run's trainer takes over; None if there is none."""
        actor, self._actor = self._actor, None
        return None if actor is None else KeptProcess(actor, self._located, self._environment())

    def warm(self) -> None:
        """Starts the process and its imports, if a machine has what it needs. Returns at once."""
        if not self._on_gpu or beside_gpus():
            self._process().warm.remote()

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        """Publishes the initial model of a player as checkpoint 0 below `folder`, with its canary. Idempotent.

        Raises ModelError, DiskFullError, StorageError, TrainingFailedError.
        """
        model = self._config.model_of(player)
        if player == "creator" and self._creator is not None:
            model = model.model_copy(update={"path": str(self._creator)})
        secrets = hub_secrets(needed=is_hub_id(model.path)).and_those(credentials_for(folder))
        training = self._config.training_of(player)
        return self._published(self._ask("publish_initial", (model, training, folder, secrets)))

    def train(self, job: TrainingJob, report: StepListener) -> TrainingResult:
        """Trains and publishes. A valid checkpoint of this job is returned as it is.

        `report(step, total_steps)` is called for each logged step, again from the first one after a retry. An
        exception in it ends the job. Raises TrainingFailedError, CheckpointError, ConfigError, DiskFullError,
        StorageError, NoRoomError.
        """
        config, player = self._config, job.player
        arguments: tuple[Any, ...] = (job, config.training_of(player), config.model_of(player))
        if is_stored(job.folder):
            paths = [chunk.pairs_path for chunk in job.chunks] or [job.pairs_path]
            files = {path: Path(path).read_bytes() for path in paths}
            arguments += (files, read_secrets(credentials_for(job.folder)))
        result: TrainingResult = self._ask("train", arguments, report)
        if job.hand_over is None:
            self._published(result.checkpoint)
        return result

    def _published(self, checkpoint: Checkpoint) -> Checkpoint:
        """Proves that a checkpoint in a store is there, and keeps a copy of its manifest on this machine."""
        if is_stored(checkpoint.path) and self._data_dir is not None:
            keep_copy(checkpoint.path, checkpoint.digest, self._data_dir)
        return checkpoint

    def _ask(self, method: str, arguments: tuple[Any, ...], report: StepListener | None = None) -> Any:
        death: Exception | None = None
        attempt = 0
        while attempt <= _RETRIES:
            try:
                if self._on_gpu and method == "train" and arguments[1].enabled and not self._stays:
                    self._await_gpus(arguments[1].devices)
                actor = self._process()
                call = getattr(actor, method).remote(*arguments, engines_on_gpu=self._on_gpu)
                reach("trainer.dispatched")
                answer = self._follow(actor, call, report)
                reach("trainer.answered")
                self._stays = method == "train" and arguments[0].hand_over is not None
                if self._on_gpu and not self._stays:
                    # A process keeps GPU memory that it once allocated, and the engines need the whole device.
                    self.close()
                return answer
            except RayTaskError as error:
                raise self._failure(error.cause) from error
            except _DEATHS as error:
                death = error
                with_machine = lost_machine(error, self._located)
                self.close()
                self._tell(method, attempt, error, with_machine)
                attempt += not with_machine
            except BaseException:
                # The caller leaves (a lost lease, Ctrl-C): nobody waits for the job any more.
                self.close()
                raise
        raise TrainingFailedError(
            f"The training process ended {1 + _RETRIES} times without a checkpoint ({_first_line(death)}). "
            f"The end of its log:\n{self._end_of_log()}",
            next_move=f"Read {self._log}; a process that was killed often ran out of memory",
        )

    def at_work(self) -> list[WorkerStatus]:
        """Returns what the process is working on. Safe to call from another thread."""
        working = self._working
        return [] if working is None else [working]

    def _await_gpus(self, devices: int) -> None:
        """Waits until machines have the job's GPUs free. Raises NoRoomError after `fleet.start_s`."""
        limit, since = self._config.fleet.start_s, time.monotonic()
        room = Room(*[{"GPU": 1}] * devices)
        try:
            while (missing := room.missing()) is not None:
                waited = time.monotonic() - since
                self._working = WorkerStatus("training process", f"waiting for room: {missing}", waited)
                if waited > limit:
                    raise NoRoomError(
                        f"no machines have had room for the training for {waited:.0f} s: {missing}",
                        expected=f"{devices} free GPUs (training.devices)",
                        next_move="Add machines to the cluster or free some, then resume the run; with "
                        "training.sync_every the engines keep their GPUs while the training has its own",
                    )
                time.sleep(_POLL_S)
        finally:
            self._working = None
            room.release()  # Ray Train reserves them for its own processes

    def _tell(self, method: str, attempt: int, error: Exception, with_machine: bool) -> None:
        why, last = _first_line(error), attempt == _RETRIES and not with_machine
        pause_s = 0.0 if last else _BACKOFF_S * 2.0**attempt
        then = "the job is given up" if last else f"the job starts again after {pause_s:.0f} s"
        self._notice(
            Incident(
                "trainer_lost",
                f"the training process was lost: {why}; {then}",
                {"reason": why, "job": method, "attempt": attempt + 1, "pause_s": pause_s},
            )
        )
        time.sleep(pause_s)

    def _follow(self, actor: Any, call: Any, report: StepListener | None) -> Any:
        """Follows the steps until the call ends. Raises GetTimeoutError after too long without progress."""
        try:
            return self._heard(actor, call, report)
        finally:
            self._working = None

    def _heard(self, actor: Any, call: Any, report: StepListener | None) -> Any:
        patience, heard = self._config.training.timeout_s, time.monotonic()
        seen, known, doing = 0, 0, "a job"
        while True:
            done, _ = ray.wait([call], timeout=_POLL_S)
            asked, looked = actor.progress_since.remote(seen), time.monotonic()
            # It may never answer: if the process that ran the actor's machine for Ray was killed, nobody tells us.
            while not ray.wait([asked], timeout=_POLL_S)[0]:
                silent_s = time.monotonic() - heard
                self._working = WorkerStatus("training process", f"{doing}, {seen} steps done", silent_s)
                if silent_s > patience:
                    raise GetTimeoutError(f"no progress for {patience:g} s")
                if time.monotonic() - looked > _LOOK_S:
                    looked = time.monotonic()
                    if lost_machine(GetTimeoutError(), self._located):
                        raise GetTimeoutError("its machine does not answer any more")
            steps, notes, doing = ray.get(asked, timeout=_FETCH_S)
            if notes != known:
                known, heard = notes, time.monotonic()
            for step, total in steps:
                seen, heard = seen + 1, time.monotonic()
                if report is not None:
                    report(step, total)
            if done:
                return ray.get(call, timeout=_FETCH_S)
            silent_s = time.monotonic() - heard
            self._working = WorkerStatus("training process", f"{doing}, {seen} steps done", silent_s)
            if silent_s > patience:
                raise GetTimeoutError(f"no progress for {patience:g} s")

    def _process(self) -> Any:
        if self._actor is None:
            # The overloads of `ray.remote` lack concurrency_groups.
            remote: Any = ray.remote
            process = remote(
                num_cpus=0,
                max_restarts=0,
                max_task_retries=0,
                concurrency_groups={"watch": 1},
                runtime_env={"env_vars": self._environment()},
                **(beside_gpus() if self._on_gpu else {}),
            )(TrainingProcess)
            self._actor = process.remote(self._worker_log())
            self._located = find_process(self._actor)
        return self._actor

    def _take_over(self, kept: KeptProcess) -> None:
        if kept.environment != self._environment():
            kept.end()
            return
        self._actor, self._located = kept.actor, kept.located
        self._actor.log_to.remote(self._worker_log())

    def _environment(self) -> dict[str, str]:
        return training_environment(gpu=self._on_gpu)

    def _worker_log(self) -> WorkerLog:
        return WorkerLog(str(self._log.resolve()), "trainer")

    def _failure(self, cause: Exception) -> Exception:
        """The error of a job that raised: eva's own, or one with the library's message."""
        if isinstance(cause, EvaError):
            return cause
        if (full := disk_full_cause(cause)) is not None:
            return disk_full_error(self._log.parent, full)
        return TrainingFailedError(
            f"The training failed: {type(cause).__name__}: {_first_line(cause)}", next_move=f"Read {self._log}"
        )

    def _end_of_log(self) -> str:
        if not self._log.is_file():
            return "(none)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]) or "(none)"


def _first_line(error: Exception | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
