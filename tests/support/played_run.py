"""A run for tests of the command line: the playground's world, rewards and evolver, and a fake solver.

Texts are those of the real demo: the solver writes correct steps but stops early, less so with each training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.config.files import load_config
from eva.roles import Roles
from eva.seeds import derive
from eva.settings import Settings
from eva.types import Checkpoint, PromptResponses, Request, Response
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import Listener, NoListener
from store.rows import RunRow
from store.session import Store
from tests.support.fakes import FakeTrainer, recorded, skill_of
from workers.evolvers import build_evolver
from workers.playground.lazy_writer import stop_probability
from workers.playground.world import parse, write_steps
from workers.rewards import build_rewarder


@dataclass
class LazySolver:
    """Stops less often the more it was trained. Greedy: stops where stopping is likelier than not."""

    policy: Checkpoint | None = None
    asked: list[Request] = field(default_factory=list)

    def load(self, policy: Checkpoint) -> None:
        self.policy = policy

    def rest(self) -> None:
        self.policy = None

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for request in requests:
            self.asked.append(request)
            yield PromptResponses(
                request.number,
                request.text,
                tuple(self._respond(request, sample) for sample in range(request.first, request.first + request.n)),
                prompt_ids=tuple(request.text.encode()) if request.record else (),
            )

    def _respond(self, request: Request, sample: int) -> Response:
        assert self.policy is not None, "asked before a policy was loaded"
        task = parse(request.text)
        rng = random.Random(derive(request.seed, sample, request.text))
        steps = 1
        while steps < len(task.operations):
            lazy = stop_probability(steps, task.operations[steps].name) ** skill_of(self.policy)
            if lazy > (rng.random() if request.sampling.temperature else 0.5):
                break
            steps += 1
        text = write_steps(task, steps)
        response = Response(sample, text, "stop", len(text.split()), request.seed + sample)
        return recorded(response) if request.record else response


def playground_config(*overrides: str) -> RunConfig:
    """The demo's config, smaller."""
    return load_config("playground", ["prompts.playground=48", "evaluation.playground=30", "iterations=3", *overrides])


def lazy_roles(config: RunConfig) -> Roles:
    reward = build_rewarder(config.reward, local=True)
    return Roles(LazySolver(), reward, build_evolver(config.evolving), FakeTrainer(), reward)


def lazily(
    config: RunConfig,
    folder: Path,
    settings: Settings,
    listener: Listener,
    **told: object,
) -> AbstractContextManager[Roles]:
    """A builder for the driver; what it is told of the run's past changes nothing here."""
    del folder, settings, listener, told
    return nullcontext(lazy_roles(config))


def play_run(
    store: Store,
    settings: Settings,
    config: RunConfig | None = None,
    listener: Listener | None = None,
    build: Callable[..., Any] = lazily,
) -> RunRow:
    """Register a run and play it to its end."""
    run = register_run(store, config or playground_config())
    drive(store, settings, run, listener or NoListener(), build=build)
    return run
