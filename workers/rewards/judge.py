"""A language model as judge: compares two responses in both orders, or rates one response from 1 to 10."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from eva.config import EvolInstruct, Guidance, JudgeReward
from eva.errors import ConfigError, EvolverError, JudgeError
from eva.measures.audit import position_bias
from eva.measures.bradley_terry import AGGREGATIONS, symmetrise
from eva.prompts.conversations import transcript
from eva.seeds import derive, text_hash
from eva.types import Floats, Reply, Reward
from workers.evolvers.completions import LONGEST_RETRY_AFTER_S, Completions
from workers.rewards.judge_prompts import (
    CUT,
    PAIRWISE,
    RATING,
    RATINGS,
    SCORES,
    UnreadableError,
    question,
    read_verdict,
)
from workers.rewards.model import COST, Alive, RewardRequest, reason

Ask = Callable[[str, int], Reply]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One call: the responses shown, the score of the first (None if unreadable, with the reason), and the cost.

    `quote` is how an unreadable reply ends.
    """

    first: int
    second: int | None
    score: float | None
    reason: str | None
    cost_usd: float
    quote: str = ""


class JudgeModel:
    """The judge as a reward model. Its constructor raises ConfigError if the model or its key cannot be used."""

    def __init__(self, config: JudgeReward, ask: Ask | None = None) -> None:
        self._config, self._budget = config, JudgeBudget(config)
        self._ask = ask or JudgeService(config).ask

    @staticmethod
    def name_of(config: JudgeReward) -> str:
        """Returns its model and mode, and the aggregation of wins if that is not the default."""
        aggregated = config.mode == "pairwise" and config.aggregation != "mean_win_rate"
        return f"judge:{config.model}:{config.mode}" + (f":{config.aggregation}" if aggregated else "")

    @staticmethod
    def check(config: JudgeReward) -> None:
        """Raises ConfigError if no provider has the model or its key is missing."""
        JudgeService(config)

    @property
    def patience_s(self) -> float:
        return (self._config.timeout_s + LONGEST_RETRY_AFTER_S + 1) * (self._config.retries + 1)

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Asks all questions about these prompts, `concurrency` at a time. Raises JudgeError, ConfigError."""
        alive()
        verdicts: list[list[Verdict]] = [[] for _ in requests]
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            calls = {
                pool.submit(self._verdict, request, *shown): place
                for place, request in enumerate(requests)
                for shown in self._questions(request.responses)
            }
            try:
                for call in as_completed(calls):  # bounded: each call by timeout_s and retries
                    verdicts[calls[call]].append(call.result())  # bounded: it is done
                    alive()
            except (JudgeError, ConfigError):
                pool.shutdown(cancel_futures=True)
                raise
        return [self._rewards(request.responses, own) for request, own in zip(requests, verdicts, strict=True)]

    def charge(self, spent: Mapping[str, float]) -> None:
        """Counts earlier costs of this run."""
        self._budget.charge(spent.get(COST, 0.0))

    def close(self) -> None:
        """Does nothing."""

    def _rewards(self, responses: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[Reward, ...]:
        if self._config.mode == "rating":
            return rewards_from_ratings(verdicts)
        return rewards_from_wins(responses, verdicts, self._config.aggregation)

    def _questions(self, responses: Sequence[str]) -> list[tuple[int, int | None]]:
        """Returns the responses to show, in order: each pair of different texts twice. Equal texts tie unasked."""
        count = len(responses)
        if self._config.mode == "rating":
            return [(place, None) for place in range(count)]
        steps = count - 1 if self._config.opponents is None else min(count - 1, self._config.opponents)
        pairs = {
            (min(i, j), max(i, j))
            for i in range(count)
            for step in range(1, -(-steps // 2) + 1)
            if (j := (i + step) % count) != i
        }
        different = [(i, j) for i, j in sorted(pairs) if responses[i] != responses[j]]
        return [shown for i, j in different for shown in ((i, j), (j, i))]

    def _verdict(self, request: RewardRequest, first: int, second: int | None) -> Verdict:
        prompt, responses = transcript(request.prompt, request.context), request.responses
        config, key = self._config, text_hash(prompt)
        mark = f"#{derive(config.seed, 'mark', key):016x}"
        template, meanings = (RATING, RATINGS) if second is None else (PAIRWISE, SCORES)
        other = "" if second is None else responses[second]
        message = question(template, mark, prompt, responses[first], other, request.reference)
        self._budget.require()
        reply = self._ask(message, derive(config.seed, "judge", key, first, -1 if second is None else second))
        self._budget.charge(reply.cost_usd)
        try:
            # A verdict that was cut off may look like another one: "1" of "10".
            if reply.finish == "length":
                raise UnreadableError(CUT)
            return Verdict(first, second, read_verdict(reply.text, mark, meanings), None, reply.cost_usd)
        except UnreadableError as unreadable:
            return Verdict(first, second, None, str(unreadable), reply.cost_usd, unreadable.quote)


class JudgeBudget:
    """The judge's budget for the run, and its cost so far. Safe to call from many threads."""

    def __init__(self, config: JudgeReward) -> None:
        self._config, self._spent_usd, self._lock = config, 0.0, threading.Lock()

    def charge(self, usd: float) -> None:
        with self._lock:
            self._spent_usd += usd

    def require(self) -> None:
        """Raises JudgeError if the budget is used up."""
        limit = self._config.max_cost_usd
        with self._lock:
            if limit is not None and self._spent_usd >= limit:
                raise JudgeError(
                    f"the judge {self._config.model} has cost {self._spent_usd:.4f} US dollars",
                    expected=f"at most {limit:g} (`max_cost_usd`)",
                    next_move="Resume the run with a higher limit; all verdicts so far are stored",
                )


class JudgeService:
    """The judge's model behind LiteLLM. Safe to call from many threads."""

    def __init__(self, config: JudgeReward | Guidance) -> None:
        shared = ("model", "api_base", "api_key_env", "temperature", "max_tokens", "timeout_s", "retries")
        self._completions = Completions(
            EvolInstruct.model_validate({"kind": "evol_instruct"} | {name: getattr(config, name) for name in shared})
        )

    def ask(self, message: str, seed: int) -> Reply:
        """Returns one reply, empty if the model refuses the message. Raises JudgeError, ConfigError."""
        try:
            return self._completions.ask(message, seed)
        except EvolverError as failed:
            raise JudgeError(
                f"the judge {failed.given}", expected=failed.expected, next_move=failed.next_move
            ) from None
        except ConfigError as refused:
            raise ConfigError(
                refused.given.replace("the evolver's", "the judge's"),
                expected=refused.expected,
                next_move="Correct the judge's section of the config, or the key in the environment",
            ) from None


def rewards_from_ratings(verdicts: Sequence[Verdict]) -> tuple[Reward, ...]:
    """Returns the rating of each response, or the reason why it has none."""
    return tuple(
        Reward(verdict.score, _told(verdict.reason, verdict.quote), ((COST, Reward(verdict.cost_usd)),))
        for verdict in sorted(verdicts, key=lambda verdict: verdict.first)
    )


def rewards_from_wins(responses: Sequence[str], verdicts: Sequence[Verdict], aggregation: str) -> tuple[Reward, ...]:
    """Returns rewards from the pairs with a verdict in both orders, aggregated as in `eva.measures.bradley_terry`.

    A pair with a verdict in one order only does not count, because of the judge's position bias. Equal texts tie. A
    response with verdicts in fewer than half of its pairs gets no reward, but the most frequent reason.
    """
    count = len(responses)
    score_N_N = np.full((count, count), np.nan)
    for verdict in verdicts:
        if verdict.score is not None:
            score_N_N[verdict.first, verdict.second] = verdict.score
    both_N_N = np.where(np.isfinite(score_N_N.T), score_N_N, np.nan)
    equal_N_N = np.array([[one == other for other in responses] for one in responses])
    reward_N = AGGREGATIONS[aggregation](symmetrise(np.where(equal_N_N, 0.5, both_N_N)))
    rewards: list[Reward] = []
    for place in range(count):
        own = [verdict for verdict in verdicts if place in (verdict.first, verdict.second)]
        judged, shown = int(np.isfinite(both_N_N[place]).sum()), len(own) // 2
        parts = _parts(place, score_N_N, own)
        if judged * 2 < shown or not np.isfinite(reward_N[place]):
            rewards.append(Reward(None, _why(own), parts))
        else:
            rewards.append(Reward(float(reward_N[place]), None, parts))
    return tuple(rewards)


def _why(own: Sequence[Verdict]) -> str:
    reasons = Counter(verdict.reason for verdict in own if verdict.reason is not None)
    commonest = reasons.most_common(1)[0][0] if reasons else "there are no others"
    quote = next((verdict.quote for verdict in own if verdict.reason == commonest), "")
    return f"fewer than half of its comparisons have a verdict: {_told(commonest, quote)}"


def _told(why: str | None, quote: str) -> str | None:
    """A reason with the end of the reply that it is about."""
    return reason(f'{why}; it ends "{quote}"') if why and quote else why


def _parts(place: int, score_N_N: Floats, own: Sequence[Verdict]) -> tuple[tuple[str, Reward], ...]:
    """Returns parts for the audit: cost, shares of unreadable replies and of pairs that disagree, wins by position."""
    figures = {COST: sum(verdict.cost_usd / 2 for verdict in own)}
    if own:
        figures["unreadable"] = sum(verdict.score is None for verdict in own) / len(own)
    figures |= position_bias(score_N_N[place], 1 - score_N_N[:, place])
    return tuple((name, Reward(value)) for name, value in figures.items())
