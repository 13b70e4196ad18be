"""Ray's jobs in memory: a test says when a driver plays, dies or is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eva.errors import InfrastructureError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.launcher import JobState
from orchestrator.watch.listener import NoListener
from store.runs import runs
from store.session import Store
from tests.support.fakes import always, fake_roles


@dataclass
class FakeJobs:
    """Jobs by name with the arguments of their process. `submissions` counts requests: one job may have several."""

    jobs: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, JobState] = field(default_factory=dict)
    submissions: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    away: bool = False
    printed: str = "eva: it hurt"

    def submit(self, job: str, arguments: Sequence[str]) -> None:
        self._ask()
        self.submissions.append(job)
        if job not in self.jobs:
            self.jobs[job], self.states[job] = list(arguments), "running"

    def state(self, job: str) -> JobState:
        self._ask()
        return self.states.get(job, "unknown")

    def stop(self, job: str) -> None:
        self._ask()
        self.stopped.append(job)

    def last_lines(self, job: str, most: int) -> str:
        self._ask()
        return self.printed

    def play(self, store: Store, folder: Path) -> list[str]:
        """Let every running job play its run to the end on fakes; which runs those were."""
        names: list[str] = []
        for job, state in [*self.states.items()]:
            if state == "running":
                name = self.jobs[job][1]
                with store.transaction() as conn:
                    run = runs.find_run(conn, name)
                drive(store, Settings(folder, None, None), run, NoListener(), build=always(fake_roles()))
                self.states[job] = "ended"
                names.append(name)
        return names

    def _ask(self) -> None:
        if self.away:
            raise InfrastructureError("no Ray cluster answers")
