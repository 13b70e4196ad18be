"""The stage that asks the solver: judging a pool or batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from eva.runtime.failpoints import reach
from eva.seeds import derive
from eva.types import Checkpoint, PromptResponses, Request, Reward, RewardedResponses, SamplingSettings
from orchestrator.stages.stage import Stage
from store.game import prompts, responses


@dataclass(frozen=True, slots=True)
class Todo:
    """What a judge stage still lacks: prompts to answer, and answered prompts to reward."""

    requests: tuple[Request, ...]
    answered: tuple[PromptResponses, ...]


def paid(rewarded: Iterable[RewardedResponses]) -> Mapping[str, float]:
    """What the rewards have cost, as a tally; none where nobody was paid."""
    return cost_tally(part for one in rewarded for reward in one.rewards for part in reward.parts)


def cost_tally(parts: Iterable[tuple[str, Reward]]) -> Mapping[str, float]:
    """The sum of the parts that are dollars."""
    cost = math.fsum(part.value or 0.0 for name, part in parts if name.rpartition("/")[2] == "cost_usd")
    return {"cost_usd": cost} if cost else {}


class JudgeStage(Stage):
    """n responses per prompt from one policy, each rewarded.

    A prompt that has some of them already only gets the others, and all are rewarded together: rewards may
    compare the responses of a prompt.
    """

    _answered: list[PromptResponses]
    _rewarded: list[RewardedResponses]
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
        missing = run.read(
            lambda conn: responses.coverage(conn, run.id, policy.number, self.rewarder, numbers, self.responses)
        )
        self._begun = frozenset(number for number, present in missing.to_generate.items() if present)
        texts = run.read(lambda conn: prompts.read_prompts(conn, run.id, sorted(missing.to_generate)))
        sampling = SamplingSettings(generation.temperature, generation.top_p, generation.max_tokens)
        requests = tuple(
            Request(
                prompt.number,
                prompt.text,
                self.responses - (first := missing.to_generate[prompt.number]),
                derive(run.config.seed, policy.number, "respond", prompt.number) >> 1,
                sampling,
                first,
                prompt.context,
            )
            for prompt in texts
        )
        answered = run.read(lambda conn: responses.read_answered(conn, run.id, policy.number, missing.to_reward))
        if not self.complete:
            self.expect(len(numbers))
            self.advance(len(numbers) - len(requests) - len(answered))
        reach("judge.asked")
        return Todo(requests, tuple(answered))

    def keep_answered(self, answered: Iterable[PromptResponses]) -> Iterator[PromptResponses]:
        """Store responses as they pass by; prompts that could not be answered are quarantined and go no further."""
        for one in answered:
            self._answered.append(one)
            reach("judge.response_received")
            if one.failure is None:
                yield self._complete_set(one) if one.number in self._begun else one
            else:
                self.advance(1)
                self.kept()

    def _complete_set(self, one: PromptResponses) -> PromptResponses:
        """The prompt with the responses that it had before."""
        (before,) = self.run.read(
            lambda conn: responses.read_answered(conn, self.run.id, self._policy.number, [one.number])
        )
        new = {response.sample for response in one.responses}
        old = tuple(response for response in before.responses if response.sample not in new)
        return replace(one, responses=old + one.responses)

    def keep_rewarded(self, rewarded: RewardedResponses) -> None:
        self._rewarded.append(rewarded)
        reach("judge.reward_received")
        self.advance(1)
        self.kept()

    def store(self, conn: Connection) -> None:
        responses.copy_answered(conn, self.run.id, self._policy.number, self._answered)
        responses.copy_rewarded(conn, self.run.id, self._policy.number, self.rewarder, self._rewarded)

    def tallies(self) -> Mapping[str, float]:
        responses = [response for one in self._answered for response in one.responses]
        failed = sum(one.failure is not None for one in self._answered)
        return {
            "responses": len(responses),
            "tokens": sum(response.tokens for response in responses),
            **({"quarantined": failed} if failed else {}),
            **paid(self._rewarded),
        }

    def forget(self) -> None:
        self._answered, self._rewarded = [], []
