"""Launching a new run: the one way in for `POST /v1/runs`, `eva submit`, `eva drive` and `eva run`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection

from eva.capacity.machines import Machines
from eva.config import RunConfig
from eva.config.admission import admit
from eva.config.allowlist import Allowlist
from eva.config.changes import Change, config_differences
from eva.config.files import absolute_paths, config_from_values, preset_values
from eva.errors import ConflictError
from eva.runtime.redaction import redact_json, secrets_of
from orchestrator.hold.pruning import require_weights
from orchestrator.launch.check_process import FunctionCaller, call_here
from orchestrator.launch.forks import fork_run, require_forkable
from orchestrator.launch.launcher import RestartPolicy, queue_new
from orchestrator.launch.preflight import CheckedRun, check_fork, check_run
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.rows import RunRow
from store.runs import launches, runs
from store.session import Store


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """A config as a client of the API gives it, which may name only what the service allows.

    `preset` or `run` names the config to start from; `values` replace it, and `overrides` (`key.path=value`) come last.
    """

    allowed: Allowlist
    preset: str | None = None
    run: str | None = None
    values: Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()

    def admitted(self, store: Store) -> RunConfig:
        """The config with every allowed name replaced by what it stands for. What it shares with the preset or run that
        it starts from is allowed. Raises ConfigError, NotAllowedError, NotFoundError."""
        base: RunConfig | None = None
        values = self.values
        if self.preset is not None:
            base = config_from_values(preset_values(self.preset), [])
        elif self.run is not None:
            with store.transaction() as conn:
                row = runs.find_run(conn, self.run)
            base = RunConfig.model_validate(row.config)
            if values is not None:
                values = with_hidden(values, redact_json(row.config, secrets_of(row.config, os.environ)), row.config)
        if values is None:
            assert base is not None, "the request names a preset, a run or a config"
            values = base.model_dump(mode="json")
        return admit(config_from_values(values, self.overrides), self.allowed, base)


FindMachines = Callable[[], Machines | None]
ConfigSource = RunConfig | CheckedRun | ClientConfig
"""Of a user of this machine, checked already or not; or of a client."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's name for its request: the same request under the same key gives the same run.

    `body_hash`: digest of the request, to refuse another one under the key. None: the caller compares configs itself.
    """

    name: str
    body_hash: str | None = None


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A new run as its user asks for it.

    `restart`: how often a launcher replaces its driver; None: the caller plays the run, and no launcher does.
    """

    config: ConfigSource
    note: str = ""
    tags: tuple[str, ...] = ()
    restart: RestartPolicy | None = None
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """The run of a request. `new` is false when an earlier request with the same key has stored it."""

    run: RunRow
    new: bool


@dataclass(frozen=True, slots=True)
class CheckedFork:
    """The config of a fork that passed every check, and where it differs from its parent's."""

    config: RunConfig
    changes: tuple[Change, ...]
    checks: tuple[str, ...]


class _KeyTakenError(Exception):
    """Another request has stored a run under the same key in the meantime."""


def launch(
    store: Store, request: LaunchRequest, machines: FindMachines = lambda: None, call: FunctionCaller = call_here
) -> Launched:
    """Checks and stores a new run, and queues it for a launcher if the request asks for that.

    `machines`: returns those that it will play on, if they are known here: it must fit, and its endpoints must answer.
    None for a run that plays elsewhere. `call` makes the checks. Raises subclasses of InputError, and ConflictError
    when the key belongs to another request.
    """

    def store_run(then: Callable[[Connection, RunRow], None]) -> RunRow:
        checked = rehearse(store, request.config, machines(), call)
        return register_run(store, checked.config, checked.material, note=request.note, tags=request.tags, then=then)

    return _once(store, request, store_run)


def rehearse(
    store: Store, config: ConfigSource, machines: Machines | None = None, call: FunctionCaller = call_here
) -> CheckedRun:
    """Checks a new run as `launch` does, and stores nothing. Raises subclasses of InputError."""
    if isinstance(config, CheckedRun):
        return config
    if isinstance(config, ClientConfig):
        config = absolute_paths(config.admitted(store), Path.cwd())
    return call(check_run, config, machines, machines is None)


def launch_fork(
    store: Store,
    parent: RunRow,
    at: int,
    request: LaunchRequest,
    machines: FindMachines = lambda: None,
    call: FunctionCaller = call_here,
) -> Launched:
    """Checks and stores a fork of `parent` that plays from iteration `at`, and queues it like `launch`. Raises as
    `launch` does."""

    def store_fork(then: Callable[[Connection, RunRow], None]) -> RunRow:
        checked = rehearse_fork(store, parent, at, request.config, machines(), call)
        return fork_run(store, parent, at, checked.config, note=request.note, tags=request.tags, then=then)

    return _once(store, request, store_fork)


def rehearse_fork(
    store: Store,
    parent: RunRow,
    at: int,
    config: ConfigSource,
    machines: Machines | None = None,
    call: FunctionCaller = call_here,
) -> CheckedFork:
    """Checks a fork as `launch_fork` does, and stores nothing. Raises as `launch` does."""
    if isinstance(config, ClientConfig):
        config = config.admitted(store)
    elif isinstance(config, CheckedRun):
        config = config.config
    require_forkable(parent, at, config)
    with store.transaction() as conn:
        require_weights(checkpoints.read_checkpoints(conn, parent.id, None), parent, at, config)
    checks = call(check_fork, config, machines, parent.prompt_count)
    return CheckedFork(config, tuple(config_differences(RunConfig.model_validate(parent.config), config)), checks)


def run_of_key(store: Store, key: IdempotencyKey) -> RunRow | None:
    """The run that was stored under this key, or None. Raises ConflictError when another request used the key."""
    with store.transaction() as conn:
        stored = launches.find_by_key(conn, key.name)
        if stored is None:
            return None
        body_hash, run_id = stored
        if key.body_hash is not None and body_hash != key.body_hash:
            raise ConflictError(
                f"the idempotency key {key.name!r} was used for another request",
                expected="the same body under the same key",
                next_move="Send this request with a new key",
            )
        return runs.get_run(conn, run_id)


def with_hidden(values: Any, shown: Any, stored: Any) -> Any:
    """A client's values with the secrets that it was shown as `***` put back: it returns what it could not see."""
    if isinstance(values, Mapping) and isinstance(shown, Mapping) and isinstance(stored, Mapping):
        own, seen, kept = cast("list[Mapping[str, Any]]", [values, shown, stored])
        return {key: with_hidden(value, seen.get(key), kept.get(key)) for key, value in own.items()}
    return stored if values is not None and values == shown else cast("Any", values)


def _once(
    store: Store, request: LaunchRequest, store_run: Callable[[Callable[[Connection, RunRow], None]], RunRow]
) -> Launched:
    """The run of the request's key, or a new one that `store_run` stores with its key and its place in the queue."""
    key = request.key
    if key is not None and (run := run_of_key(store, key)) is not None:
        return Launched(run, new=False)

    def queue(conn: Connection, run: RunRow) -> None:
        if key is not None and launches.find_by_key(conn, key.name) is not None:
            raise _KeyTakenError
        body_hash = key and (key.body_hash or run.config_hash)
        if request.restart is not None:
            queue_new(conn, run, request.restart, key=key and key.name, body_hash=body_hash)
        elif key is not None:
            launches.enqueue(conn, run.id, key=key.name, body_hash=body_hash)
            launches.set_ended(conn, run.id)

    try:
        return Launched(store_run(queue), new=True)
    except _KeyTakenError:
        run = key and run_of_key(store, key)
        assert run is not None, "keys are never deleted"
        return Launched(run, new=False)
