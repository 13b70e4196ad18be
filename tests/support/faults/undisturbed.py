"""An undisturbed run on fakes, and disturbed runs that must end in the same way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from eva.config import RunConfig
from eva.errors import LeaseTakenError
from eva.roles import Roles
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.hold.database_retry import RETRY_S
from orchestrator.hold.lease import TTL_S
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.views.fingerprint import Fingerprint
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Recorder, always, fake_config, fake_roles

_known: list[Fingerprint] = []

TABLES = (
    "runs",
    "prompts",
    "responses",
    "rewards",
    "quarantines",
    "estimates",
    "evolutions",
    "batches",
    "pairs",
    "checkpoints",
    "training_steps",
    "stages",
    "events",
    "heldout_responses",
    "statistics",
)


@dataclass
class Disturbed:
    """A run that is disturbed, and what its listener hears."""

    store: Store
    folder: Path
    run: RunRow = field(init=False)
    heard: Recorder = field(default_factory=Recorder)
    config: RunConfig = field(default_factory=fake_config)

    def __post_init__(self) -> None:
        self.run = register_run(self.store, self.config)

    def drive(
        self,
        roles: Roles | None = None,
        *,
        through: Store | None = None,
        ttl_s: float = TTL_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """Plays the run from where it stands; `through` is the store that its driver uses."""
        drive(
            through or self.store,
            Settings(self.folder, None, None),
            self.row(),
            self.heard,
            build=always(roles or fake_roles()),
            ttl_s=ttl_s,
            retry_s=retry_s,
        )

    def take_over(self, roles: Roles | None = None) -> None:
        """Plays the run to its end as soon as another driver's lease allows."""
        while True:
            try:
                return self.drive(roles)
            except LeaseTakenError:
                time.sleep(0.1)

    def row(self) -> RunRow:
        with self.store.transaction() as conn:
            return runs.get_run(conn, self.run.id)

    def kinds(self) -> list[tuple[str, int | None, str | None]]:
        """Returns its events without their times."""
        with self.store.transaction() as conn:
            return [(event.kind, event.iteration, event.stage) for event in events.events_after(conn, self.run.id)]

    def rows(self) -> dict[str, list[Any]]:
        """Returns everything that is stored for it, except the lease."""
        with self.store.transaction() as conn:
            return {
                table: sorted(
                    conn.execute(
                        text(f"SELECT t::text FROM {table} t WHERE {'id' if table == 'runs' else 'run_id'} = :run"),  # noqa: S608
                        {"run": self.run.id},
                    ).scalars()
                )
                for table in TABLES
            }

    def fingerprint(self) -> Fingerprint:
        return fingerprint_of(self.store, self.run)


def expected(store: Store, folder: Path) -> Fingerprint:
    """Returns the fingerprint of the undisturbed run, which is played once for all tests."""
    if not _known:
        game = Disturbed(store, folder)
        game.drive()
        _known.append(game.fingerprint())
    return _known[0]


def require_undisturbed(game: Disturbed, folder: Path) -> None:
    """Checks that the run is finished, equals the undisturbed one, and has no event twice."""
    assert game.row().status == "finished"
    assert game.fingerprint() == expected(game.store, folder)
    closed = [kind for kind in game.kinds() if kind[0] in ("stage_closed", "iteration_finished")]
    assert len(closed) == len(set(closed)), "an event was noted twice"
    with game.store.transaction() as conn:
        numbers = [event.seq for event in events.events_after(conn, game.run.id)]
    assert numbers == list(range(1, len(numbers) + 1))
