"""The stage that judges prompts: it asks the solver for responses to a pool or a batch, and rewards them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from eva.measures.usability import check_usability
from eva.runtime.failpoints import reach
from eva.seeds import derive
from eva.solver.chunks import Chunk
from eva.solver.token_record import RecordFile, token_records, without_tokens
from eva.types import Checkpoint, PromptResponses, Request, Reward, RewardedResponses
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.record_files import write_record_file
from orchestrator.stages.stage import Batch, Stage
from store.game import prompts, responses
from store.game.usability import read_usability
from store.runs import token_files


@dataclass(frozen=True, slots=True)
class Missing:
    """What a judge stage still lacks: requests for responses, and complete sets of responses without rewards."""

    requests: tuple[Request, ...]
    unrewarded: tuple[PromptResponses, ...]


def reward_cost(rewarded: Iterable[RewardedResponses]) -> Mapping[str, float]:
    """The cost of these rewards as a tally; empty when they cost nothing."""
    return cost_tally(part for prompt in rewarded for reward in prompt.rewards for part in reward.parts)


def cost_tally(parts: Iterable[tuple[str, Reward]]) -> Mapping[str, float]:
    """The sum of the parts that are dollars."""
    cost = math.fsum(part.value or 0.0 for name, part in parts if name.rpartition("/")[2] == "cost_usd")
    return {"cost_usd": cost} if cost else {}


@dataclass(slots=True)
class JudgedBatch(Batch):
    """Responses and rewards, each for a prompt; with records of the tokens of `unrecorded`, which are written first."""

    run: ClaimedRun
    iteration: int
    policy: Checkpoint
    rewarder: str
    responses: list[PromptResponses] = field(default_factory=list[PromptResponses])
    rewarded: list[RewardedResponses] = field(default_factory=list[RewardedResponses])
    unrecorded: list[PromptResponses] = field(default_factory=list[PromptResponses])
    files: list[RecordFile] = field(default_factory=list[RecordFile])

    def prepare(self, total_s: float | None = None, hurry: threading.Event | None = None) -> None:
        """Writes the token records."""
        if records := token_records(self.unrecorded, self.policy.number, self.policy.step):
            self.files.append(write_record_file(self.run, self.iteration, records, total_s=total_s, hurry=hurry))
        self.unrecorded = []

    def store(self, conn: Connection) -> None:
        run, policy = self.run.id, self.policy
        token_files.insert_token_files(conn, run, self.files)
        responses.copy_responses(conn, run, policy.number, self.responses, policy.step)
        responses.copy_rewards(conn, run, policy.number, self.rewarder, self.rewarded)

    def tallies(self) -> Mapping[str, float]:
        generated = [response for prompt in self.responses for response in prompt.responses]
        failed = sum(prompt.failure is not None for prompt in self.responses)
        return {
            "responses": len(generated),
            "tokens": sum(response.tokens for response in generated),
            **({"quarantined": failed} if failed else {}),
            **reward_cost(self.rewarded),
        }


class JudgeStage(Stage):
    """Collects n responses per prompt from one policy, each rewarded.

    A prompt that already has some of them gets only the others. All n are rewarded together, because a rewarder
    may compare the responses to a prompt. A policy inside the iteration completes what its checkpoint has begun.
    """

    def __init__(
        self,
        run: ClaimedRun,
        iteration: int,
        name: str,
        numbers: Sequence[int],
        policy: Checkpoint,
        chunk: Chunk | None = None,
    ) -> None:
        total, done = (len(numbers), 0) if chunk is None else (len(chunk.batch), chunk.before)
        super().__init__(run, iteration, name, total, chunk, done=done)
        self.numbers, self.policy = numbers, policy
        self.records = run.config.records_tokens
        self._batch = self._new_batch()
        self._references: dict[int, str] = {}

    @property
    def responses(self) -> int:
        """n: how many responses each prompt gets."""
        return self.run.config.generation.n

    @property
    def rewarder(self) -> str:
        """The name under which the rewards are stored."""
        return self.run.rewarder

    def missing(self) -> Missing:
        """Returns requests for the prompts without n responses, and the responses of those without rewards."""
        run, policy, generation = self.run, self.policy, self.run.config.generation
        coverage = run.read(
            lambda conn: responses.coverage(conn, run.id, policy.number, self.rewarder, self.numbers, self.responses)
        )
        texts = run.read(lambda conn: prompts.read_prompts(conn, run.id, sorted(coverage.to_generate)))
        self._references = {prompt.number: prompt.reference for prompt in texts if prompt.reference is not None}
        sampling = generation.settings
        stream = (generation.stream,) if generation.stream else ()
        requests = tuple(
            Request(
                prompt.number,
                prompt.text,
                self.responses - (first := coverage.to_generate[prompt.number]),
                derive(run.config.seed, policy.number, "respond", prompt.number, *stream) >> 1,
                sampling,
                first,
                prompt.context,
                self.records,
            )
            for prompt in texts
        )
        unrewarded = run.read(lambda conn: responses.read_responses(conn, run.id, policy.number, coverage.to_reward))
        if not self.complete:
            self.advance(len(self.numbers) - len(requests) - len(unrewarded))
        reach("judge.asked")
        return Missing(requests, tuple(unrewarded))

    def keep_responses(self, generated: Iterable[PromptResponses]) -> Iterator[PromptResponses]:
        """Keeps responses and passes them on, each prompt with all n of its responses.

        A prompt without a response is quarantined and not passed on.
        """
        for prompt in generated:
            if self.records:
                self._batch.unrecorded.append(prompt)
                prompt = without_tokens(prompt)
            self._batch.responses.append(prompt)
            reach("judge.response_received")
            if prompt.failure is None:
                whole = prompt if len(prompt.responses) == self.responses else self._with_earlier(prompt)
                yield replace(whole, reference=self._references.get(prompt.number))
            else:
                self.advance(1)
                self.flush_when_full()

    def keep_rewards(self, rewarded: RewardedResponses) -> None:
        self._batch.rewarded.append(rewarded)
        reach("judge.reward_received")
        self.advance(1)
        self.flush_when_full()

    def close_judging(self) -> None:
        """Completes the stage. Raises InputError if none of its responses can be used; they stay stored."""
        self.close(self.check_usable if self.chunk is None or self.chunk.last else None)

    def check_usable(self, conn: Connection) -> None:
        """Raises InputError if no response of the stage can be used, and warns if many cannot.

        Where a pool's rewards are reused, only the few prompts without any are judged, and nothing depends on them.
        """
        reuses = self.name == "judge_pool" and self.iteration > 0 and self.run.config.info_from == "reuse"
        keep_cut = self.run.config.generation.keep_cut
        numbers = self.numbers if self.chunk is None else self.chunk.batch
        usability = read_usability(conn, self.run.id, self.policy.number, self.rewarder, numbers, keep_cut=keep_cut)
        check_usability(usability, len(numbers), self.responses, stops=not reuses)

    def take(self) -> JudgedBatch:
        batch, self._batch = self._batch, self._new_batch()
        return batch

    def _new_batch(self) -> JudgedBatch:
        return JudgedBatch(self.run, self.iteration, self.policy, self.rewarder)

    def _with_earlier(self, prompt: PromptResponses) -> PromptResponses:
        """The prompt's new responses after those that an earlier attempt or the gate stored."""
        stored = self.run.read(
            lambda conn: responses.read_responses(conn, self.run.id, self.policy.number, [prompt.number])
        )
        new = {response.sample for response in prompt.responses}
        earlier = tuple(response for row in stored for response in row.responses if response.sample not in new)
        return replace(prompt, responses=earlier + prompt.responses)
