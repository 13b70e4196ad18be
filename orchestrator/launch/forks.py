"""A fork: a new run that shares the history of another one up to the start of an iteration, and plays on otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.changes import Change, config_differences, when_changeable
from eva.config.files import config_hash, with_overrides
from eva.errors import ConfigError, ConflictError
from orchestrator.launch.code_identity import code_identity
from store.rows import RunRow
from store.runs import events, forks, runs
from store.session import Store


def forked_config(parent: RunRow, at: int, overrides: Iterable[str]) -> RunConfig:
    """The parent's config with `key=value` overrides. Raises ConfigError, and ConflictError that names the keys
    that the shared history forbids."""
    config = with_overrides(RunConfig.model_validate(parent.config), overrides)
    require_forkable(parent, at, config)
    return config


def require_forkable(parent: RunRow, at: int, config: RunConfig) -> None:
    """Raise ConflictError for keys that the shared history forbids, ConfigError for an iteration that is not there."""
    kept = RunConfig.model_validate(parent.config)
    changed = config_differences(kept, config)
    forbidden = [change for change in changed if when_changeable(change.key) == "never"]
    if forbidden:
        raise ConflictError(
            f"a fork of {parent.name} cannot change " + ", ".join(change.key for change in forbidden),
            expected="keys that the history they share leaves open (docs/reference/control.md)",
            next_move="Start a new run with `eva run`",
        )
    _require_one_reward(parent, at, config, changed)
    if not 0 <= at <= parent.iteration:
        raise ConfigError(
            f"--at {at}: run {parent.name} has begun iterations 0 to {parent.iteration}"
            if parent.iteration < kept.iterations
            else f"--at {at}: run {parent.name} has played iterations 0 to {parent.iteration - 1}",
            expected=f"0 to {parent.iteration}",
            next_move="Fork where its history is complete",
        )
    if config.iterations <= at:
        raise ConfigError(
            f"a fork at iteration {at} of a run of {config.iterations} iterations has none to play",
            expected=f"an earlier iteration, or iterations of at least {at + 1}",
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
    """Store the new run with its share of the history, ready for a driver, and do what is to be done `then`; in one
    transaction."""
    changed = config_differences(RunConfig.model_validate(parent.config), config)
    with store.transaction() as conn:
        run = runs.create_run(
            conn,
            stem=config.name,
            config=config.model_dump(mode="json"),
            note=note,
            tags=tags,
            config_hash=config_hash(config),
            seed=config.seed,
            code=code_identity(config),
        )
        shared = forks.copy_history(conn, parent.id, run.id, at)
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
    """Training from scratch takes the pairs of all iterations, whose rewards must be of one kind."""
    changes = [
        change.key for change in changed if change.key.startswith("reward") and when_changeable(change.key) != "resume"
    ]
    if changes and at and config.training.mode == "scratch":
        raise ConflictError(
            f"a fork of {parent.name} cannot change {', '.join(changes)} while training.mode is scratch",
            expected="pairs of one rewarder: rewards of several are never mixed",
            next_move="Add --set training.mode=incremental, or start a new run",
        )
