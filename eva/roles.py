"""The parts that the loop plays with. Each boundary has a real one in workers/ and a fake in tests/support/fakes.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as Generating
from dataclasses import dataclass
from typing import Protocol

from eva.runtime.worker_reports import Readings, WorkerStatuses, no_readings, no_workers
from eva.types import (
    Checkpoint,
    Floats,
    Mutation,
    PromptResponses,
    Reply,
    Request,
    RewardedResponses,
    TrainingJob,
    TrainingResult,
    TrainingStep,
)


class Generator(Protocol):
    """The fleet: serves one policy and answers prompts with it."""

    def load(self, policy: Checkpoint) -> None:
        """Make every engine serve this policy, proven by its canary. Cheap when it already does.

        Raises CanaryError or EngineDiedError when bounded retries end.
        """
        ...

    def rest(self) -> None:
        """Give the device to the trainer until the next `load`, where they share one."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        """Answer lazily and in any order, a bounded window of requests in flight.

        A prompt that cannot be answered comes back with a `failure`. Raises EngineDiedError.
        """
        ...


class Rewarder(Protocol):
    """The reward model: rewards responses while others are still being generated."""

    @property
    def name(self) -> str:
        """What rewards are stored under; rewards of different names are never mixed."""
        ...

    def reward(self, answered: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pull answered prompts, a bounded window in flight, and yield them with rewards in any order."""
        ...


class Evolver(Protocol):
    """Writes a child prompt. Called from several threads at once."""

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators it knows, in a fixed order: one is drawn uniformly per evolution."""
        ...

    def evolve(self, mutation: Mutation) -> Reply:
        """One child of `mutation.text`, unchecked: the creator accepts or refuses it.

        Raises EvolverError when its service fails after bounded retries.
        """
        ...


class Trainer(Protocol):
    """Runs preference-optimisation jobs."""

    def publish_initial(self, folder: str) -> Checkpoint:
        """Publish the given model as checkpoint 0 below `folder` (idempotent), with its canary."""
        ...

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        """Train and publish. `report(step, total_steps)` is called as steps are logged.

        Publishing twice is harmless: an already valid checkpoint of this job is returned as it is.
        Raises TrainingFailedError.
        """
        ...


class Embedder(Protocol):
    """Knows which texts mean the same. Safe to call from several threads."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """A vector per text, shape (T, D), of any length: only its direction counts. It depends on the text alone."""
        ...


@dataclass(frozen=True, slots=True)
class Roles:
    """Everything that the loop plays with.

    `evaluator` rewards the held-out answers; `auditor`, where there is one, a sample of what `rewarder` rewarded;
    `embedder`, where there is one, tells novelty what prompts mean.
    `at_work` says what each worker has in hand, to whoever asks on whatever thread; `meter` what they have counted.
    """

    generator: Generator
    rewarder: Rewarder
    evolver: Evolver
    trainer: Trainer
    evaluator: Rewarder
    auditor: Rewarder | None = None
    embedder: Embedder | None = None
    at_work: WorkerStatuses = no_workers
    meter: Readings = no_readings

    def answer(self, requests: Sequence[Request], policy: Checkpoint) -> Generating[PromptResponses]:
        """Responses of this policy, in any order. Without requests the engines are left alone.

        Close it: engines drop what is in flight while they are still there.
        """
        if requests:
            self.generator.load(policy)
            yield from self.generator.generate(requests)
