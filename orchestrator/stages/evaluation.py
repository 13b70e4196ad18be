"""The stage that evaluates a policy on held-out prompts: rewards of its responses, and win rates against a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Connection

from eva.evaluation.turns import with_responses
from eva.measures.statistics import clustered_wilson, mean_interval, paired_interval
from eva.measures.usability import check_usability
from eva.runtime.failpoints import reach
from eva.seeds import derive
from eva.types import Checkpoint, PromptResponses, Request, Response, RewardedResponses, SamplingSettings
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.baseline import BaselineComparison, Comparisons
from orchestrator.stages.judging import cost_tally
from orchestrator.stages.stage import Batch, Stage
from store.game import comparisons, heldout
from store.game.usability import read_evaluated
from store.rows import HeldoutPart, HeldoutResponse, JudgeRole
from store.views import statistics
from store.views.report import HeldoutChange, HeldoutScore, heldout_changes, heldout_scores


@dataclass(frozen=True, slots=True)
class HeldoutRequest:
    """A request for responses to a held-out prompt, with its reference answer. `mode`: greedy or sampled."""

    mode: str
    split: str
    item: int
    request: Request
    reference: str | None = None


class _Missing(NamedTuple):
    """Responses `first` .. `first + n - 1` to a held-out prompt, which the policy has not given yet."""

    mode: str
    item: int
    first: int
    n: int


Responses = Mapping[tuple[str, str], Sequence[HeldoutResponse]]
"""Responses by held-out set and mode."""
Parts = Mapping[tuple[str, str, JudgeRole], Sequence[HeldoutPart]]
"""The parts of their rewards, by set, mode and who has judged."""


@dataclass(frozen=True, slots=True)
class EvaluatedBatch(Batch):
    """Responses to held-out prompts with their rewards, and how they compare with a baseline's."""

    run: int
    policy: int
    responses: Responses
    comparisons: Comparisons
    parts: Parts

    def store(self, conn: Connection) -> None:
        for (split, mode), rows in self.responses.items():
            heldout.copy_heldout_responses(conn, self.run, self.policy, split, mode, rows)
        for (split, role), compared in self.comparisons.items():
            comparisons.copy_comparisons(conn, self.run, self.policy, split, compared, role)
        for (split, mode, role), parts in self.parts.items():
            heldout.copy_heldout_parts(conn, self.run, self.policy, split, mode, role, parts)

    def tallies(self) -> Mapping[str, float]:
        responses = [row for rows in self.responses.values() for row in rows if row.finish != "failed"]
        parts = ((part.name, part.part) for rows in self.parts.values() for part in rows)
        return {"responses": len(responses), "tokens": sum(row.tokens for row in responses), **cost_tally(parts)}


class EvaluateStage(Stage):
    """Asks the policy for responses to the held-out prompts, one greedy and some sampled at temperature 1.

    Where a set has a baseline, the baseline's response is rewarded beside the greedy one, as two responses to one
    prompt, so that a judge compares these two. Where the judge's own model wrote the baseline, the auditor compares
    them again. `evaluator` and `auditor` are the names of the rewarders.
    """

    def __init__(
        self, run: ClaimedRun, iteration: int, name: str, policy: Checkpoint, evaluator: str, auditor: str | None
    ) -> None:
        super().__init__(run, iteration, name, 0)
        self._policy, self._evaluator, self._auditor = policy, evaluator, auditor
        self._comparison = BaselineComparison(run, policy)
        self._asked: list[HeldoutRequest] = []  # a request's number is its place here
        self._responses: dict[tuple[str, str], list[HeldoutResponse]] = {}
        self._parts: dict[tuple[str, str, JudgeRole], list[HeldoutPart]] = {}

    def turns(self) -> Iterator[list[Request]]:
        """Yields requests for the responses that are not stored yet, turn by turn of the conversations.

        A later turn continues with the policy's own responses, so keep those to a turn before you take the next one.
        """
        if self.complete:
            return
        turns = self.run.read(lambda conn: heldout.heldout_turns(conn, self.run.id))
        missing = {split: self._missing(split, later=bool(before)) for split, before in turns.items()}
        self.expect(sum(map(len, missing.values())))
        for number in sorted({len(before) for before in turns.values()}):
            self.flush()
            start = len(self._asked)
            for split, before in turns.items():
                if len(before) == number:
                    self._ask(split, before, missing[split])
            yield [asked.request for asked in self._asked[start:]]

    def with_baseline(self, generated: Iterable[PromptResponses]) -> Iterator[PromptResponses]:
        """Passes responses on to the evaluator, greedy ones with the baseline's behind them. Keeps failures."""
        for prompt in generated:
            reach("evaluate.response_received")
            request = self._asked[prompt.number]
            baseline = self._baseline_response(request)
            if prompt.failure is not None:
                if request.mode == "greedy" and self._comparison.has(request.split):
                    self._comparison.keep_failure(request.split, request.item, prompt.failure)
                self._keep(request, [HeldoutResponse(request.item, 0, "", "failed", 0, None, prompt.failure)])
            elif baseline is None:
                yield replace(prompt, reference=request.reference)
            else:
                second = Response(len(prompt.responses), baseline, "stop", 0, 0)
                yield replace(prompt, responses=(*prompt.responses, second), reference=request.reference)

    def keep_rewards(self, rewarded: RewardedResponses) -> None:
        """Keeps the policy's own responses with their rewards, and how they compare with the baseline's."""
        reach("evaluate.reward_received")
        responses, rewards = rewarded.prompt.responses, rewarded.rewards
        request = self._asked[rewarded.prompt.number]
        self._keep_parts(request.split, request.mode, request.item, "evaluator", rewarded)
        if self._baseline_response(request) is not None:
            self._comparison.keep(request.split, request.item, "evaluator", *rewards)
            responses, rewards = responses[:-1], rewards[:-1]
        elif request.mode == "greedy" and self._comparison.has(request.split):
            self._comparison.keep_without_baseline(request.split, request.item, rewards[0])
        self._keep(
            request,
            [
                HeldoutResponse(
                    request.item,
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

    def second_opinions(self) -> list[PromptResponses]:
        """Returns the pairs in which the evaluator has judged its own model's response and the auditor has not yet."""
        pairs = [pair for _, _, pair in self._unaudited]
        if pairs:
            self.expect(self._total + len(pairs))
        return pairs

    def keep_second_opinion(self, rewarded: RewardedResponses) -> None:
        split, item, _ = self._unaudited[rewarded.prompt.number]
        self._keep_parts(split, "greedy", item, "auditor", rewarded)
        self._comparison.keep(split, item, "auditor", *rewarded.rewards)
        self.advance(1)
        self.flush_when_full()

    def close_evaluation(self) -> None:
        """Stores the scores as statistics "heldout" and "win_rates" of the iteration that made the policy."""
        if self.complete:
            return
        self.flush()
        run, policy = self.run, self._policy
        evaluated = run.read(lambda conn: read_evaluated(conn, run.id, policy.number))
        check_usability(evaluated, evaluated.responses, 1, stops=False)
        by_split = self._comparison.figures(self._evaluator, self._auditor)
        shares = {split: figures["win_rate"] and figures["win_rate"]["value"] for split, figures in by_split.items()}
        success = run.config.evaluation.success
        scores = run.read(lambda conn: heldout_scores(conn, run.id, success, policy.number))
        changes = run.read(lambda conn: heldout_changes(conn, run.id, success, policy.number)) if policy.number else []
        figures = [heldout_figures(score, changes) for score in scores]

        def store_figures(conn: Connection) -> None:
            statistics.put_statistic(conn, run.id, policy.number - 1, "heldout", figures)
            if by_split:
                statistics.put_statistic(conn, run.id, policy.number - 1, "win_rates", by_split)

        self.close(store_figures, **({"win_rate": shares} if by_split else {}))

    def take(self) -> EvaluatedBatch:
        kept, parts = self._responses, self._parts
        self._responses, self._parts = {}, {}
        return EvaluatedBatch(self.run.id, self._policy.number, kept, self._comparison.take(), parts)

    def _missing(self, split: str, *, later: bool) -> list[_Missing]:
        """What the policy has not responded to. At a later turn, each sample continues a conversation of its own."""
        run, policy = self.run, self._policy.number
        missing: list[_Missing] = []
        for mode, n in (("greedy", 1), ("sampled", run.config.evaluation.n)):
            if later:
                stored = run.read(lambda conn, mode=mode: heldout.heldout_samples(conn, run.id, policy, split, mode))
                items = run.read(lambda conn: heldout.read_heldout(conn, run.id, split))
                samples = ((item, sample) for item in items for sample in range(n))
                missing += [_Missing(mode, item, sample, 1) for item, sample in samples if (item, sample) not in stored]
            else:
                present = run.read(
                    lambda conn, mode=mode, n=n: heldout.heldout_missing(conn, run.id, policy, split, mode, n)
                )
                missing += [_Missing(mode, item, first, n - first) for item, first in present.items()]
        return missing

    def _ask(self, split: str, before: Sequence[str], missing: Sequence[_Missing]) -> None:
        """Adds requests for what is missing in a split. `before`: the splits of the earlier turns."""
        run, limit = self.run, self.run.config.generation.max_tokens
        texts = run.read(lambda conn: heldout.read_heldout(conn, run.id, split))
        contexts = run.read(lambda conn: heldout.read_heldout_contexts(conn, run.id, split))
        references = run.read(lambda conn: heldout.read_heldout_references(conn, run.id, split))
        earlier = [self._responses_to(turn) for turn in before]
        for mode, item, first, n in missing:
            # of a prompt without responses, one row alone says so
            said = [responses[key] for responses in earlier if (key := (mode, item, first)) in responses]
            if len(said) < len(earlier):
                continue
            context = with_responses(contexts.get(item, ()), [response.text for response in said])
            # the stage was first called "examine"; another word here would change every run's responses
            seed = derive(run.config.seed, "examine", split, item) >> 1
            sampling = SamplingSettings(0.0 if mode == "greedy" else 1.0, 1.0, limit)
            request = Request(len(self._asked), texts[item], n, seed, sampling, first, context)
            asked = HeldoutRequest(mode, split, item, request, references.get(item))
            failed = next((response for response in said if response.finish == "failed"), None)
            if failed is None:
                self._asked.append(asked)
            else:
                reason = f"no response to an earlier turn: {failed.reason}"
                self._keep(asked, [HeldoutResponse(item, first, "", "failed", 0, None, reason)])

    def _responses_to(self, split: str) -> dict[tuple[str, int, int], HeldoutResponse]:
        """The policy's stored responses to a split, by mode, item and sample."""
        run, policy = self.run, self._policy.number
        return {
            (mode, row.item, row.sample): row
            for mode in ("greedy", "sampled")
            for row in run.read(
                lambda conn, mode=mode: heldout.read_heldout_responses(conn, run.id, policy, split, mode)
            )
        }

    @cached_property
    def _unaudited(self) -> list[tuple[str, int, PromptResponses]]:
        """What the auditor has to compare: set, item, and the two responses, numbered by their place here."""
        self.flush()
        unaudited: list[tuple[str, int, PromptResponses]] = []
        for split in () if self.complete else self.run.config.evaluation.judges_own:
            for pair in self.run.read(
                lambda conn, split=split: comparisons.read_not_audited(conn, self.run.id, self._policy.number, split)
            ):
                unaudited.append((split, pair.number, replace(pair, number=len(unaudited))))
        return unaudited

    def _baseline_response(self, request: HeldoutRequest) -> str | None:
        """The baseline's response that a greedy one is compared with."""
        return self._comparison.response(request.split, request.item) if request.mode == "greedy" else None

    def _keep_parts(self, split: str, mode: str, item: int, role: JudgeRole, rewarded: RewardedResponses) -> None:
        rewarder = self._evaluator if role == "evaluator" else self._auditor
        self._parts.setdefault((split, mode, role), []).extend(
            HeldoutPart(item, response.sample, f"{rewarder}/{name}", part)
            for response, reward in zip(rewarded.prompt.responses, rewarded.rewards, strict=True)
            for name, part in reward.parts
        )

    def _keep(self, request: HeldoutRequest, rows: list[HeldoutResponse]) -> None:
        self._responses.setdefault((request.split, request.mode), []).extend(rows)
        self.advance(1)
        self.flush_when_full()


def heldout_figures(score: HeldoutScore, changes: Sequence[HeldoutChange] = ()) -> dict[str, Any]:
    """A policy's accuracy and mean reward on one split in one mode, each with its 95 % interval over items.

    `change` and `reward_change` compare it with the initial model, item by item; None for the initial model itself.
    """
    change = next((row for row in changes if (row.split, row.mode) == (score.split, score.mode)), None)
    return {
        "checkpoint": score.checkpoint,
        "split": score.split,
        "mode": score.mode,
        "n": score.n,
        "items": score.items,
        "rewarded": score.rewarded,
        "correct": score.correct,
        "accuracy": score.correct / score.n,
        "accuracy_interval": [*clustered_wilson(score.correct, score.n, score.items, score.deviation)],
        "change": change and change.accuracy,
        "change_interval": change and paired_interval(change.accuracy, change.squares, change.items, change.samples),
        "reward": score.reward,
        "reward_interval": None
        if score.reward is None
        else mean_interval(score.reward, score.reward_deviation, score.rewarded_items),
        "reward_change": change and change.reward,
        "reward_change_interval": None
        if change is None or change.reward is None
        else mean_interval(change.reward, change.reward_deviation, change.rewarded),
    }
