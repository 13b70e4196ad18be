"""The stage that examines a policy on held-out prompts: rewards of its answers, and win rates against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection

from eva.config.rewards import gives_win_rates
from eva.config.solver import INITIAL
from eva.evaluation.baseline import Compared, figures
from eva.evaluation.winning import preferences
from eva.failpoints import reach
from eva.seeds import derive
from eva.types import Answered, Checkpoint, Floats, Request, Response, Reward, Rewarded, SamplingSettings
from orchestrator.stage import Stage
from store import comparisons, heldout, statistics
from store.rows import ComparedRow, Comparison, HeldoutResponse

NO_BASELINE = "the baseline has no answer"


@dataclass(frozen=True, slots=True)
class Place:
    """Which held-out prompt a request asks, and how."""

    mode: str
    split: str
    item: int


class ExamineStage(Stage):
    """Held-out prompts, answered greedily and sampled at temperature 1.

    Where a set has a baseline, its answer is rewarded beside the greedy one, as two responses to one prompt: what
    compares responses compares these two.
    """

    _kept_rows: dict[tuple[str, str], list[HeldoutResponse]]
    _compared: dict[str, list[Comparison]]

    def unexamined(self, policy: Checkpoint) -> list[Request]:
        """Requests for the held-out prompts that this policy has not answered, numbered by place in this list."""
        self._policy, self._places = policy, list[Place]()
        self.forget()
        run, limit = self.run, self.run.config.generation.max_tokens
        modes = (("greedy", SamplingSettings(0.0, 1.0, limit), 1),
                 ("sampled", SamplingSettings(1.0, 1.0, limit), run.config.evaluation.n))
        requests: list[Request] = []
        splits = run.read(lambda conn: heldout.heldout_splits(conn, run.id))
        found = {split: self._read_baseline(split) for split in splits}
        self._baselines = {split: answers for split, answers in found.items() if answers is not None}
        for split in splits:
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
        """Answered prompts on their way to the examiner, greedy answers with the baseline's beside them.

        Those that could not be answered are kept as failed.
        """
        for one in answered:
            reach("examine.answer_received")
            place = self._places[one.number]
            beside = self._beside(place)
            if one.failure is not None:
                if place.mode == "greedy" and place.split in self._baselines:
                    self._compare(place, Comparison(place.item, None, None, None, one.failure))
                self._keep(place, [HeldoutResponse(place.item, 0, "", "failed", 0, None, one.failure)])
            elif beside is None:
                yield one
            else:
                yield replace(one, responses=(*one.responses, Response(len(one.responses), beside, "stop", 0, 0)))

    def keep_examined(self, rewarded: Rewarded) -> None:
        """The policy's own answers with their rewards, and what the comparison says."""
        reach("examine.reward_received")
        responses, rewards = rewarded.answered.responses, rewarded.rewards
        place = self._places[rewarded.answered.number]
        if self._beside(place) is not None:
            self._compare(place, self._comparison(place.item, *rewards))
            responses, rewards = responses[:-1], rewards[:-1]
        elif place.mode == "greedy" and place.split in self._baselines:
            self._compare(place, Comparison(place.item, _finite(rewards[0]), None, None, NO_BASELINE))
        self._keep(place, [
            HeldoutResponse(place.item, response.sample, response.text, response.finish, response.tokens, reward.value,
                            reward.reason)
            for response, reward in zip(responses, rewards, strict=True)])

    def close_examined(self) -> None:
        """Store the win rates, by set, as statistic "win_rates" of the iteration that made the policy."""
        if self.complete:
            return
        self.flush()
        if not self._baselines:
            self.close()
            return
        found = {split: self._figures(split) for split in self._baselines}
        shown = {split: figure["win_rate"] and figure["win_rate"]["value"] for split, figure in found.items()}
        self.close(lambda conn: statistics.put_statistic(
            conn, self.run.id, self._policy.iteration, "win_rates", found), win_rate=shown)

    def store(self, conn: Connection) -> None:
        for (split, mode), rows in self._kept_rows.items():
            heldout.copy_heldout_responses(conn, self.run.id, self._policy.number, split, mode, rows)
        for split, compared in self._compared.items():
            comparisons.copy_comparisons(conn, self.run.id, self._policy.number, split, compared)

    def forget(self) -> None:
        self._kept_rows, self._compared = {}, {}

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

    def _comparison(self, item: int, own: Reward, baseline: Reward) -> Comparison:
        reward, beside = _finite(own), _finite(baseline)
        if reward is None:
            return Comparison(item, None, beside, None, own.reason or f"the reward is {own.value}")
        if beside is None:
            why = baseline.reason or f"the reward is {baseline.value}"
            return Comparison(item, reward, None, None, f"the baseline's answer: {why}")
        config = self.run.config
        soft = gives_win_rates(config.evaluation.reward or config.reward)
        (preference,) = preferences(np.array([reward]), np.array([beside]), win_rates=soft).tolist()
        return Comparison(item, reward, beside, preference)

    def _figures(self, split: str) -> dict[str, Any]:
        run, policy = self.run, self._policy.number
        rows = run.read(lambda conn: comparisons.read_compared(conn, run.id, split))
        count = max(row.item for row in rows) + 1
        compared = {checkpoint: _compared([row for row in rows if row.checkpoint == checkpoint], count)
                    for checkpoint in sorted({row.checkpoint for row in rows if row.checkpoint <= policy})}
        return figures(compared, policy, seed=derive(run.config.seed, "win_rates", split, policy))

    def _compare(self, place: Place, comparison: Comparison) -> None:
        self._compared.setdefault(place.split, []).append(comparison)

    def _keep(self, place: Place, rows: list[HeldoutResponse]) -> None:
        self._kept_rows.setdefault((place.split, place.mode), []).extend(rows)
        self.advance(1)
        self.kept()


def _finite(reward: Reward) -> float | None:
    return reward.value if reward.value is not None and math.isfinite(reward.value) else None


def _compared(rows: Sequence[ComparedRow], count: int) -> Compared:
    table_P_3: Floats = np.full((count, 3), np.nan)
    for row in rows:
        table_P_3[row.item] = [np.nan if value is None else value
                               for value in (row.preference, row.length, row.baseline_length)]
    return Compared(*table_P_3.T)
