"""A complete fake of each boundary: the whole game plays on these in seconds, deterministically."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.config.files import validate
from eva.errors import StorageError
from eva.prompts.conversations import transcript
from eva.roles import Roles
from eva.seeds import generator, text_hash
from eva.settings import Settings
from eva.storage.stored_manifests import keep_copy
from eva.types import (
    Checkpoint,
    Mutation,
    Player,
    PromptResponses,
    Reply,
    Request,
    Response,
    Reward,
    RewardedResponses,
    TrainingJob,
    TrainingResult,
    TrainingStep,
)
from orchestrator.watch.listener import Listener
from workers.training.checkpoints import publish
from workers.training.stored.publication import publish_stored


class Died(BaseException):
    """Stands for kill -9 in a test: nothing that handles exceptions handles it."""


def skill_of(policy: Checkpoint) -> int:
    """A fake policy's skill is how often it was trained: its path says so."""
    return int(policy.path.rpartition("skill-")[2].partition("-")[0])


def difficulty_of(prompt: str) -> float:
    return 1 + len(prompt.split()) / 4


@dataclass
class FakeGenerator:
    """Answers right with a chance that grows with the policy's skill; out of order, as engines do."""

    unanswerable: frozenset[int] = frozenset()
    policy: Checkpoint | None = None
    asked: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    die_after: int | None = None

    def load(self, policy: Checkpoint) -> None:
        self.policy = policy

    def rest(self) -> None:
        self.policy = None

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        assert self.policy is not None, "asked before a policy was loaded"
        window: list[Request] = []
        shuffle = random.Random(len(self.asked))
        for request in requests:
            window.append(request)
            if len(window) == 8:
                yield self._answer(window.pop(shuffle.randrange(8)))
        yield from map(self._answer, window)

    def _answer(self, request: Request) -> PromptResponses:
        assert self.policy is not None, "asked before a policy was loaded"
        if self.die_after is not None:
            self.die_after -= 1
            if self.die_after < 0:
                raise Died
        self.asked[
            self.policy.number, transcript(request.text, request.context), int(request.sampling.temperature > 0)
        ] += 1
        if request.number in self.unanswerable:
            return PromptResponses(request.number, request.text, (), failure="the prompt is too long")
        chance = skill_of(self.policy) / (skill_of(self.policy) + difficulty_of(request.text))
        return PromptResponses(
            request.number,
            request.text,
            tuple(
                self._response(request, sample, chance) for sample in range(request.first, request.first + request.n)
            ),
            context=request.context,
            prompt_ids=tuple(request.text.encode()) if request.record else (),
        )

    def _response(self, request: Request, sample: int, chance: float) -> Response:
        seed = request.seed + sample
        right = generator(seed, request.text).random() < chance
        response = Response(sample, f"{'right' if right else 'wrong'} answer {seed % 7}", "stop", 3, seed)
        return recorded(response) if request.record else response


def recorded(response: Response) -> Response:
    """The response with tokens that a fake engine sampled; they depend on its seed."""
    token_ids = tuple((response.seed + index) % 1000 for index in range(response.tokens))
    return replace(response, token_ids=token_ids, logprobs=tuple(-(token % 8) / 8 for token in token_ids))


class FakeRewarder:
    """1 for a right answer, less a little for its length and its digit."""

    name = "fake"

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            yield RewardedResponses(
                one,
                tuple(
                    Reward(float(response.text.startswith("right")) + text_hash(response.text) % 100 / 1000)
                    for response in one.responses
                ),
            )


class FakeEvolver:
    """Adds a word; one reply in five is a refusal."""

    operators = ("deepening", "breadth")

    def evolve(self, mutation: Mutation) -> Reply:
        rng = generator(mutation.seed, mutation.text)
        if rng.random() < 0.2:
            return Reply("I'm sorry, I cannot help with that.", 10, 8, 0.001)
        return Reply(f"{mutation.text} and {mutation.operator} {rng.randrange(50)}", 10, 12, 0.001)


@dataclass
class FakeCreator:
    """Writes with the creator's weights that a fake generator has loaded: the more skilled, the fewer refusals."""

    generator: FakeGenerator
    operators = FakeEvolver.operators

    def evolve(self, mutation: Mutation) -> Reply:
        writer = self.generator.policy
        assert writer is not None and Path(writer.path).parent.name == "creator", "asked without a creator's weights"
        skill, rng = skill_of(writer), generator(mutation.seed, mutation.text)
        refuses = rng.random() < 1 / (1 + skill)
        text = "I'm sorry, I cannot." if refuses else f"{mutation.text} and {mutation.operator} {rng.randrange(50)}"
        tokens = tuple(len(word) for word in text.split())
        logprobs = tuple(-skill / 8 for _ in tokens)
        return Reply(text, 10, len(tokens), prompt_ids=(1, 2), token_ids=tokens, logprobs=logprobs)


@dataclass
class FakeTrainer:
    """Publishes a policy that is more skilled by one, and counts its jobs."""

    jobs: list[TrainingJob] = field(default_factory=list)
    learns: bool = True

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        first = b"0" if player == "solver" else player.encode()
        return Checkpoint(0, 0, f"{folder}/skill-1", hashlib.sha256(first).hexdigest())

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        self.jobs.append(job)
        if job.chunks:
            return self._train_chunks(job, report)
        assert Path(job.pairs_path).stat().st_size > 0
        online = {"kl_k3": 0.5, "gap": 0.01, "reward": 0.4}
        steps = tuple(
            TrainingStep(step, {"loss": 0.7 - step / 100, "rewards/margins": step / 10})
            if job.sampling is None
            else TrainingStep(step, {"loss": 0.0} | {name: value * step for name, value in online.items()})
            for step in (1, 2, 3)
        )
        for step in steps:
            report(step, len(steps))
        skill = skill_of(job.policy) + int(self.learns)
        digest = hashlib.sha256(Path(job.pairs_path).read_bytes()).hexdigest()
        return TrainingResult(Checkpoint(job.number, job.iteration, f"{job.folder}/skill-{skill}", digest), steps)

    def _train_chunks(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        """Takes the planned steps of every chunk that has a pair. Every chunk makes the policy more skilled by one."""
        steps, digest = chunk_steps(job)
        for step in steps:
            report(step, job.planned_steps)
        skill = skill_of(job.policy) + len(job.chunks)
        if job.hand_over is not None:
            path = f"{job.hand_over}/step-{len(steps)}-skill-{skill}"
            return TrainingResult(
                Checkpoint(job.policy.number, job.policy.iteration, path, digest, len(steps)), tuple(steps)
            )
        return TrainingResult(Checkpoint(job.number, job.iteration, f"{job.folder}/skill-{skill}", digest), steps)


def chunk_steps(job: TrainingJob) -> tuple[tuple[TrainingStep, ...], str]:
    """The steps of a job's chunks as a real trainer numbers them, and a digest over the chunks' pairs."""
    steps: list[TrainingStep] = []
    digest = hashlib.sha256()
    for number, chunk in enumerate(job.chunks, 1):
        pairs = Path(chunk.pairs_path).read_bytes()
        digest.update(pairs)
        for _ in range(chunk.steps if pairs else 0):
            step = len(steps) + 1
            steps.append(TrainingStep(step, {"loss": 0.7 - step / 100, "chunk": number}))
    return tuple(steps), digest.hexdigest()


def weights_of(checkpoint: Checkpoint) -> Callable[[Path], None]:
    """Writes the files of a fake checkpoint into a folder."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(checkpoint.digest.encode() * 10)

    return write


class PublishingTrainer(FakeTrainer):
    """A fake trainer whose checkpoints are folders with files and a manifest."""

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return self._published(super().publish_initial(folder, player))

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        result = super().train(job, report)
        return TrainingResult(self._published(result.checkpoint), result.steps, result.dropped)

    def _published(self, checkpoint: Checkpoint) -> Checkpoint:
        path = Path(checkpoint.path)
        return replace(checkpoint, digest=publish(weights_of(checkpoint), path.parent, path.name))


class StoringTrainer(FakeTrainer):
    """Publishes files in a store as the real trainer does. `away`: the store refuses so many times."""

    def __init__(self, settings: Settings, away: int = 0) -> None:
        super().__init__()
        self.settings, self.away = settings, away

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return self._published(super().publish_initial(folder, player))

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        if self.away:
            self.away -= 1
            raise StorageError("the store does not answer")
        result = super().train(job, report)
        return TrainingResult(self._published(result.checkpoint), result.steps, result.dropped)

    def _published(self, checkpoint: Checkpoint) -> Checkpoint:
        run, _, name = checkpoint.path.rpartition("/")
        here = self.settings.data_dir / "work"
        digest = publish(weights_of(checkpoint), here, name)
        place = publish_stored(here / name, run, lambda _: None)
        shutil.rmtree(here)
        keep_copy(place, digest, self.settings.data_dir)
        return replace(checkpoint, path=place, digest=digest)


def fake_config(**changes: Any) -> RunConfig:
    """A small game on fakes. Keyword arguments replace whole sections."""
    values: dict[str, Any] = {
        "name": "fake",
        "seed": 7,
        "iterations": 3,
        "prompts": {"playground": 24},
        "model": {"path": "playground"},
        "generation": {"n": 4, "max_tokens": 64},
        "reward": {"kind": "mock"},
        "evolving": {"evolver": {"kind": "playground"}},
        "evaluation": {"playground": 3},
    }
    return validate(values | changes)


def fake_roles(**changes: Any) -> Roles:
    roles: dict[str, Any] = {
        "generator": FakeGenerator(),
        "rewarder": FakeRewarder(),
        "evolver": FakeEvolver(),
        "trainer": FakeTrainer(),
        "evaluator": FakeRewarder(),
    }
    return Roles(**(roles | changes))


def creator_section(**changes: Any) -> dict[str, Any]:
    """The section `evolving` of a creator with weights of its own."""
    evolver = {"kind": "trained", "temperature": 0.5} | changes
    return {"evolver": evolver, "operators": [*FakeEvolver.operators], "mode": "fan_out"}


def creator_roles(**changes: Any) -> Roles:
    """Roles with a creator that writes with its own weights."""
    made = changes.pop("generator", None) or FakeGenerator()
    return fake_roles(**({"generator": made, "evolver": FakeCreator(made)} | changes))


def always(roles: Roles) -> Callable[[RunConfig, Path, Settings, Listener], AbstractContextManager[Roles]]:
    """A builder for the driver that hands these roles out."""
    return lambda config, folder, settings, listener: nullcontext(roles)


@dataclass
class Recorder:
    """A listener that remembers; `on_close` may raise to interrupt a run at a stage's end."""

    stages: list[tuple[int, str]] = field(default_factory=list)
    counts: dict[tuple[int, str], Mapping[str, object]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    on_close: Callable[[int, str], None] = lambda iteration, stage: None

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        if (iteration, stage) not in self.stages:
            self.stages.append((iteration, stage))

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        assert done <= total or total == 0, f"{done} of {total}"

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        self.counts[iteration, stage] = counts
        self.on_close(iteration, stage)

    def on_message(self, text: str) -> None:
        self.notes.append(text)
