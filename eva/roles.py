"""The parts that the loop uses. Each has a real implementation in workers/ and a fake in tests/support/fakes.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Generator as Generating
from dataclasses import dataclass
from typing import Protocol

from eva.runtime.worker_reports import Readings, WorkerStatuses, no_readings, no_workers
from eva.types import (
    Checkpoint,
    Context,
    Floats,
    GuideScore,
    Mutation,
    Player,
    PromptCategory,
    PromptResponses,
    Reply,
    Request,
    RewardedResponses,
    TrainingJob,
    TrainingResult,
    TrainingStep,
)


class Generator(Protocol):
    """The fleet: serves one policy and generates its responses to prompts."""

    def load(self, policy: Checkpoint) -> None:
        """Makes every engine serve this policy, and proves it by the canary. Cheap when they already serve it.

        Raises CanaryError or EngineDiedError after a bounded number of retries.
        """
        ...

    def rest(self) -> None:
        """Frees the device for the trainer until the next `load`, where both share one."""
        ...

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        """Yields responses lazily and in any order, with a bounded window of requests in flight.

        A prompt that gets no response comes back with a `failure`. Raises EngineDiedError.
        """
        ...


class Rewarder(Protocol):
    """The reward model: rewards responses while others are still being generated."""

    @property
    def name(self) -> str:
        """The name under which its rewards are stored; rewards of different names are never mixed."""
        ...

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pulls responses, with a bounded window in flight, and yields them with rewards in any order."""
        ...


class Evolver(Protocol):
    """Writes a child prompt. Called from several threads at once."""

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators it offers, in a fixed order: one is drawn uniformly per evolution."""
        ...

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns one child of `mutation.text`, unchecked: the creator accepts or refuses it.

        Raises EvolverError when its service still fails after a bounded number of retries.
        """
        ...


class Guide(Protocol):
    """A second opinion on what the creator writes. Called from several threads at once."""

    def score(self, text: str, context: Context, seed: int) -> GuideScore:
        """Returns how sensible and useful a task this prompt is after these messages, 0 to 1. `seed`: of this attempt.

        Raises JudgeError when its service still fails after a bounded number of retries, InputError when a user's
        function fails.
        """
        ...


class Trainer(Protocol):
    """Runs preference-optimisation jobs."""

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        """Publishes the initial model of a player as checkpoint 0 below `folder`, with its canary. Idempotent."""
        ...

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        """Trains the weights of the job's player and publishes them as a checkpoint.

        Calls `report(step, total_steps)` as steps are logged. Publishing twice is harmless: if this job's checkpoint is
        already valid, it is returned as it is. Raises TrainingFailedError.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors that are close when the texts mean the same. Safe to call from several threads."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Returns a vector per text, shape (T, D). Only its direction counts, and it depends on the text alone."""
        ...


class Classifier(Protocol):
    """Gives texts one of the config's categories."""

    def classify(self, texts: Sequence[str]) -> list[PromptCategory]:
        """Returns a category per text, which depends on that text alone."""
        ...


@dataclass(frozen=True, slots=True)
class Roles:
    """The parts of one run.

    `evaluator` rewards the responses to held-out prompts. `auditor`, if any, rewards a sample of what `rewarder` has
    rewarded. `guide`, if any, scores the creator's children. `embedder`, if any, lets the novelty checks compare
    meanings. `classifier`, if any, gives prompts a category. `at_work` returns what each worker is doing, on any
    thread; `meter` what the workers have counted. `rest_rewarders` free the rewarders' devices.
    """

    generator: Generator
    rewarder: Rewarder
    evolver: Evolver
    trainer: Trainer
    evaluator: Rewarder
    auditor: Rewarder | None = None
    guide: Guide | None = None
    embedder: Embedder | None = None
    classifier: Classifier | None = None
    at_work: WorkerStatuses = no_workers
    meter: Readings = no_readings
    rest_rewarders: Sequence[Callable[[], None]] = ()

    def rest(self) -> None:
        """Frees the devices of engines and rewarders for the trainer, where they are shared."""
        self.generator.rest()
        for rest in self.rest_rewarders:
            rest()

    def respond(self, requests: Sequence[Request], policy: Checkpoint) -> Generating[PromptResponses]:
        """Yields responses of this policy in any order. Without requests the engines stay as they are.

        Close the generator, so that the engines drop the requests in flight.
        """
        if requests:
            self.generator.load(policy)
            yield from self.generator.generate(requests)
