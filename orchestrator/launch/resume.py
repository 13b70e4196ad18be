"""Checks before a run is resumed: config and code must be the same, or the changes must be accepted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eva.config import RunConfig
from eva.config.changes import Change, config_differences, when_allowed
from eva.config.files import config_hash
from eva.errors import ConflictError
from orchestrator.hold.control import exclusive_transaction
from orchestrator.launch.code_identity import code_differences, code_identity, missing_modules
from store.rows import RunRow
from store.runs import events, runs, stages
from store.session import Store

LISTED = 12
"""How many changed files are named; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How config and code differ from those that the run has been played with so far."""

    config: tuple[Change, ...]
    code: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.config or self.code)

    def __str__(self) -> str:
        rest = len(self.code) - LISTED
        lines = [*map(str, self.config), *self.code[:LISTED], *([f"and {rest} more files"] if rest > 0 else [])]
        return "\n".join(f"  {line}" for line in lines)


def changes_of(run: RunRow, config: RunConfig | None = None) -> Changes:
    """The differences of a config (None: the run's own) and of this code from the run's."""
    kept = RunConfig.model_validate(run.config)
    new = config or kept
    code = () if run.code is None else tuple(code_differences(run.code, code_identity(new)))
    return Changes(tuple(config_differences(kept, new)), code)


def prepare(store: Store, run: RunRow, config: RunConfig | None = None, *, accept: bool = False) -> RunRow:
    """Prepares a run for its next driver. Everything that resumes a run calls this first.

    It sets the desired state to `run`. A driver obeys a later wish even while it is still starting. Raises
    ConflictError when the run is over, or when config or code differ and `accept` is false, and LeaseTakenError when a
    driver plays the run.
    """
    require_resumable(run)
    if accept:
        run = accept_changes(store, run, config)
    else:
        require_unchanged(run, config)
    with exclusive_transaction(store, run) as conn:
        require_resumable(runs.get_run(conn, run.id))
        runs.set_desired(conn, run.id, "run")
        return runs.get_run(conn, run.id)


def require_resumable(run: RunRow) -> None:
    """Raises ConflictError when the run is over."""
    if run.status in ("finished", "cancelled"):
        raise ConflictError(
            f"run {run.name} is {run.status}",
            expected="a run that is not over",
            next_move=f"Look at it with `eva show {run.name}`, or fork it from one of its iterations: "
            f"eva fork {run.name} --at {run.iteration}"
            + (f" --set iterations={run.iteration + 1}" if run.status == "finished" else ""),
        )


def require_unchanged(run: RunRow, config: RunConfig | None = None, *, code: bool = True) -> None:
    """Raises ConflictError that lists every difference in the config and, with `code`, in the code."""
    all_changes = changes_of(run, config)
    changes = all_changes if code else replace(all_changes, code=())
    if not changes:
        return
    if not changes.config and (missing := missing_modules(run.code, changes.code)):
        raise ConflictError(
            f"run {run.name} uses {', '.join(missing)}, which cannot be found from the folder {Path.cwd()}",
            expected="the folder that the run was started in, or another one that has these files",
            next_move=f"Go to that folder and call `eva resume {run.name}` there",
        )
    with_config = "another config" if changes.config else ""
    with_code = "other code" if changes.code else ""
    raise ConflictError(
        f"run {run.name} was started with {' and '.join(filter(None, (with_config, with_code)))}:\n{changes}\n",
        expected="the config and code that it was started with, so that one program makes all its decisions",
        next_move=f"{'Leave out the config' if changes.config else 'Go back to that code'}, or add --accept-changes "
        "to resume anyway; the run's events will record the changes",
    )


def accept_changes(store: Store, run: RunRow, config: RunConfig | None = None) -> RunRow:
    """Gives a run the new config and code, and records both values in an event.

    Raises ConflictError for a changed key that the run's history forbids, LeaseTakenError when a driver plays the run.
    """
    changes = changes_of(run, config)
    new = config or RunConfig.model_validate(run.config)
    if not changes and run.code is not None:
        return run
    with exclusive_transaction(store, run) as conn:
        row = runs.get_run(conn, run.id)
        begun = any(stage.iteration == row.iteration for stage in stages.read_stages(conn, run.id))
        _require_allowed(row, new, changes.config, begun)
        runs.set_config(conn, run.id, new.model_dump(mode="json"), config_hash(new), code_identity(new))
        if changes:
            events.append_event(
                conn,
                run.id,
                "changes_accepted",
                {"config": [asdict(change) for change in changes.config], "code": changes.code},
            )
        return runs.get_run(conn, run.id)


def _require_allowed(run: RunRow, config: RunConfig, changed: tuple[Change, ...], begun: bool) -> None:
    allowed = {"resume"} if begun else {"resume", "iteration"}
    kept = RunConfig.model_validate(run.config)
    refused = [change for change in changed if when_allowed(change.key, kept, config) not in allowed]
    if refused:
        never = [change.key for change in refused if when_allowed(change.key, kept, config) == "never"]
        raise ConflictError(
            f"run {run.name} cannot be resumed in iteration {run.iteration} with other values of "
            + ", ".join(change.key for change in refused),
            expected="changes of keys that its history allows (docs/reference/control.md)",
            next_move="Start a new run"
            if never
            else f"Play the iteration again with them: eva fork {run.name} --at {run.iteration} --set …",
        )
    if config.iterations <= run.iteration:
        raise ConflictError(
            f"run {run.name} is in iteration {run.iteration}, but iterations is {config.iterations}",
            expected=f"iterations set to at least {run.iteration + 1}",
            next_move=f"Add --set iterations={run.iteration + 1}",
        )
