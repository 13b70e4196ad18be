"""Pruning: deletes the files of checkpoints that neither their run nor a fork of it needs.

A run needs the policy it plays with, the one it is about to finish, and its reference. Only checkpoints of the run
itself are deleted: what a fork shares belongs to the run that it was forked from. The rows stay and say when it
happened.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.errors import CheckpointError, ConflictError, MissingObjectError
from eva.solver.manifest import CREATOR, MANIFEST, checkpoint_place, is_stored, located, read_manifest
from eva.solver.served_adapters import serves_adapters
from eva.storage.places import belongs_to, run_place
from eva.storage.stored_folder import StoredFolder
from eva.storage.stored_manifests import is_complete, kept_copy, read_stored_manifest
from eva.types import PLAYERS, Player
from store.game import checkpoints
from store.rows import CheckpointRow, HolderRow, RunRow
from store.runs import events, token_files
from store.views.report import HeldoutScore, heldout_scores

Keep = Literal["all"] | tuple[str | int, ...]
"""Which checkpoints a user wants: all of them, or `last`, `best` and numbers."""

OVER = ("finished", "cancelled")
_DOOMED = ".pruned-"
_OUTSIDE = "it lies outside the run's folder"


@dataclass(frozen=True, slots=True)
class Pruning:
    """The checkpoints that go, of both players, and by number why each other one of the solver stays. `bytes`: what
    their files take."""

    doomed: tuple[CheckpointRow, ...]
    kept: Mapping[int, str]
    bytes: int = 0


def plan_pruning(
    conn: Connection,
    run: RunRow,
    folder: Path,
    keep: Keep,
    *,
    respect_configs: bool = False,
    broken: Collection[Player] = (),
) -> Pruning:
    """What pruning would delete: every checkpoint of the run itself that is not in `keep` and that no run needs.

    `folder`: of the run. `keep` is about the solver's; of a creator with weights of its own the last one stays besides
    what runs need. With `respect_configs`, a checkpoint that a fork shares also stays if the fork's own
    `checkpoints.keep` wants it. `broken`: what `broken_in_store` found, before the transaction.
    Raises ConflictError when `keep` names the best one and nothing was evaluated, or a number that does not exist.
    """
    rows = [row for row in located_rows(checkpoints.read_checkpoints(conn, run.id), folder) if row.pruned_at is None]
    if keep == "all" or not rows:
        return Pruning((), {row.number: "all are kept" for row in rows})
    config = RunConfig.model_validate(run.config)
    scores = heldout_scores(conn, run.id, config.evaluation.success)
    reasons = _wanted(run, keep, rows, scores)
    for number in needed(run.status, run.iteration, config) - reasons.keys():
        reasons[number] = "the run needs it to go on"
    if serves_adapters(config.training) and run.status not in OVER:
        reasons.setdefault(0, "the engines have its weights below the adapters")
    reasons = _of_other_runs(conn, run, rows, respect_configs=respect_configs) | reasons
    damaged = _is_damaged(rows[-1], broken)
    for row in rows:
        if damaged:
            reasons.setdefault(row.number, "the newest checkpoint is not whole")
        if not _lies_in(row, folder, run.stored_name):
            reasons.setdefault(row.number, _OUTSIDE)
    kept_paths = {row.path: row.number for row in rows if row.number in reasons}
    for row in rows:
        if row.path in kept_paths:
            reasons.setdefault(row.number, f"its files are those of checkpoint {kept_paths[row.path]}")
    doomed = tuple(row for row in rows if row.number not in reasons)
    doomed += _doomed_of_creator(conn, run, folder, config, broken, respect_configs=respect_configs)
    present = {row.number for row in rows}
    kept = {number: why for number, why in sorted(reasons.items()) if number in present}
    return Pruning(doomed, kept, _bytes(doomed, folder))


def _doomed_of_creator(
    conn: Connection,
    run: RunRow,
    folder: Path,
    config: RunConfig,
    broken: Collection[Player],
    *,
    respect_configs: bool,
) -> tuple[CheckpointRow, ...]:
    """The creator's checkpoints that go; none if the newest one here is not whole."""
    rows = located_rows(checkpoints.read_checkpoints(conn, run.id, "creator"), folder)
    if rows and rows[-1].pruned_at is None and _is_damaged(rows[-1], broken):
        return ()
    kept = {row.number for row in rows[-1:]} | _needed_of_creator(rows, run.status, run.iteration, config)
    kept |= _of_other_runs(conn, run, rows, respect_configs=respect_configs).keys()
    return tuple(
        row
        for row in rows
        if row.pruned_at is None and row.number not in kept and _lies_in(row, folder, run.stored_name)
    )


def mark(
    conn: Connection,
    run: RunRow,
    folder: Path,
    keep: Keep,
    *,
    respect_configs: bool = False,
    broken: Collection[Player] = (),
) -> Pruning:
    """Records the pruning of a run in the caller's transaction, and an event. `delete` comes after its commit.

    Raises as `plan_pruning` does.
    """
    checkpoints.lock_files(conn, shared=False)
    pruning = plan_pruning(conn, run, folder, keep, respect_configs=respect_configs, broken=broken)
    if pruning.doomed:
        _record(conn, run, pruning, "checkpoints_pruned")
    return pruning


def mark_purged(conn: Connection, run: RunRow, folder: Path) -> Pruning:
    """Records, in the caller's transaction, that a deleted run gives up its token records, and the checkpoints that no
    other run uses.

    `delete` and `remove_rest` come after its commit.
    """
    checkpoints.lock_files(conn, shared=False)
    purging = plan_purging(conn, run, folder)
    token_files.mark_token_files_pruned(conn, run.id, range(run.iteration + 1))
    _record(conn, run, purging, "purged")
    return purging


def plan_purging(conn: Connection, run: RunRow, folder: Path) -> Pruning:
    """What purging would delete: the run's own checkpoints that no other run needs or keeps by its config."""
    doomed: list[CheckpointRow] = []
    kept: dict[int, str] = {}
    for player in PLAYERS:
        all_rows = located_rows(checkpoints.read_checkpoints(conn, run.id, player), folder)
        rows = [row for row in all_rows if row.pruned_at is None]
        outside = {row.number: _OUTSIDE for row in rows if not _lies_in(row, folder, run.stored_name)}
        reasons = _of_other_runs(conn, run, rows, respect_configs=True) | outside
        doomed += [row for row in rows if row.number not in reasons]
        kept |= reasons if player == "solver" else {}
    return Pruning(tuple(doomed), dict(sorted(kept.items())), _bytes(doomed, folder))


def _record(conn: Connection, run: RunRow, pruning: Pruning, kind: str) -> None:
    """Marks the checkpoints that are to go, and stores an event of this kind."""
    if pruning.doomed:
        checkpoints.mark_pruned(conn, [row.path for row in pruning.doomed])
    numbers = {player: [row.number for row in pruning.doomed if row.player == player] for player in PLAYERS}
    own = {"creator": numbers["creator"]} if numbers["creator"] else {}
    events.append_event(conn, run.id, kind, {"numbers": numbers["solver"], "bytes": pruning.bytes, **own})


def _of_other_runs(
    conn: Connection, run: RunRow, rows: list[CheckpointRow], *, respect_configs: bool
) -> dict[int, str]:
    """Why checkpoints stay that other runs need, by number."""
    reasons: dict[int, str] = {}
    for holder in checkpoints.read_holders(conn, [row.path for row in rows]):
        if holder.run_id != run.id and _needs(conn, holder, respect_config=respect_configs):
            for row in rows:
                if checkpoint_place(row.path) == holder.path:
                    reasons.setdefault(row.number, f"{holder.name} needs it")
    return reasons


def remove_rest(folder: Path, logs: Path) -> None:
    """Removes the logs of a purged run, and what else lies in its folder: all but the checkpoints that others need."""
    shutil.rmtree(logs, ignore_errors=True)
    _remove_all_but_checkpoints(folder / CREATOR)
    _remove_all_but_checkpoints(folder)


def _remove_all_but_checkpoints(folder: Path) -> None:
    for entry in folder.glob("*"):
        if entry.name == CREATOR and entry.is_dir():
            continue  # not empty, or it would be gone: others need a checkpoint in it
        if entry.is_file() or not (entry / MANIFEST).is_file():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty: a checkpoint stays
        folder.rmdir()


def remove_stored_rest(run: RunRow, folder: Path) -> None:
    """Removes the policies inside an iteration that a purged run has left in its store. Raises StorageError."""
    store = RunConfig.model_validate(run.config).checkpoints.store
    if store is not None:
        StoredFolder(run_place(store, folder, run.stored_name)).folder("inside").delete()


def _lies_in(row: CheckpointRow, folder: Path, stored_name: str) -> bool:
    return belongs_to(row.path, stored_name) if is_stored(row.path) else Path(row.path).is_relative_to(folder)


def delete(rows: Iterable[CheckpointRow], folder: Path, stored_name: str) -> None:
    """Deletes the files of the pruned ones among these checkpoints, as far as they are the run's own.

    Nobody sees a part of a checkpoint: it loses its name, or its manifest, first. Pass all checkpoints of the run: what
    an earlier process marked and could not delete goes, too. Raises OSError, StorageError.
    """
    for path in {row.path for row in located_rows(rows, folder) if row.pruned_at is not None}:
        if is_stored(path):
            if belongs_to(path, stored_name):
                StoredFolder(path).delete()
        elif Path(path).is_relative_to(folder) and Path(path).is_dir():
            Path(path).rename(folder / f"{_DOOMED}{uuid.uuid4().hex[:8]}")
    for doomed in folder.glob(f"{_DOOMED}*"):
        shutil.rmtree(doomed)


def located_rows(rows: Iterable[CheckpointRow], folder: Path) -> list[CheckpointRow]:
    """Returns checkpoints with their places as they are now. `folder`: of the run."""
    return [replace(row, path=located(row.path, folder.parent)) for row in rows]


def needed(status: str, iteration: int, config: RunConfig) -> set[int]:
    """The checkpoints that a run needs to play on from this iteration: none if it is over."""
    if status in OVER or iteration >= config.iterations:
        return set()
    return {iteration + 1, *config.training.policies_needed(iteration)}


def _needed_of_creator(rows: Iterable[CheckpointRow], status: str, iteration: int, config: RunConfig) -> set[int]:
    """The checkpoints, of these of a run's creator, with which it plays on from this iteration: none if it is over."""
    creator = config.evolving.creator
    if creator is None or status in OVER or iteration >= config.iterations:
        return set()
    writing = max((row.number for row in rows if row.number <= iteration), default=0)
    return {writing, iteration + 1, *([0] if creator.training.reference == "initial" else [])}


def is_whole(row: CheckpointRow) -> bool:
    """Whether a checkpoint has its recorded manifest and every file in full length. Digests of files are not read."""
    folder = Path(row.path)
    try:
        manifest = read_manifest(folder)
        return manifest.digest == row.digest and all(
            (folder / file.path).stat().st_size == file.size for file in manifest.files
        )
    except (CheckpointError, OSError):
        return False


def _is_damaged(row: CheckpointRow, broken: Collection[Player]) -> bool:
    return row.player in broken if is_stored(row.path) else not is_whole(row)


def broken_in_store(rows: Sequence[CheckpointRow]) -> set[Player]:
    """Returns the players whose newest checkpoint is in a store and not complete. Asks it: raises StorageError.

    `rows`: checkpoints of both players. Digests of files are not read.
    """
    newest: dict[Player, CheckpointRow] = {row.player: row for row in rows if row.pruned_at is None}
    return {player for player, row in newest.items() if is_stored(row.path) and not _is_stored_whole(row)}


def _is_stored_whole(row: CheckpointRow) -> bool:
    try:
        manifest = read_stored_manifest(row.path, row.digest)
    except (CheckpointError, MissingObjectError):
        return False
    return is_complete(manifest, StoredFolder(row.path).sizes())


def best_checkpoint(scores: Iterable[HeldoutScore]) -> int | None:
    """The checkpoint with the highest mean reward of greedy responses, each held-out set counting alike; among equals
    the newest. None if nothing was evaluated."""
    rewards: dict[int, list[float]] = {}
    for score in scores:
        if score.mode == "greedy" and score.reward is not None:
            rewards.setdefault(score.checkpoint, []).append(score.reward)
    means = {number: sum(values) / len(values) for number, values in rewards.items()}
    return max(means, key=lambda number: (means[number], number), default=None)


def require_weights(rows: Collection[CheckpointRow], run: RunRow, at: int, config: RunConfig) -> None:
    """Raises ConflictError if a fork at this iteration would need a checkpoint that was pruned.

    `rows`: checkpoints of both players.
    """
    of = {player: [row for row in rows if row.player == player] for player in PLAYERS}
    wanted = {
        "solver": needed("created", at, config),
        "creator": _needed_of_creator(of["creator"], "created", at, config),
    }
    for player, own in of.items():
        missing = [
            row for row in own if row.pruned_at is not None and row.number <= at and row.number in wanted[player]
        ]
        if missing:
            left = [str(row.number) for row in own if row.pruned_at is None]
            raise ConflictError(
                f"a fork of {run.name} at iteration {at} needs {missing[0].title}, which was pruned",
                expected=f"an iteration whose checkpoint still has its files: {', '.join(left) or 'there is none'}",
                next_move="Fork at such an iteration, or start a new run",
            )


def _wanted(
    run: RunRow, keep: Collection[str | int], rows: list[CheckpointRow], scores: list[HeldoutScore]
) -> dict[int, str]:
    """The reasons for keeping what the user named, by number."""
    reasons: dict[int, str] = {}
    for name in keep:
        if name == "last":
            reasons.setdefault(rows[-1].number, "it is the last")
        elif name == "best":
            best = best_checkpoint(scores)
            if best is None:
                raise ConflictError(
                    f"no checkpoint of {run.name} was evaluated, so it is not known which is the best",
                    expected="a run with held-out prompts (evaluation.sets)",
                    next_move="Name what to keep by number, or keep the last",
                )
            reasons.setdefault(best, "it is the best")
        elif isinstance(name, int) and name in {row.number for row in rows}:
            reasons.setdefault(name, "you named it")
        else:
            raise ConflictError(
                f"run {run.name} has no checkpoint {name}",
                expected=f"`last`, `best`, or one of {', '.join(str(row.number) for row in rows)}",
                next_move=f"List them with `eva checkpoints list {run.name}`",
            )
    return reasons


def _needs(conn: Connection, holder: HolderRow, *, respect_config: bool) -> bool:
    """Whether another run needs these files: to go on, as its result, or (`respect_config`) because it keeps them."""
    config = RunConfig.model_validate(holder.config)
    if holder.player == "creator":
        own = checkpoints.read_checkpoints(conn, holder.run_id, "creator")
        of_creator = _needed_of_creator(own, holder.status, holder.iteration, config)
        wanted = of_creator or {holder.newest}
        return holder.number in wanted or (respect_config and config.checkpoints.keep == "all")
    numbers = needed(holder.status, holder.iteration, config) or {holder.newest}
    if respect_config:
        keep = config.checkpoints.keep
        if keep == "all":
            return True
        if "best" in keep:
            best = best_checkpoint(heldout_scores(conn, holder.run_id, config.evaluation.success))
            numbers |= set() if best is None else {best}
    return holder.number in numbers


def _bytes(rows: Iterable[CheckpointRow], folder: Path) -> int:
    """The size of their files; of stored ones as far as this machine keeps copies of their manifests."""
    total = 0
    for path, digest in {row.path: row.digest for row in rows}.items():
        try:
            manifest = kept_copy(digest, folder.parents[1]) if is_stored(path) else read_manifest(Path(path))
        except (CheckpointError, OSError):
            continue
        total += 0 if manifest is None else manifest.bytes
    return total
