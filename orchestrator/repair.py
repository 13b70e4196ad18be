"""Trains damaged checkpoints again, from the pairs that the run has stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from eva.errors import CheckpointError, ConflictError
from eva.roles import Trainer
from eva.solver.manifest import is_stored, located
from eva.storage.places import belongs_to
from eva.storage.stored_folder import StoredFolder
from eva.types import Checkpoint, TrainingJob, TrainingStep
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.journal import Journal
from store.game import batches, checkpoints
from store.rows import CheckpointRow

Damage = Callable[[str, str], str | None]
"""What is wrong with the checkpoint at a place, compared with its recorded digest; None if it is whole."""


def repair_checkpoints(run: ClaimedRun, start_trainer: Callable[[], Trainer], damage: Damage) -> list[CheckpointRow]:
    """Publishes again, in order, each recorded checkpoint of the run that is damaged, and returns them.

    The same pairs, seed and policy give the same weights with the same libraries on the same kind of machine. Raises
    CheckpointError where they do not, and ConflictError for a checkpoint that belongs to another run.
    """
    repaired: list[CheckpointRow] = []
    trainer: Trainer | None = None
    for row in run.read(lambda conn: checkpoints.read_checkpoints(conn, run.id, None)):
        place = located(row.path, run.folder.parent)
        if row.pruned_at is not None or (why := damage(place, row.digest)) is None:
            continue
        _require_own(run, row, place, why)
        if is_stored(place):
            StoredFolder(place).unseal()  # what is there does not count as published any more
        run.listener.on_message(f"{row.title} is damaged ({why}); it is made again from what is stored")
        trainer = trainer or start_trainer()
        again = _make_again(run, row, trainer)
        if again.digest != row.digest:
            raise CheckpointError(
                f"{row.title} in run {run.name} was made again with other weights (digest {again.digest})",
                expected=f"the recorded digest, {row.digest}: this needs the same libraries, devices and threads",
                next_move=f"Restore {place} from a backup, or fork the run before iteration {row.number}",
            )
        repaired.append(row)
    return repaired


def _require_own(run: ClaimedRun, row: CheckpointRow, place: str, why: str) -> None:
    stored = is_stored(place)
    folder = PurePosixPath(place).parent
    folder = folder.parent if row.player == "creator" else folder
    owner = folder.name
    if not (belongs_to(place, run.stored_name) if stored else Path(folder) == run.folder):
        raise ConflictError(
            f"{row.title} in run {run.name} is damaged ({why}), and is one of {owner}",
            expected="a damaged checkpoint of the run itself",
            next_move=f"Repair it there: eva checkpoints repair {owner.rpartition('-')[0] if stored else owner}",
        )


def _make_again(run: ClaimedRun, row: CheckpointRow, trainer: Trainer) -> Checkpoint:
    journal = Journal(run)
    if row.number == 0:
        folder = journal.folder if row.player == "solver" else journal.creator_folder
        return trainer.publish_initial(folder, row.player)
    if (job := _job_again(run, row, journal)) is None:
        raise CheckpointError(
            f"run {run.name} has stored nothing from which {row.title} could be trained",
            next_move="Restore its folder from a backup",
        )
    return trainer.train(job, _while_held(run)).checkpoint


def _job_again(run: ClaimedRun, row: CheckpointRow, journal: Journal) -> TrainingJob | None:
    """The job that made a checkpoint; None if there is nothing to learn from."""
    if row.player == "creator":
        start = None if row.parent is None else run.checkpoint(row.parent, "creator")
        return None if start is None else journal.creator_job(row.iteration, start)
    policy = run.checkpoint(row.number - 1)
    batch = run.read(lambda conn: batches.read_batch_numbers(conn, run.id, row.iteration))
    last = journal.chunks(row.iteration, batch)[-1]
    return None if policy is None else journal.training_job(row.iteration, last, policy)


def _while_held(run: ClaimedRun) -> Callable[[TrainingStep, int], None]:
    def report(_step: TrainingStep, _total: int) -> None:
        if run.lease.lost:
            raise run.lease.lost_error()

    return report
