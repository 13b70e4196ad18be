"""Forks: new runs that share the history of another run up to an iteration, and then play with other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.changes import Change, config_differences, when_allowed, when_changeable
from eva.config.files import with_overrides
from eva.errors import ConfigError, ConflictError
from orchestrator.hold.pruning import require_weights
from orchestrator.launch.registration import create_row
from store.game import checkpoints
from store.postgres.planner import PlannerStatistics
from store.rows import RunRow
from store.runs import events, forks, runs
from store.session import Store


def forked_config(parent: RunRow, at: int, overrides: Iterable[str]) -> RunConfig:
    """The parent's config with `key=value` overrides. Raises as `require_forkable` does."""
    config = with_overrides(RunConfig.model_validate(parent.config), overrides)
    require_forkable(parent, at, config)
    return config


def require_forkable(parent: RunRow, at: int, config: RunConfig) -> None:
    """Raises ConflictError for changed keys that the shared history forbids, ConfigError for an unknown iteration."""
    kept = RunConfig.model_validate(parent.config)
    changed = config_differences(kept, config)
    forbidden = [change for change in changed if when_allowed(change.key, kept, config) == "never"]
    if forbidden:
        raise ConflictError(
            f"a fork of {parent.name} cannot change " + ", ".join(change.key for change in forbidden),
            expected="changes of keys that the shared history allows (docs/reference/control.md)",
            next_move="Start a new run with `eva run`",
        )
    _require_one_reward(parent, at, config, changed)
    if not 0 <= at <= parent.iteration:
        raise ConfigError(
            f"--at {at}: run {parent.name} has begun iterations 0 to {parent.iteration}"
            if parent.iteration < kept.iterations
            else f"--at {at}: run {parent.name} has played iterations 0 to {parent.iteration - 1}",
            expected=f"0 to {parent.iteration}",
            next_move="Fork at an iteration whose earlier history is complete",
        )
    if config.iterations <= at:
        raise ConfigError(
            f"a fork at iteration {at} with {config.iterations} iterations has no iteration to play",
            expected=f"an earlier iteration, or iterations set to at least {at + 1}",
            next_move=f"Add --set iterations={at + 1}",
        )


def fork_run(
    store: Store,
    parent: RunRow,
    at: int,
    config: RunConfig,
    *,
    note: str = "",
    tags: tuple[str, ...] = (),
    then: Callable[[Connection, RunRow], None] | None = None,
) -> RunRow:
    """Stores the fork with its share of the history, ready for a driver, and calls `then` in the same transaction.

    Raises ConflictError when it needs a checkpoint that was pruned, InputError if the config names a webhook that does
    not exist.
    """
    changed = config_differences(RunConfig.model_validate(parent.config), config)
    with store.transaction() as conn:
        checkpoints.lock_files(conn, shared=True)
        require_weights(checkpoints.read_checkpoints(conn, parent.id, None), parent, at, config)
        run = create_row(conn, config, note=note, tags=tags)
        shared = forks.copy_history(conn, parent.id, run.id, at)
        PlannerStatistics().inform(conn, run.id)
        events.append_event(
            conn,
            run.id,
            "forked",
            {"from": parent.name, "at": at, "prompts": shared, "changes": [asdict(change) for change in changed]},
        )
        if then is not None:
            then(conn, run)
        return runs.get_run(conn, run.id)


def _require_one_reward(parent: RunRow, at: int, config: RunConfig, changed: list[Change]) -> None:
    """Raises ConflictError for another rewarder where training starts from scratch, with pairs of all iterations."""
    changes = [
        change.key for change in changed if change.key.startswith("reward") and when_changeable(change.key) != "resume"
    ]
    if changes and at and config.training.mode == "scratch":
        raise ConflictError(
            f"a fork of {parent.name} cannot change {', '.join(changes)} while training.mode is scratch",
            expected="pairs of one rewarder, because rewards of different rewarders are never mixed",
            next_move="Add --set training.mode=incremental, or start a new run",
        )
