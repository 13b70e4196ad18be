"""Plays a run: claims it, builds its parts, plays, releases it. The only place that joins the loop to the workers."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from eva.config import RewardConfig, RunConfig
from eva.config.rewards import has_budget
from eva.errors import (
    DiskFullError,
    EngineDiedError,
    EvaError,
    LeaseLostError,
    NoRoomError,
    RayAwayError,
    RunStoppedError,
    StorageError,
    StoreAwayError,
    error_kind,
)
from eva.library_failures import told_failure
from eva.roles import Classifier, Roles, Trainer
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import full_disk_errors
from eva.runtime.logs import process_log_context
from eva.runtime.redaction import hide_secrets, redact_json, secrets_of
from eva.runtime.tracker import Opening, Tracker
from eva.runtime.worker_reports import Incident
from eva.settings import Settings
from eva.solver.manifest import is_stored
from eva.storage.stored_manifests import stored_damage
from eva.types import Checkpoint
from orchestrator.averaging import AverageOutcome, SharedSet, evaluate_average
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.database_retry import RETRY_S, DatabaseRetry
from orchestrator.hold.driver_folder import driver_folder, remove_earlier_folders
from orchestrator.hold.interrupts import interrupt_handlers
from orchestrator.hold.lease import TTL_S, Lease, claim
from orchestrator.hold.orphans import end_orphans, mark_ray_session, process_mark, remove_sessions
from orchestrator.hold.overseer import Overseer, all_answer
from orchestrator.hold.record_files import tidy_record_files
from orchestrator.journal import Journal
from orchestrator.launch.made_models import playground_creator
from orchestrator.launch.resume import require_resumable, require_unchanged
from orchestrator.loop import play
from orchestrator.repair import repair_checkpoints
from orchestrator.tracking.tracking import running_trackers
from orchestrator.warm_workers import Rewarder, WarmWorkers
from orchestrator.watch.listener import Listener
from orchestrator.watch.tracing import NoSpans, Spans, tracing
from store.game.contexts import longest_context
from store.rows import CheckpointRow, JudgeRole, RunRow
from store.runs import events, runs
from store.session import Store
from store.views import costs
from workers.cluster.connection import cluster_watch, ray_connection
from workers.evolvers import build_evolver
from workers.fleet.fleet import start_fleet
from workers.models.classifier import build_classifier
from workers.models.embedding import LocalEmbedder
from workers.models.model_folder import resolve_model
from workers.rewards import build_rewarder, model_class
from workers.rewards.guide import build_guide
from workers.tracking.process import TrackerProcess
from workers.training.checkpoints import damage
from workers.training.trainer import LocalTrainer

RolesBuilder = Callable[[RunConfig, Path, Settings, Overseer], AbstractContextManager[Roles]]
Trackers = Mapping[str, tuple[Tracker, str | None]]

_PASSING = (StoreAwayError, DiskFullError, StorageError, NoRoomError, RayAwayError, EngineDiedError)
"""Errors that end the driver but not the run: it can be resumed when the cause is fixed."""

log = logging.getLogger(__name__)

_STOPPED = {"pause": "paused", "cancel": "cancelled"}


def drive(
    store: Store,
    settings: Settings,
    run: RunRow,
    listener: Listener,
    *,
    build: RolesBuilder | None = None,
    warm: WarmWorkers | None = None,
    trackers: Trackers | None = None,
    ttl_s: float = TTL_S,
    retry_s: float = RETRY_S,
) -> None:
    """Plays a run to its end from wherever it stands, and holds its lease meanwhile.

    The run's row is read again once the lease is held. Raises LeaseTakenError when another driver plays the run,
    ConflictError when it is over or was started with other code (`resume.prepare` accepts changed code), and
    RunStoppedError when it was asked to stop. Ctrl-C, SIGTERM, a full disk, a Ray that does not start, and a database
    that is away for longer than `retry_s` leave the run paused. All finished results are stored in each case.

    `warm`: workers that other runs of this process have left, and where this run leaves its own.
    """
    require_resumable(run)
    retry = DatabaseRetry(store, run.name, listener, retry_s)
    with process_log_context(run=run.name), interrupt_handlers(), claim(store, run, ttl_s, retry) as lease:
        run = retry.call(lambda: _row(store, run.id))
        require_resumable(run)
        require_unchanged(run)
        config = RunConfig.model_validate(run.config)
        folder = _prepared_folder(settings, run, lease)
        overseer = Overseer(listener, config.watchdog)
        secrets = secrets_of(run.config, os.environ)
        trackers = build_trackers(config, settings, run) if trackers is None else trackers
        opening = Opening(run.identity, run.name, redact_json(run.config, secrets))
        with hide_secrets(secrets), tracing(run, lease.fence.fence) as spans:
            claimed = _claimed_run(run, config, folder, store, lease, overseer, spans)
            if build is None:
                longest = claimed.read(lambda conn: longest_context(conn, run.id, config.generation.max_tokens))
                spent = claimed.read(lambda conn: _spent(conn, run.id, config))
                build = partial(build_roles, fence=lease.fence.fence, conversation=longest, spent=spent, warm=warm)
            with (
                running_trackers(claimed, opening, trackers, overseer.notice) as follow,
                _status_updates(claimed, lease),
                full_disk_errors(folder),
                overseer.watching(claimed),
            ):
                follow()
                tidy_record_files(claimed)
                with build(config, folder, settings, overseer) as roles:
                    overseer.at_work, claimed.meter.read = roles.at_work, roles.meter
                    play(roles, Journal(claimed, roles.embedder, roles.classifier))


def repair(
    store: Store, settings: Settings, run: RunRow, listener: Listener, trainer: Trainer | None = None
) -> list[CheckpointRow]:
    """Makes the damaged checkpoints of a run that nobody plays again, and returns them.

    Raises LeaseTakenError, and what `repair_checkpoints` raises.
    """
    with ExitStack() as stack:
        stack.enter_context(process_log_context(run=run.name))
        stack.enter_context(interrupt_handlers())
        lease = stack.enter_context(claim(store, run))
        config, folder = RunConfig.model_validate(run.config), _prepared_folder(settings, run, lease)
        claimed = _claimed_run(run, config, folder, store, lease, listener, NoSpans())

        def start_trainer() -> Trainer:
            stack.enter_context(_marked_connection(settings))
            logs = settings.logs_dir / folder.name
            return stack.enter_context(
                LocalTrainer(
                    config,
                    logs,
                    _creator_folder(config, settings, listener),
                    notice=lambda incident: listener.on_message(incident.text),
                    data_dir=settings.data_dir,
                )
            )

        with full_disk_errors(folder):
            return repair_checkpoints(claimed, start_trainer if trainer is None else lambda: trainer, _damage)


def _claimed_run(
    run: RunRow, config: RunConfig, folder: Path, store: Store, lease: Lease, listener: Listener, spans: Spans
) -> ClaimedRun:
    rewarder = model_class(config.reward).name_of(config.reward)
    return ClaimedRun(run.id, run.name, config, folder, run.stored_name, rewarder, store, lease, listener, spans)


def _damage(place: str, digest: str) -> str | None:
    """What is wrong with a checkpoint, None if every byte is right. Raises StorageError."""
    return stored_damage(place, digest) if is_stored(place) else damage(Path(place), digest)


def check_average(
    settings: Settings, config: RunConfig, policy: Checkpoint, sets: Sequence[SharedSet], listener: Listener
) -> list[AverageOutcome]:
    """Plays the average of several policies against them, with the engines and the evaluator of a run's config.

    Raises what engines and rewarders raise.
    """
    logs = _logs_folder(settings, Path(policy.path).name)

    def notice(incident: Incident) -> None:
        listener.on_message(incident.text)

    with ExitStack() as stack, tempfile.TemporaryDirectory() as views:
        stack.enter_context(_marked_connection(settings))
        fleet = stack.enter_context(
            start_fleet(config, policy.path, logs_dir=logs, views_dir=Path(views) / "serving", notice=notice)
        )
        evaluator = build_rewarder(
            config.evaluation.reward or config.reward,
            hung_s=config.watchdog.rewarder_s,
            room_s=config.fleet.start_s,
            notice=notice,
        )
        stack.callback(evaluator.close)
        return evaluate_average(sets, policy, config.generation.max_tokens, fleet, evaluator)


def _prepared_folder(settings: Settings, run: RunRow, lease: Lease) -> Path:
    """The run's folder, without what earlier drivers have left. Raises DiskFullError."""
    folder = settings.runs_dir / run.folder_name
    with full_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_earlier_folders(folder, lease.fence.fence)
    return folder


@contextmanager
def _status_updates(run: ClaimedRun, lease: Lease) -> Generator[None]:
    """Keeps the status in the run's row true: running, then however the run ends."""
    _set_status(run, "running")
    try:
        run.obey()  # a pause or cancel from before this driver takes effect before anything starts
        yield
    except RunStoppedError:
        desired = run.read(lambda conn: runs.read_desired(conn, run.id))
        _set_status(run, _STOPPED.get(desired, "paused"), last=True)
        raise
    except KeyboardInterrupt:
        if not lease.lost:
            _set_status(run, "paused", last=True)
        raise
    except LeaseLostError:
        raise
    except BaseException as error:
        told = told_failure(error) or error
        if told is not error:
            log.error("%s", told, exc_info=error)
        _set_status(run, "paused" if isinstance(told, _PASSING) else "failed", error=told, last=True)
        if told is error:
            raise
        raise told from error
    _set_status(run, "finished")


def _row(store: Store, run_id: int) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run_id)


def _set_status(run: ClaimedRun, status: str, *, error: BaseException | None = None, last: bool = False) -> None:
    """Writes the status to the run's row and as an event. The `last` write of a driver that stops may fail."""
    message = str(error) if isinstance(error, EvaError) else f"{type(error).__name__}: {error}"

    def change(conn: Connection) -> None:
        runs.set_status(conn, run.id, status, None if error is None else message)
        events.append_event(
            conn, run.id, status, {} if error is None else {"error": message, "kind": error_kind(error)}
        )
        reach("run.status.before_commit")

    log.log(
        logging.INFO if error is None else logging.ERROR, "the run is %s%s", status, f": {message}" if error else ""
    )
    run.spans.set_status(status)
    (run.keep if last else run.tell)(change)
    reach("run.status.after_commit")


@contextmanager
def build_roles(
    config: RunConfig,
    folder: Path,
    settings: Settings,
    overseer: Overseer,
    *,
    fence: int,
    conversation: int = 0,
    spent: Sequence[Mapping[str, float]] = ({}, {}, {}),
    warm: WarmWorkers | None = None,
) -> Generator[Roles]:
    """Builds the real parts: engines, rewarders, evolver, trainer. Starts Ray if it is not running.

    `fence`: of the driver's lease. `conversation`: the most tokens before the text of a prompt. `spent`: what rewarder,
    evaluator and auditor have cost so far. Engines and trainer import their libraries in parallel; the first use waits.
    """
    overseer.on_stage_open(0, "start", 0, 0)
    # An evolver that asks the fleet is built after it. Whatever else can fail does so here, before anything starts.
    evolver = None if config.evolving.asks_fleet else build_evolver(config.evolving)
    guide, (embedder, classifier) = build_guide(config.evolving.guide), _text_models(config)
    model_dir, logs = resolve_model(config.model.path, config.model.revision), _logs_folder(settings, folder.name)
    _end_orphans(overseer)
    with ExitStack() as stack:
        stack.enter_context(_marked_connection(settings))
        stack.enter_context(_watched_cluster(overseer))
        notice = overseer.notice
        trainer = stack.enter_context(_trainer(config, settings, overseer, logs, warm))
        fleet = stack.enter_context(
            start_fleet(
                config,
                model_dir,
                logs_dir=logs,
                views_dir=driver_folder(folder, fence) / "serving",
                conversation=conversation,
                notice=notice,
                kept=warm and warm.take_engines(),
            )
        )
        trainer.warm()
        rewarders = stack.enter_context(_Rewarders(config, overseer, warm))
        rewarder = rewarders.start(config.reward, spent[0])
        evaluator = rewarders.start(reward, spent[1]) if (reward := config.evaluation.reward) else rewarder
        auditor = rewarders.start(reward, spent[2]) if (reward := config.audit.reward) else None
        rewarders.end_unused()
        yield Roles(
            generator=fleet,
            rewarder=rewarder,
            evolver=evolver or build_evolver(config.evolving, fleet),
            trainer=trainer,
            evaluator=evaluator,
            auditor=auditor,
            guide=guide,
            embedder=embedder,
            classifier=classifier,
            at_work=lambda: [status for one in (fleet, trainer, *rewarders.all) for status in one.at_work()],
            meter=fleet.meter,
            rest_rewarders=tuple(each.rest for each in rewarders.all),
        )
        if warm is not None:
            rewarders.release(warm.keep(fleet, model_dir, trainer, rewarders.started))


def _text_models(config: RunConfig) -> tuple[LocalEmbedder | None, Classifier | None]:
    """The models that look at prompts in this process: for meanings, and for categories."""
    path, categories = config.novelty.embedding_model, config.categories
    embedder = None if path is None else LocalEmbedder(path)
    return embedder, None if categories is None else build_classifier(categories)


def _logs_folder(settings: Settings, name: str) -> Path:
    logs = settings.logs_dir / name
    logs.mkdir(parents=True, exist_ok=True)
    return logs


def _trainer(
    config: RunConfig, settings: Settings, overseer: Overseer, logs: Path, warm: WarmWorkers | None
) -> LocalTrainer:
    creator = _creator_folder(config, settings, overseer)
    kept = warm and warm.take_process()
    return LocalTrainer(config, logs, creator, notice=overseer.notice, kept=kept, data_dir=settings.data_dir)


def _creator_folder(config: RunConfig, settings: Settings, listener: Listener) -> Path | None:
    """The folder of the playground's creator, which is made if it has to be; None for another creator, or none."""
    creator = config.evolving.creator
    if creator is None or not creator.of_playground:
        return None
    return playground_creator(settings.data_dir, listener.on_message)


@contextmanager
def _marked_connection(settings: Settings) -> Generator[None]:
    """Connects to Ray; whatever this driver starts there has its mark."""
    with process_mark(), ray_connection(settings):
        mark_ray_session()
        yield


@contextmanager
def _watched_cluster(overseer: Overseer) -> Generator[None]:
    """Has the overseer watch the cluster until it is left."""
    overseer.cluster_loss = cluster_watch()
    try:
        yield
    finally:
        overseer.cluster_loss = all_answer


class _Rewarders:
    """The rewarders of a run. As a context manager it ends those that are not released."""

    def __init__(self, config: RunConfig, overseer: Overseer, warm: WarmWorkers | None) -> None:
        self._hung_s, self._room_s = config.watchdog.rewarder_s, config.fleet.start_s
        self._notice, self._warm = overseer.notice, warm
        self.started: list[tuple[RewardConfig, Rewarder]] = []

    def start(self, config: RewardConfig, cost: Mapping[str, float]) -> Rewarder:
        rewarder = None if self._warm is None else self._warm.take_rewarder(config)
        if rewarder is None:
            rewarder = build_rewarder(config, spent=cost, hung_s=self._hung_s, room_s=self._room_s, notice=self._notice)
        else:
            rewarder.take_over(hung_s=self._hung_s, room_s=self._room_s, notice=self._notice)
        self.started.append((config, rewarder))
        return rewarder

    @property
    def all(self) -> list[Rewarder]:
        """The rewarders that were started."""
        return [rewarder for _, rewarder in self.started]

    def end_unused(self) -> None:
        """Ends those that the last run has left and this one has not taken."""
        if self._warm is not None:
            self._warm.end_rewarders()

    def release(self, kept: Sequence[Rewarder]) -> None:
        self.started = [(config, rewarder) for config, rewarder in self.started if rewarder not in kept]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for _, rewarder in self.started:
            rewarder.close()


def build_trackers(config: RunConfig, settings: Settings, run: RunRow) -> Trackers:
    """Builds the tracking services of the run: by name, the tracker and the name that the run has there."""
    logs = settings.logs_dir / run.folder_name
    return {
        service.name: (
            TrackerProcess(service, folder=settings.data_dir, log=logs / f"tracking-{service.kind}.log"),
            service.run_name,
        )
        for service in config.tracking
    }


def _spent(conn: Connection, run_id: int, config: RunConfig) -> list[Mapping[str, float]]:
    """What rewarder, evaluator and auditor have cost the run so far, by part; empty for one without a budget."""
    evaluator = config.evaluation.reward
    rewarders: tuple[tuple[RewardConfig | None, bool, JudgeRole | None], ...] = (
        (config.reward, True, None if evaluator else "evaluator"),
        (evaluator, False, "evaluator"),
        (config.audit.reward, True, "auditor"),
    )
    return [
        {}
        if reward is None or not has_budget(reward)
        else costs.rewarder_cost(conn, run_id, model_class(reward).name_of(reward), batches=batches, role=role)
        for reward, batches, role in rewarders
    ]


def _end_orphans(overseer: Overseer) -> None:
    """Ends the processes that dead drivers have left on this machine."""
    remove_sessions()
    if orphans := end_orphans():
        names = ", ".join(f"{orphan.name.split(' ')[0]} ({orphan.pid})" for orphan in orphans)
        overseer.notice(
            Incident(
                "reaped",
                f"ended processes that a dead driver had left: {names}",
                {
                    "processes": [
                        {"pid": orphan.pid, "name": orphan.name, "driver": orphan.driver} for orphan in orphans
                    ]
                },
            )
        )
