"""A small game on fakes that reaches every failpoint it can, and writes every request to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.roles import Roles
from eva.solver.manifest import CREATOR
from eva.solver.weighted_responses import iter_weighted_responses
from eva.types import Checkpoint, Player, PromptResponses, Request, TrainingJob, TrainingResult, TrainingStep
from tests.support.fakes import (
    FakeGenerator,
    FakeRewarder,
    chunk_steps,
    creator_roles,
    creator_section,
    fake_config,
    fake_roles,
    skill_of,
)
from tests.support.simulated_engines import SimulatedEngines
from workers.fleet.dispatch import EngineResults, Event, Limits, Task, dispatch
from workers.fleet.run_ahead import run_ahead
from workers.training.checkpoints import is_valid, publish

_TRAINED = {"solver": "checkpoint", "creator": "checkpoint of the creator"}

Asked = tuple[str | int | float, ...]
"""Work that must not be repeated once it is stored: a response (policy, text, temperature, sample) or a checkpoint."""


def game_config(seed: int = 7, **changes: Any) -> RunConfig:
    """Returns the config of a game with two iterations, a gate, a second rewarder, and token records of the last."""
    return fake_config(
        **{
            "seed": seed,
            "iterations": 2,
            "prompts": {"playground": 12},
            "evaluation": {"playground": 2},
            "audit": {"prompts": 4},
            "rollouts": {"keep": 1},
            "evolving": {"evolver": {"kind": "playground"}, "gate": {"responses": 2, "low": 0.001}},
        }
        | changes
    )


def cut_config(seed: int = 7) -> RunConfig:
    """Returns the config of the same game with batches cut into three chunks."""
    return game_config(seed, training={"batch": 2, "epochs": 2, "sync_every": 4})


def online_config(seed: int = 7) -> RunConfig:
    """Returns the config of the same game with an online loss, and batches cut into three chunks."""
    sampling = {"n": 4, "max_tokens": 64, "top_p": 1.0}
    training = {"loss": "rloo", "batch": 8, "epochs": 2, "sync_every": 4}
    return game_config(seed, generation=sampling, training=training)


def creator_config(seed: int = 7) -> RunConfig:
    """Returns the config of the same game with a creator that has weights of its own and learns."""
    return game_config(seed, evolving=creator_section())


def ahead_config(seed: int = 7) -> RunConfig:
    """Returns the config of the same game with children that are evolved while the solver is trained."""
    return game_config(seed, info_from="reuse", evolving={"evolver": {"kind": "playground"}, "concurrency": 1})


@dataclass
class Notebook:
    """A file of the requests that processes receive, appended at once, so that a killed process leaves its own."""

    path: Path

    def note(self, *lines: Asked) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def read(self) -> list[Asked]:
        return [tuple(json.loads(line)) for line in self.path.read_text().splitlines()] if self.path.exists() else []


class NotedGenerator(FakeGenerator):
    """Two engines in simulated time behind the real dispatch. Their responses depend on the request alone."""

    def __init__(self, notebook: Notebook) -> None:
        super().__init__()
        self._notebook = notebook

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        return run_ahead(dispatch(requests, _AnsweringEngines(self._answer), Limits(4, 3, 60.0)), 8, "fleet")

    def _answer(self, request: Request) -> PromptResponses:
        result = super()._answer(request)
        assert self.policy is not None
        policy, temperature = self.policy.number, request.sampling.temperature
        self._notebook.note(*[(policy, request.text, temperature, response.sample) for response in result.responses])
        return result


class _AnsweringEngines(SimulatedEngines):
    """Engines whose responses come from a function."""

    def __init__(self, answer: Callable[[Request], PromptResponses]) -> None:
        super().__init__(2)
        self._answer, self._tasks = answer, dict[int, Request]()

    def submit(self, slot: int, tasks: Sequence[Task]) -> None:
        self._tasks.update(tasks)
        super().submit(slot, tasks)

    def receive(self, timeout_s: float) -> list[Event]:
        return [
            EngineResults(event.slot, [(ticket, self._answer(self._tasks[ticket])) for ticket, _ in event.results])
            if isinstance(event, EngineResults)
            else event
            for event in super().receive(timeout_s)
        ]


@dataclass
class PublishingTrainer:
    """Publishes a policy with one more skill through the real code, unless it was published already."""

    notebook: Notebook

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return Checkpoint(0, -1, f"{folder}/skill-1", self._publish(folder, 0, 1))

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        skill = skill_of(job.policy) + 1
        steps = tuple(TrainingStep(step, {"loss": 0.7 - step / 100}) for step in (1, 2))
        if job.chunks:
            steps, _ = chunk_steps(job)
            if job.hand_over is not None:
                return self._hand_over(job, steps, report)
        elif not is_valid(Path(job.folder) / f"skill-{skill}"):
            if job.player == "creator":
                assert [*iter_weighted_responses(Path(job.pairs_path))], "the file of children is incomplete"
            else:
                assert Path(job.pairs_path).read_text().endswith("}\n"), "the file of pairs is incomplete"
        if not is_valid(Path(job.folder) / f"skill-{skill}"):
            self.notebook.note((_TRAINED[job.player], job.number))
            for step in steps:
                report(step, len(steps))
        path = f"{job.folder}/skill-{skill}"
        return TrainingResult(
            Checkpoint(job.number, job.iteration, path, self._publish(job.folder, job.number, skill)), steps
        )

    def _hand_over(
        self, job: TrainingJob, steps: tuple[TrainingStep, ...], report: Callable[[TrainingStep, int], None]
    ) -> TrainingResult:
        """Publishes a policy that is more skilled than any checkpoint, for the engines alone."""
        assert job.hand_over is not None
        for step in steps:
            report(step, job.planned_steps)
        skill, start = 10 * len(job.chunks) + skill_of(job.policy), job.policy
        name = f"step-{len(steps)}-skill-{skill}"

        def write(folder: Path) -> None:
            (folder / "weights.json").write_text(str(skill))

        digest = publish(write, Path(job.hand_over), name)
        path = f"{job.hand_over}/{name}"
        return TrainingResult(Checkpoint(start.number, start.iteration, path, digest, len(steps)), steps)

    def _publish(self, folder: str, number: int, skill: int) -> str:
        def write(directory: Path) -> None:
            (directory / "weights.json").write_text(json.dumps([number, skill]))

        return publish(write, Path(folder), f"skill-{skill}")


class SecondRewarder(FakeRewarder):
    name = "second"


def game_roles(notebook: Notebook, config: RunConfig) -> Roles:
    roles = fake_roles if config.evolving.creator is None else creator_roles
    return roles(generator=NotedGenerator(notebook), trainer=PublishingTrainer(notebook), auditor=SecondRewarder())


def published(folder: Path) -> set[Asked]:
    """Returns the trained checkpoints in a run's folder, in the form in which the trainer notes them."""
    return {
        (_TRAINED[player], int(json.loads((path / "weights.json").read_text())[0]))
        for player, place in (("solver", folder), ("creator", folder / CREATOR))
        for path in place.glob("skill-*")
        if is_valid(path)
    }
