"""A new run as somebody elsewhere asks for it: resolved and checked as `eva run` does, stored with its place in the
queue, once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.admission import admit
from eva.config.allowlist import Allowlist
from eva.config.files import absolute_paths, config_from_values
from eva.errors import ConflictError
from orchestrator.launch.forks import fork_run
from orchestrator.launch.launcher import Policy, queue_new
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import launches, runs
from store.session import Store


@dataclass(frozen=True, slots=True)
class Key:
    """What a client calls its request, and a digest of it: asked again, it is answered with the same run."""

    name: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Words:
    """The user's own about a new run."""

    note: str = ""
    tags: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)


class _AskedBeforeError(Exception):
    """Somebody stored a run under the same key meanwhile."""


def resolved(
    given: RunConfig | None, values: Mapping[str, Any] | None, overrides: list[str], allowed: Allowlist
) -> RunConfig:
    """The config that a client means: its own values, or those of a preset or run that is `given`, with overrides,
    every name replaced by what it stands for. Raises ConfigError, NotAllowedError."""
    if values is None:
        assert given is not None, "the request has one source at least"
        values = given.model_dump(mode="json")
    return absolute_paths(admit(config_from_values(values, overrides), allowed, given), Path.cwd())


def unhidden(values: Any, shown: Any, stored: Any) -> Any:
    """A client's values with what it was shown as `***` put back: it sends again what it cannot see."""
    if isinstance(values, dict) and isinstance(shown, dict) and isinstance(stored, dict):
        given, seen, kept = cast("list[dict[str, Any]]", [values, shown, stored])
        return {key: unhidden(value, seen.get(key), kept.get(key)) for key, value in given.items()}
    return stored if values is not None and values == shown else cast("Any", values)


def asked_before(store: Store, key: Key) -> RunRow | None:
    """The run that was stored under this key. Raises ConflictError when something else was asked under it."""
    with store.transaction() as conn:
        found = launches.with_key(conn, key.name)
        if found is None:
            return None
        if found[0] != key.body_hash:
            raise ConflictError(
                f"the idempotency key {key.name!r} was used for another request",
                expected="the same body under the same key",
                next_move="Send this one under a new key",
            )
        return runs.get_run(conn, found[1])


def submit(store: Store, config: RunConfig, words: Words, key: Key | None = None) -> RunRow:
    """Store a run that waits for a driver, or find the one of its key. Raises PromptFileError."""
    return _once(
        store,
        key,
        lambda: register_run(store, config, note=words.note, tags=words.tags, then=_queueing(words.policy, key)),
    )


def run_of_key(store: Store, key: str) -> RunRow | None:
    """The run that was stored under this key, None when there is none."""
    with store.transaction() as conn:
        found = launches.with_key(conn, key)
        return None if found is None else runs.get_run(conn, found[1])


def register_once(store: Store, config: RunConfig, key: str) -> tuple[RunRow, bool]:
    """Store a run under a key for whoever calls to play it: no launcher does. Or the run of the key; and whether it is
    new. Raises PromptFileError."""

    def keep(conn: Connection, run: RunRow) -> None:
        if launches.with_key(conn, key) is not None:
            raise _AskedBeforeError
        launches.enqueue(conn, run.id, key=key, body_hash=run.config_hash)
        launches.set_ended(conn, run.id)

    try:
        return register_run(store, config, then=keep), True
    except _AskedBeforeError:
        found = run_of_key(store, key)
        assert found is not None, "a key that is there stays"
        return found, False


def submit_fork(
    store: Store, parent: RunRow, at: int, config: RunConfig, words: Words, key: Key | None = None
) -> RunRow:
    """Store a fork that waits for a driver, or find the one of its key."""
    return _once(
        store,
        key,
        lambda: fork_run(
            store, parent, at, config, note=words.note, tags=words.tags, then=_queueing(words.policy, key)
        ),
    )


def _queueing(policy: Policy, key: Key | None) -> Callable[[Connection, RunRow], None]:
    def queue(conn: Connection, run: RunRow) -> None:
        if key is not None and launches.with_key(conn, key.name) is not None:
            raise _AskedBeforeError
        queue_new(conn, run, policy, key=key and key.name, body_hash=key and key.body_hash)

    return queue


def _once(store: Store, key: Key | None, make: Callable[[], RunRow]) -> RunRow:
    try:
        return make()
    except _AskedBeforeError:
        found = key and asked_before(store, key)
        assert found is not None, "a key that is there stays"
        return found
