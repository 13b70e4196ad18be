"""What plays a run: claim it, build the roles, play, release. The one place that joins the loop to the workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from eva.config import RewardConfig, RunConfig
from eva.config.rewards import has_budget
from eva.errors import (
    DiskFullError,
    EvaError,
    LeaseLostError,
    NoRoomError,
    RunStoppedError,
    StoreAwayError,
    error_kind,
)
from eva.roles import Roles
from eva.runtime.failpoints import reach
from eva.runtime.logs import process_log_context
from eva.runtime.redaction import hide_secrets, redact_json, secrets_of
from eva.runtime.tracker import Opening, Tracker
from eva.runtime.worker_reports import Incident, WorkerStatus
from eva.settings import Settings
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.database_retry import PATIENCE_S, Patience
from orchestrator.hold.interrupts import interruptible
from orchestrator.hold.lease import TTL_S, Lease, claim
from orchestrator.hold.orphans import end_orphans, mark_session, marked, remove_sessions
from orchestrator.hold.overseer import Overseer
from orchestrator.journal import Journal
from orchestrator.launch.resume import require_resumable, require_unchanged
from orchestrator.loop import play
from orchestrator.tracking.tracking import tracked
from orchestrator.watch.listener import Listener
from orchestrator.watch.tracing import tracing
from store.game.contexts import longest_context
from store.rows import JudgeRole, RunRow
from store.runs import events, runs
from store.session import Store
from store.views import costs
from workers.cluster.connection import connected
from workers.evolvers import build_evolver
from workers.fleet.fleet import start_fleet
from workers.models.embedding import LocalEmbedder
from workers.models.model_folder import resolve_model
from workers.rewards import build_rewarder, model_class
from workers.tracking.process import TrackerProcess
from workers.training.trainer import LocalTrainer

RolesBuilder = Callable[[RunConfig, Path, Settings, Overseer], AbstractContextManager[Roles]]
Trackers = Mapping[str, tuple[Tracker, str | None]]

_PASSING = (StoreAwayError, DiskFullError, NoRoomError)
"""What ends a driver, but not its run: that goes on where it is when the cause is mended."""

log = logging.getLogger(__name__)

_STOPPED = {"pause": "paused", "cancel": "cancelled"}


def drive(
    store: Store,
    settings: Settings,
    run: RunRow,
    listener: Listener,
    *,
    build: RolesBuilder | None = None,
    trackers: Trackers | None = None,
    ttl_s: float = TTL_S,
    patience_s: float = PATIENCE_S,
) -> None:
    """Play a run to its end from wherever it stands, holding its lease all the while.

    What counts is the run's row once the lease is held, not the one that was given. Raises LeaseTakenError when
    another driver plays it, ConflictError when it is over or was started with other code (`resuming.prepare` is
    where a resume accepts that), RunStoppedError when it was asked to stop; KeyboardInterrupt (SIGTERM too) leaves
    it paused. What was finished is stored in each case. A database that is away for longer than `patience_s`, and
    a full disk, leave it paused, too.
    """
    require_resumable(run)
    patience = Patience(store, run.name, listener, patience_s)
    with process_log_context(run=run.name), interruptible(), claim(store, run, ttl_s, patience) as lease:
        run = patience.ask(lambda: _row(store, run.id))
        require_resumable(run)
        require_unchanged(run)
        config = RunConfig.model_validate(run.config)
        folder = settings.runs_dir / run.folder_name
        folder.mkdir(parents=True, exist_ok=True)
        overseer = Overseer(listener, config.watchdog)
        secrets = secrets_of(run.config, os.environ)
        trackers = build_trackers(config, settings, run) if trackers is None else trackers
        opening = Opening(run.identity, run.name, redact_json(run.config, secrets))
        with hide_secrets(secrets), tracing(run, lease.fence.fence) as spans:
            claimed = ClaimedRun(
                run.id,
                run.name,
                config,
                folder,
                model_class(config.reward).name_of(config.reward),
                store,
                lease,
                overseer,
                spans,
            )
            if build is None:
                longest = claimed.read(lambda conn: longest_context(conn, run.id))
                spent = claimed.read(lambda conn: _spent(conn, run.id, config))
                build = partial(build_roles, conversation=longest, spent=spent)
            with (
                tracked(claimed, opening, trackers, overseer.notice) as follow,
                _told(claimed, lease),
                overseer.watching(claimed),
            ):
                follow()
                with build(config, folder, settings, overseer) as roles:
                    overseer.at_work, claimed.meter.read = roles.at_work, roles.meter
                    play(roles, Journal(claimed, roles.embedder))


@contextmanager
def _told(run: ClaimedRun, lease: Lease) -> Generator[None]:
    """The run's row says how it goes and how it ended, whatever happens in between."""
    _tell(run, "running")
    try:
        run.obey()  # whoever asked before this driver was there finds itself obeyed before anything starts
        yield
    except RunStoppedError:
        desired = run.read(lambda conn: runs.read_desired(conn, run.id))
        _tell(run, _STOPPED.get(desired, "paused"), last=True)
        raise
    except KeyboardInterrupt:
        if not lease.lost:
            _tell(run, "paused", last=True)
        raise
    except LeaseLostError:
        raise
    except BaseException as error:
        _tell(run, "paused" if isinstance(error, _PASSING) else "failed", error=error, last=True)
        raise
    _tell(run, "finished")


def _row(store: Store, run_id: int) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run_id)


def _tell(run: ClaimedRun, status: str, *, error: BaseException | None = None, last: bool = False) -> None:
    """Say so in the run's row and as an event; the `last` words of a driver that stops may fail."""
    said = str(error) if isinstance(error, EvaError) else f"{type(error).__name__}: {error}"

    def change(conn: Connection) -> None:
        runs.set_status(conn, run.id, status, None if error is None else said)
        events.append_event(conn, run.id, status, {} if error is None else {"error": said, "kind": error_kind(error)})
        reach("run.status.before_commit")

    log.log(logging.INFO if error is None else logging.ERROR, "the run is %s%s", status, f": {said}" if error else "")
    run.spans.stands(status)
    (run.keep if last else run.tell)(change)
    reach("run.status.after_commit")


@contextmanager
def build_roles(
    config: RunConfig,
    folder: Path,
    settings: Settings,
    overseer: Overseer,
    *,
    conversation: int = 0,
    spent: Sequence[Mapping[str, float]] = ({}, {}, {}),
) -> Generator[Roles]:
    """The real parts: engines, the reward model's actor, the evolver, the trainer. Starts Ray where none runs.

    At most `conversation` tokens stand before the text of a prompt; `spent` is what rewarder, evaluator and auditor
    have cost so far.
    Engines and trainer import their libraries side by side; the first use of each waits for it.
    """
    overseer.opened(0, "start", 0, 0)
    # One that asks the fleet waits for it; all others fail here, before anything starts.
    evolver = None if config.evolving.asks_policy else build_evolver(config.evolving)
    embedder = LocalEmbedder(path) if (path := config.novelty.embedding_model) is not None else None
    model_dir = resolve_model(config.model.path, config.model.revision)
    logs = settings.logs_dir / folder.name
    logs.mkdir(parents=True, exist_ok=True)
    _reap(overseer)
    with ExitStack() as stack:
        stack.enter_context(marked())
        stack.enter_context(connected(settings))
        mark_session()
        trainer = stack.enter_context(LocalTrainer(config, logs, notice=overseer.notice))
        fleet = stack.enter_context(
            start_fleet(
                config,
                model_dir,
                logs_dir=logs,
                views_dir=folder / "serving",
                conversation=conversation,
                notice=overseer.notice,
            )
        )
        trainer.warm()
        rewarders = [
            stack.enter_context(
                closing(build_rewarder(asked, spent=cost, hung_s=config.watchdog.rewarder_s, notice=overseer.notice))
            )
            if asked is not None
            else None
            for asked, cost in zip((config.reward, config.evaluation.reward, config.audit.reward), spent, strict=True)
        ]
        rewarder, evaluator, auditor = rewarders
        assert rewarder is not None

        def at_work() -> list[WorkerStatus]:
            return [work for worker in (fleet, trainer, *rewarders) if worker is not None for work in worker.at_work()]

        yield Roles(
            fleet,
            rewarder,
            evolver or build_evolver(config.evolving, fleet),
            trainer,
            evaluator or rewarder,
            auditor,
            embedder,
            at_work,
            fleet.meter,
        )


def build_trackers(config: RunConfig, settings: Settings, run: RunRow) -> Trackers:
    """The services that are told of the run, by name, and what each calls it."""
    logs = settings.logs_dir / run.folder_name
    return {
        asked.name: (
            TrackerProcess(asked, folder=settings.data_dir, log=logs / f"tracking-{asked.kind}.log"),
            asked.run_name,
        )
        for asked in config.tracking
    }


def _spent(conn: Connection, run_id: int, config: RunConfig) -> list[Mapping[str, float]]:
    """What rewarder, evaluator and auditor have cost the run so far, by part; nothing of one without a budget."""
    evaluator = config.evaluation.reward
    asked: tuple[tuple[RewardConfig | None, bool, JudgeRole | None], ...] = (
        (config.reward, True, None if evaluator else "evaluator"),
        (evaluator, False, "evaluator"),
        (config.audit.reward, True, "auditor"),
    )
    return [
        {}
        if reward is None or not has_budget(reward)
        else costs.rewarder_cost(conn, run_id, model_class(reward).name_of(reward), batches=batches, role=role)
        for reward, batches, role in asked
    ]


def _reap(overseer: Overseer) -> None:
    """End what dead drivers of this machine have left, before anything new starts."""
    remove_sessions()
    if orphans := end_orphans():
        named = ", ".join(f"{orphan.name.split(' ')[0]} ({orphan.pid})" for orphan in orphans)
        overseer.notice(
            Incident(
                "reaped",
                f"ended what a dead driver had left: {named}",
                {
                    "processes": [
                        {"pid": orphan.pid, "name": orphan.name, "driver": orphan.driver} for orphan in orphans
                    ]
                },
            )
        )
