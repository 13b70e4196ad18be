"""The stage that evaluates a policy on held-out prompts: rewards of its answers, and win rates against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from eva.config.rewards import RewardConfig, gives_win_rates
from eva.config.solver import INITIAL
from eva.evaluation.baseline import ComparedResponses, baseline_figures
from eva.evaluation.style import FEATURES
from eva.evaluation.win_rates import preferences, self_preference
from eva.measures.audit import features
from eva.measures.statistics import wilson
from eva.runtime.failpoints import reach
from eva.seeds import derive
from eva.types import Checkpoint, PromptResponses, Request, Response, Reward, RewardedResponses, SamplingSettings
from orchestrator.stages.judging import cost_tally
from orchestrator.stages.stage import Stage
from store.game import comparisons, heldout
from store.rows import HeldoutComparison, HeldoutPart, HeldoutResponse, JudgeRole
from store.views import statistics
from store.views.report import HeldoutScore, heldout_scores

NO_BASELINE = "the baseline has no answer"


@dataclass(frozen=True, slots=True)
class Place:
    """Which held-out prompt a request asks, and how."""

    mode: str
    split: str
    item: int


class _Counted(NamedTuple):
    """A comparison with what both answers look like, where they are there."""

    item: int
    preference: float | None
    own: tuple[int, ...] | None
    baseline: tuple[int, ...] | None


class EvaluateStage(Stage):
    """Held-out prompts, answered greedily and sampled at temperature 1.

    Where a set has a baseline, its answer is rewarded beside the greedy one, as two responses to one prompt: what
    compares responses compares these two. Where the judge's own model wrote it, the auditor compares them, too.
    """

    _kept_rows: dict[tuple[str, str], list[HeldoutResponse]]
    _kept_parts: dict[tuple[str, str, JudgeRole], list[HeldoutPart]]
    _compared: dict[tuple[str, JudgeRole], list[HeldoutComparison]]

    def unevaluated(self, policy: Checkpoint, evaluator: str) -> list[Request]:
        """Requests for the held-out prompts that this policy has not answered, numbered by place in this list."""
        self._policy, self._places, self._evaluator = policy, list[Place](), evaluator
        self.forget()
        run, limit = self.run, self.run.config.generation.max_tokens
        modes = (
            ("greedy", SamplingSettings(0.0, 1.0, limit), 1),
            ("sampled", SamplingSettings(1.0, 1.0, limit), run.config.evaluation.n),
        )
        requests: list[Request] = []
        splits = run.read(lambda conn: heldout.heldout_splits(conn, run.id))
        found = {split: self._read_baseline(split) for split in splits}
        self._baselines = {split: answers for split, answers in found.items() if answers is not None}
        for split in splits:
            texts = run.read(lambda conn, split=split: heldout.read_heldout(conn, run.id, split))
            contexts = run.read(lambda conn, split=split: heldout.read_heldout_contexts(conn, run.id, split))
            for mode, sampling, n in modes:
                missing = run.read(
                    lambda conn, split=split, mode=mode, n=n: heldout.heldout_missing(
                        conn, run.id, policy.number, split, mode, n
                    )
                )
                for item, there in missing.items():
                    # "examine" is what the stage was called first: another word would change every run's responses
                    seed = derive(run.config.seed, "examine", split, item) >> 1
                    requests.append(
                        Request(len(requests), texts[item], n - there, seed, sampling, there, contexts.get(item, ()))
                    )
                    self._places.append(Place(mode, split, item))
        if not self.complete:
            self.expect(len(requests))
        return requests

    def answerable(self, answered: Iterable[PromptResponses]) -> Iterator[PromptResponses]:
        """Answered prompts on their way to the evaluator, greedy answers with the baseline's beside them.

        Those that could not be answered are kept as failed.
        """
        for one in answered:
            reach("evaluate.response_received")
            place = self._places[one.number]
            beside = self._beside(place)
            if one.failure is not None:
                if place.mode == "greedy" and place.split in self._baselines:
                    self._compare(place, HeldoutComparison(place.item, None, None, None, one.failure))
                self._keep(place, [HeldoutResponse(place.item, 0, "", "failed", 0, None, one.failure)])
            elif beside is None:
                yield one
            else:
                yield replace(one, responses=(*one.responses, Response(len(one.responses), beside, "stop", 0, 0)))

    def keep_evaluated(self, rewarded: RewardedResponses) -> None:
        """The policy's own answers with their rewards, and what the comparison says."""
        reach("evaluate.reward_received")
        responses, rewards = rewarded.answered.responses, rewarded.rewards
        place = self._places[rewarded.answered.number]
        self._keep_parts(place, "evaluator", self._evaluator, rewarded)
        if self._beside(place) is not None:
            self._compare(place, self._comparison(place.item, "evaluator", *rewards))
            responses, rewards = responses[:-1], rewards[:-1]
        elif place.mode == "greedy" and place.split in self._baselines:
            self._compare(place, HeldoutComparison(place.item, _finite(rewards[0]), None, None, NO_BASELINE))
        self._keep(
            place,
            [
                HeldoutResponse(
                    place.item,
                    response.sample,
                    response.text,
                    response.finish,
                    response.tokens,
                    reward.value,
                    reward.reason,
                )
                for response, reward in zip(responses, rewards, strict=True)
            ],
        )

    def self_judged(self, policy: Checkpoint, auditor: str) -> list[PromptResponses]:
        """What the evaluator has compared with answers of its own model and the auditor has not, numbered by place."""
        self.flush()
        self._second, self._auditor = list[Place](), auditor
        asked: list[PromptResponses] = []
        for split in () if self.complete else self.run.config.evaluation.judges_own:
            for one in self.run.read(
                lambda conn, split=split: comparisons.read_not_audited(conn, self.run.id, policy.number, split)
            ):
                self._second.append(Place("greedy", split, one.number))
                asked.append(replace(one, number=len(asked)))
        if asked:
            self.expect(self._total + len(asked))
        return asked

    def keep_self_judged(self, rewarded: RewardedResponses) -> None:
        """The second opinion on one comparison."""
        place = self._second[rewarded.answered.number]
        self._keep_parts(place, "auditor", self._auditor, rewarded)
        self._compare(place, self._comparison(place.item, "auditor", *rewarded.rewards), "auditor")
        self.advance(1)
        self.kept()

    def close_evaluation(self) -> None:
        """Store the scores as statistic "heldout" of the iteration that made the policy, by set its "win_rates" too."""
        if self.complete:
            return
        self.flush()
        run, policy = self.run, self._policy
        found = {split: self._figures(split) for split in self._baselines}
        shown = {split: figure["win_rate"] and figure["win_rate"]["value"] for split, figure in found.items()}
        scores = run.read(lambda conn: heldout_scores(conn, run.id, run.config.evaluation.success, policy.number))

        def store_figures(conn: Connection) -> None:
            statistics.put_statistic(conn, run.id, policy.number - 1, "heldout", [*map(heldout_figures, scores)])
            if found:
                statistics.put_statistic(conn, run.id, policy.number - 1, "win_rates", found)

        self.close(store_figures, **({"win_rate": shown} if found else {}))

    def store(self, conn: Connection) -> None:
        for (split, mode), rows in self._kept_rows.items():
            heldout.copy_heldout_responses(conn, self.run.id, self._policy.number, split, mode, rows)
        for (split, role), compared in self._compared.items():
            comparisons.copy_comparisons(conn, self.run.id, self._policy.number, split, compared, role)
        for (split, mode, role), parts in self._kept_parts.items():
            heldout.copy_heldout_parts(conn, self.run.id, self._policy.number, split, mode, role, parts)

    def tallies(self) -> Mapping[str, float]:
        responses = [row for rows in self._kept_rows.values() for row in rows if row.finish != "failed"]
        parts = ((part.name, part.part) for kept in self._kept_parts.values() for part in kept)
        return {"responses": len(responses), "tokens": sum(row.tokens for row in responses), **cost_tally(parts)}

    def forget(self) -> None:
        self._kept_rows, self._compared, self._kept_parts = {}, {}, {}

    def _read_baseline(self, split: str) -> Mapping[int, str] | None:
        """The baseline's answers by item; None where this policy is compared with nothing."""
        run, source = self.run, self.run.config.evaluation.baseline_of(split)
        if source is None or (source == INITIAL and self._policy.number == 0):
            return None
        if source != INITIAL:
            return run.read(lambda conn: comparisons.read_baseline(conn, run.id, split))
        given = run.read(lambda conn: heldout.read_heldout_responses(conn, run.id, 0, split, "greedy"))
        return {answer.item: answer.text for answer in given if answer.finish != "failed"}

    def _beside(self, place: Place) -> str | None:
        """The baseline's answer that a greedy one is compared with."""
        return self._baselines.get(place.split, {}).get(place.item) if place.mode == "greedy" else None

    def _comparison(self, item: int, role: JudgeRole, own: Reward, baseline: Reward) -> HeldoutComparison:
        reward, beside = _finite(own), _finite(baseline)
        if reward is None:
            return HeldoutComparison(item, None, beside, None, own.reason or f"the reward is {own.value}")
        if beside is None:
            why = baseline.reason or f"the reward is {baseline.value}"
            return HeldoutComparison(item, reward, None, None, f"the baseline's answer: {why}")
        soft = gives_win_rates(self._rewarder(role))
        (preference,) = preferences(np.array([reward]), np.array([beside]), win_rates=soft).tolist()
        return HeldoutComparison(item, reward, beside, preference)

    def _rewarder(self, role: JudgeRole) -> RewardConfig:
        config = self.run.config
        evaluator = config.evaluation.reward or config.reward
        return evaluator if role == "evaluator" else config.audit.reward or evaluator

    def _figures(self, split: str) -> dict[str, Any]:
        run, policy = self.run, self._policy.number
        seed = derive(run.config.seed, "win_rates", split, policy)
        compared = run.read(lambda conn: _read_compared(conn, run.id, split, policy))
        found = baseline_figures(compared, policy, seed=seed)
        if split in run.config.evaluation.judges_own:
            second_P = np.full(len(compared[policy].preference_P), np.nan)
            for row in run.read(lambda conn: comparisons.read_comparisons(conn, run.id, policy, split, "auditor")):
                second_P[row.item] = np.nan if row.preference is None else row.preference
            bias = self_preference(1 - compared[policy].preference_P, 1 - second_P, seed=seed)
            found["self_preference"] = bias and bias | {"rewarder": self._evaluator, "second_rewarder": self._auditor}
        return found

    def _compare(self, place: Place, comparison: HeldoutComparison, role: JudgeRole = "evaluator") -> None:
        self._compared.setdefault((place.split, role), []).append(comparison)

    def _keep_parts(self, place: Place, role: JudgeRole, rewarder: str, rewarded: RewardedResponses) -> None:
        self._kept_parts.setdefault((place.split, place.mode, role), []).extend(
            HeldoutPart(place.item, response.sample, f"{rewarder}/{name}", part)
            for response, reward in zip(rewarded.answered.responses, rewarded.rewards, strict=True)
            for name, part in reward.parts
        )

    def _keep(self, place: Place, rows: list[HeldoutResponse]) -> None:
        self._kept_rows.setdefault((place.split, place.mode), []).extend(rows)
        self.advance(1)
        self.kept()


def heldout_figures(score: HeldoutScore) -> dict[str, Any]:
    """A policy's accuracy and mean reward on one split in one mode, each with its 95 % interval."""
    low, high = wilson(score.correct, score.n)
    half = None if score.deviation is None else 1.96 * score.deviation / math.sqrt(score.rewarded)
    reward = None if score.reward is None or half is None else [score.reward - half, score.reward + half]
    return {
        "checkpoint": score.checkpoint,
        "split": score.split,
        "mode": score.mode,
        "n": score.n,
        "rewarded": score.rewarded,
        "correct": score.correct,
        "accuracy": score.correct / score.n,
        "accuracy_interval": [low, high],
        "reward": score.reward,
        "reward_interval": reward,
    }


def _finite(reward: Reward) -> float | None:
    return reward.value if reward.value is not None and math.isfinite(reward.value) else None


def _read_compared(conn: Connection, run_id: int, split: str, last: int) -> dict[int, ComparedResponses]:
    """What was compared so far, by checkpoint, with a row per item for each."""
    found: dict[int, list[_Counted]] = {}
    for row in comparisons.iter_compared(conn, run_id, split, last):
        found.setdefault(row.checkpoint, []).append(
            _Counted(row.item, row.preference, _counts(row.text), _counts(row.baseline_text))
        )
    items = 1 + max(row.item for rows in found.values() for row in rows)
    return {checkpoint: _compared(rows, items) for checkpoint, rows in found.items()}


def _counts(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else features(text)


def _compared(rows: Sequence[_Counted], items: int) -> ComparedResponses:
    preference_P = np.full(items, np.nan)
    counts_2_P_F = np.full((2, items, len(FEATURES)), np.nan)
    for row in rows:
        preference_P[row.item] = np.nan if row.preference is None else row.preference
        for side, counts_F in enumerate((row.own, row.baseline)):
            if counts_F is not None:
                counts_2_P_F[side, row.item] = counts_F
    return ComparedResponses(preference_P, counts_2_P_F[0], counts_2_P_F[1])
