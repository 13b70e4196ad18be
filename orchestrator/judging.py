"""The stages that ask the solver: judging a pool or batch, and examining the policy on held-out prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from eva.failpoints import reach
from eva.seeds import derive
from eva.types import Answered, Checkpoint, Request, Rewarded, SamplingSettings
from orchestrator.stage import Stage
from store import heldout, prompts, responses
from store.rows import HeldoutResponse


@dataclass(frozen=True, slots=True)
class Todo:
    """What a judge stage still lacks: prompts to answer, and answered prompts to reward."""

    requests: tuple[Request, ...]
    answered: tuple[Answered, ...]


class JudgeStage(Stage):
    """n responses per prompt from one policy, each rewarded.

    A prompt that has some of them already only gets the others, and all are rewarded together: rewards may
    compare the responses of a prompt.
    """

    _answered: list[Answered]
    _rewarded: list[Rewarded]
    _begun: frozenset[int]

    @property
    def responses(self) -> int:
        """n, per prompt."""
        return self.run.config.generation.n

    @property
    def rewarder(self) -> str:
        """What the rewards are stored under."""
        return self.run.rewarder

    def unjudged(self, numbers: Sequence[int], policy: Checkpoint) -> Todo:
        """Requests for the prompts without a full set of responses from the policy, and those without rewards."""
        self._policy = policy
        self.forget()
        run, generation = self.run, self.run.config.generation
        missing = run.read(lambda conn: responses.coverage(
            conn, run.id, policy.number, self.rewarder, numbers, self.responses))
        self._begun = frozenset(number for number, present in missing.to_generate.items() if present)
        texts = run.read(lambda conn: prompts.read_prompts(conn, run.id, sorted(missing.to_generate)))
        sampling = SamplingSettings(generation.temperature, generation.top_p, generation.max_tokens)
        requests = tuple(
            Request(prompt.number, prompt.text, self.responses - (first := missing.to_generate[prompt.number]),
                    derive(run.config.seed, policy.number, "respond", prompt.number) >> 1, sampling, first,
                    prompt.context)
            for prompt in texts)
        answered = run.read(lambda conn: responses.read_answered(conn, run.id, policy.number, missing.to_reward))
        if not self.complete:
            self.expect(len(numbers))
            self.advance(len(numbers) - len(requests) - len(answered))
        reach("judge.asked")
        return Todo(requests, tuple(answered))

    def keep_answered(self, answered: Iterable[Answered]) -> Iterator[Answered]:
        """Store responses as they pass by; prompts that could not be answered are quarantined and go no further."""
        for one in answered:
            self._answered.append(one)
            reach("judge.answer_received")
            if one.failure is None:
                yield self._complete_set(one) if one.number in self._begun else one
            else:
                self.advance(1)
                self.kept()

    def _complete_set(self, one: Answered) -> Answered:
        """The prompt with the responses that it had before."""
        (before,) = self.run.read(lambda conn: responses.read_answered(
            conn, self.run.id, self._policy.number, [one.number]))
        new = {response.sample for response in one.responses}
        old = tuple(response for response in before.responses if response.sample not in new)
        return replace(one, responses=old + one.responses)

    def keep_rewarded(self, rewarded: Rewarded) -> None:
        self._rewarded.append(rewarded)
        reach("judge.reward_received")
        self.advance(1)
        self.kept()

    def store(self, conn: Connection) -> None:
        responses.copy_answered(conn, self.run.id, self._policy.number, self._answered)
        responses.copy_rewarded(conn, self.run.id, self._policy.number, self.rewarder, self._rewarded)

    def forget(self) -> None:
        self._answered, self._rewarded = [], []


@dataclass(frozen=True, slots=True)
class Place:
    """Which held-out prompt a request asks, and how."""

    mode: str
    split: str
    item: int


class ExamineStage(Stage):
    """Held-out prompts, answered greedily and sampled at temperature 1."""

    _kept_rows: dict[tuple[str, str], list[HeldoutResponse]]

    def unexamined(self, policy: Checkpoint) -> list[Request]:
        """Requests for the held-out prompts that this policy has not answered, numbered by place in this list."""
        self._policy, self._places = policy, list[Place]()
        self.forget()
        run, limit = self.run, self.run.config.generation.max_tokens
        modes = (("greedy", SamplingSettings(0.0, 1.0, limit), 1),
                 ("sampled", SamplingSettings(1.0, 1.0, limit), run.config.evaluation.n))
        requests: list[Request] = []
        for split in run.read(lambda conn: heldout.heldout_splits(conn, run.id)):
            texts = run.read(lambda conn, split=split: heldout.read_heldout(conn, run.id, split))
            contexts = run.read(lambda conn, split=split: heldout.read_heldout_contexts(conn, run.id, split))
            for mode, sampling, n in modes:
                missing = run.read(lambda conn, split=split, mode=mode, n=n: heldout.heldout_missing(
                    conn, run.id, policy.number, split, mode, n))
                for item, there in missing.items():
                    seed = derive(run.config.seed, "examine", split, item) >> 1
                    requests.append(Request(len(requests), texts[item], n - there, seed, sampling, there,
                                            contexts.get(item, ())))
                    self._places.append(Place(mode, split, item))
        if not self.complete:
            self.expect(len(requests))
        return requests

    def answerable(self, answered: Iterable[Answered]) -> Iterator[Answered]:
        """Answered prompts on their way to the examiner; those that could not be answered are kept as failed."""
        for one in answered:
            reach("examine.answer_received")
            if one.failure is None:
                yield one
            else:
                item = self._places[one.number].item
                self._keep(one.number, [HeldoutResponse(item, 0, "", "failed", 0, None, one.failure)])

    def keep_examined(self, rewarded: Rewarded) -> None:
        reach("examine.reward_received")
        answered = rewarded.answered
        item = self._places[answered.number].item
        self._keep(answered.number, [
            HeldoutResponse(item, response.sample, response.text, response.finish, response.tokens, reward.value,
                            reward.reason)
            for response, reward in zip(answered.responses, rewarded.rewards, strict=True)])

    def store(self, conn: Connection) -> None:
        for (split, mode), rows in self._kept_rows.items():
            heldout.copy_heldout_responses(conn, self.run.id, self._policy.number, split, mode, rows)

    def forget(self) -> None:
        self._kept_rows = {}

    def _keep(self, number: int, rows: list[HeldoutResponse]) -> None:
        place = self._places[number]
        self._kept_rows.setdefault((place.split, place.mode), []).extend(rows)
        self.advance(1)
        self.kept()
