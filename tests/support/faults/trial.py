"""A run that is disturbed any number of times, and the record of what that did to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, select

from eva.config import RunConfig
from orchestrator.launch.registration import register_run
from store.game.checkpoints import read_checkpoints
from store.rows import RunRow
from store.runs import runs
from store.schema.tables import heldout_prompts, heldout_responses, metadata, prompts, responses
from store.session import Store
from store.views.fingerprint import Fingerprint, fingerprint
from tests.support.faults.drivers import Order, Outcome, notebook
from tests.support.faults.game import Asked, Notebook, published

_COMMITS = ("stage.flush.after_commit", "stage.close.after_commit")


class Starts(Protocol):
    """Plays a run in a process of its own."""

    def drive(self, order: Order) -> Outcome: ...


@dataclass
class Trial:
    """One run on fakes. `repeated` and `lost` list breaches of the contract; `recoveries_s` are the times from a kill
    to the first batch that the next driver stores."""

    store: Store
    drivers: Starts
    folder: Path
    database_url: str
    config: RunConfig
    run: RunRow = field(init=False)
    kills: int = 0
    lasts_s: float = 0.0
    """How long the last driver ran."""
    repeated: list[Asked] = field(default_factory=list[Asked])
    lost: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    recoveries_s: list[float] = field(default_factory=list[float])
    _killed_at: float | None = None

    def __post_init__(self) -> None:
        self.run = register_run(self.store, self.config)

    @property
    def notes(self) -> Path:
        """The file with every failpoint that the run's drivers reached: time, process, name."""
        return self.folder / f"{self.run.name}.notes"

    @property
    def status(self) -> str:
        with self.store.transaction() as conn:
            return runs.get_run(conn, self.run.id).status

    @property
    def points(self) -> list[str]:
        """The names of the failpoints that were reached, in order."""
        return [line.split()[2] for line in self.notes.read_text().splitlines()]

    def drive(self, failpoints: str = "", *, kill_after_s: float | None = None) -> Outcome:
        """Starts one more driver for the run, and records breaches of the contract."""
        book = Notebook(notebook(self.folder, self.run.name))
        rows, stored, told = self._rows(), self._stored(), len(book.read())
        outcome = self.drivers.drive(
            Order(
                self.run.name,
                str(self.folder),
                self.database_url,
                ",".join(["*=note:" + str(self.notes), *filter(None, [failpoints])]),
                kill_after_s,
            )
        )
        self.repeated += [asked for asked in book.read()[told:] if asked in stored]
        self.lost += sorted(rows - self._rows(), key=str)
        self._recovered(outcome)
        self.kills, self.lasts_s = self.kills + outcome.killed, outcome.ended - outcome.began
        return outcome

    def finish(self) -> None:
        """Resumes the run without disturbances until it is finished."""
        if self.status != "finished":
            outcome = self.drive()
            assert outcome.status == 0, (self.folder / "driver.log").read_text()[-3000:]
        assert self.status == "finished"

    def fingerprint(self) -> Fingerprint:
        with self.store.transaction() as conn:
            return fingerprint(conn, self.run.id)

    def creator_weights(self) -> list[tuple[int, str]]:
        """The number and digest of each checkpoint of the run's creator, if that has weights of its own."""
        with self.store.transaction() as conn:
            return [(row.number, row.digest) for row in read_checkpoints(conn, self.run.id, "creator")]

    def _recovered(self, outcome: Outcome) -> None:
        lines = [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        if (killed_at := self._killed_at) is not None:
            stored = [float(at) for at, _, name in lines if name in _COMMITS and float(at) > killed_at]
            self.recoveries_s += [at - killed_at for at in stored[:1]]
        self._killed_at = outcome.ended if outcome.killed else None

    def _rows(self) -> set[tuple[Any, ...]]:
        with self.store.transaction() as conn:
            return kept_rows(conn, self.run.id)

    def _stored(self) -> set[Asked]:
        """All finished work: stored responses and published checkpoints."""
        with self.store.transaction() as conn:
            return {*self._responses(conn), *published(self.folder / "runs" / self.run.name)}

    def _responses(self, conn: Connection) -> list[Asked]:
        temperature = self.config.generation.temperature
        asked = conn.execute(
            select(responses.c.checkpoint, prompts.c.text, responses.c.sample)
            .join_from(
                responses, prompts, (prompts.c.run_id == responses.c.run_id) & (prompts.c.number == responses.c.prompt)
            )
            .where(responses.c.run_id == self.run.id)
        )
        held_out = conn.execute(
            select(
                heldout_responses.c.checkpoint,
                heldout_prompts.c.text,
                heldout_responses.c.mode,
                heldout_responses.c.sample,
            )
            .join_from(
                heldout_responses,
                heldout_prompts,
                (heldout_prompts.c.run_id == heldout_responses.c.run_id)
                & (heldout_prompts.c.split == heldout_responses.c.split)
                & (heldout_prompts.c.item == heldout_responses.c.item),
            )
            .where(heldout_responses.c.run_id == self.run.id)
        )
        return [(checkpoint, text, temperature, sample) for checkpoint, text, sample in asked] + [
            (checkpoint, text, 0.0 if mode == "greedy" else 1.0, sample) for checkpoint, text, mode, sample in held_out
        ]


def kept_rows(conn: Connection, run_id: int) -> set[tuple[Any, ...]]:
    """Returns the table and primary key of every row that is stored for a run."""
    tables = [table for table in metadata.sorted_tables if "run_id" in table.c]
    return {
        (table.name, *row)
        for table in tables
        for row in conn.execute(select(*table.primary_key).where(table.c.run_id == run_id))
    }
