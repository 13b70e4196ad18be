"""The creator's stages that store something: the draw, and the children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from eva.config import Evolving, FeedbackEvolver
from eva.creator.budget import Spending, SpendingLimits
from eva.creator.evolution import EvolutionPlan, Offspring, Twins, number_children
from eva.creator.informativeness import Estimate
from eva.creator.operators import NEEDS_PARTNER
from eva.creator.sampling import Draw
from eva.measures.spread import spread
from eva.measures.statistics import describe
from eva.prompts.conversations import has_turns
from eva.runtime.failpoints import reach
from eva.types import Attempt, Chain, Checkpoint, Feedback, Floats, Prompt, RewardTable
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.stage import Stage
from store.game import batches, evolutions, feedback, prompts
from store.rows import EstimateRow
from store.runs import runs
from store.views import statistics


class SampleStage(Stage):
    """Which prompts were drawn, with what info, weight and key: the answer to "why was this one evolved?"."""

    def close_draw(self, judged: RewardTable, estimated: Estimate, draw: Draw, policy: Checkpoint) -> None:
        checkpoints = (
            [policy.number] * len(judged.numbers_P) if judged.checkpoints_P is None else judged.checkpoints_P.tolist()
        )
        rows = [
            EstimateRow(number, checkpoint, info, estimated.reason(row), weight, key, sampled)
            for row, (number, checkpoint, info, weight, key, sampled) in enumerate(
                zip(
                    estimated.numbers_P.tolist(),
                    checkpoints,
                    nullable(estimated.info_P),
                    nullable(draw.weights_P),
                    nullable(draw.keys_P),
                    draw.sampled_P.tolist(),
                    strict=True,
                )
            )
        ]

        def store_draw(conn: Connection) -> None:
            batches.copy_estimates(conn, self.run.id, self.iteration, rows)
            statistics.put_statistic(
                conn, self.run.id, self.iteration, "pool", {**describe(judged, estimated), "threshold": threshold(draw)}
            )
            statistics.put_statistic(
                conn, self.run.id, self.iteration, "spread", spread(judged, estimated, draw.sampled_P)
            )

        self.close(store_draw, sampled=int(draw.sampled_P.sum()), uniform=draw.uniform)


def threshold(draw: Draw) -> float | None:
    """The smallest key that was sampled; None where keys decided nothing."""
    keys_S = draw.keys_P[draw.sampled_P]
    keys_S = keys_S[np.isfinite(keys_S)]
    return float(keys_S.min()) if len(keys_S) else None


class EvolveStage(Stage):
    """Chains are stored whole as they finish; children get their numbers when the last one is in."""

    _chains: list[Chain]

    def __init__(self, run: ClaimedRun, iteration: int, total: int, same_meaning: Twins) -> None:
        super().__init__(run, iteration, "evolve", total)
        self._same_meaning = same_meaning

    def unevolved(self, subset: Sequence[int]) -> list[Prompt]:
        """The sampled prompts whose chains are not stored yet; none when the stage is closed."""
        self.forget()
        if self.complete:
            return []
        evolved = {chain.source for chain in self._stored_chains()}
        self.advance(len(evolved))
        rest = [number for number in subset if number not in evolved]
        return self.run.read(lambda conn: prompts.read_prompts(conn, self.run.id, rest))

    def informed(self, plan: EvolutionPlan) -> EvolutionPlan:
        """The plan with the config's operators, and with what operators and evolver want to know of the subset."""
        run, evolving = self.run, self.run.config.evolving
        operators = tuple(evolving.operators or ())
        partners: list[Prompt] = []
        if NEEDS_PARTNER & set(operators) and not self.complete:
            rows = run.read(lambda conn: batches.read_estimates(conn, run.id, self.iteration, sampled=True))
            numbers = [row.prompt for row in rows]
            drawn = run.read(lambda conn: prompts.read_prompts(conn, run.id, numbers))
            # what answers earlier turns means nothing to another conversation
            partners = [prompt for prompt in drawn if not has_turns(prompt.context)]
        seen: dict[int, Feedback] = {}
        if isinstance(evolving.evolver, FeedbackEvolver) and not self.complete:
            seen = run.read(
                lambda conn: feedback.read_feedback(
                    conn, run.id, self.iteration, run.rewarder, keep_cut=run.config.generation.keep_cut
                )
            )
        return replace(plan, operators=operators, partners=partners, feedback=seen)

    def spending(self) -> Spending:
        """The iteration's budget, less what the chains stored so far have cost."""
        return spent_on(self._stored_chains(), self.run.config.evolving)

    def keep_chain(self, chain: Chain) -> None:
        self._chains.append(chain)
        reach("evolve.chain_kept")
        self.advance(1)
        self.kept()

    def close_evolved(self, subset: Sequence[int]) -> list[int]:
        """Number the children in canonical order, store them, and return their numbers."""
        run, iteration = self.run, self.iteration
        if not self.complete:
            self.flush()
            chains = self._stored_chains()
            sources = run.read(lambda conn: prompts.read_prompts(conn, run.id, subset))
            first = run.read(lambda conn: runs.get_run(conn, run.id)).prompt_count
            offspring = number_children(
                chains,
                {prompt.number: prompt for prompt in sources},
                first,
                iteration,
                run.config.novelty.similarity,
                self._same_meaning,
            )
            reach("evolve.children_numbered")

            def store_children(conn: Connection) -> None:
                prompts.insert_prompts(conn, run.id, offspring.children)
                evolutions.assign_children(
                    conn,
                    run.id,
                    iteration,
                    [(source, slot, child) for (source, slot), child in offspring.places.items()],
                )

            self.close(
                store_children,
                **evolution_counts(chains, offspring),
                **budget_counts(chains, len(subset), run.config.evolving),
            )
        return run.read(lambda conn: prompts.read_numbers_born(conn, run.id, iteration, iteration))

    def store(self, conn: Connection) -> None:
        evolutions.copy_chains(conn, self.run.id, self.iteration, self._chains)

    def forget(self) -> None:
        self._chains = []

    def _stored_chains(self) -> list[Chain]:
        return self.run.read(lambda conn: evolutions.read_chains(conn, self.run.id, self.iteration))


def evolution_counts(chains: Sequence[Chain], offspring: Offspring) -> Mapping[str, object]:
    """Children accepted, attempts refused by reason, and places in chains that were given up."""
    refused = Counter(attempt.reason for chain in chains for attempt in chain.attempts if attempt.reason is not None)
    for reason, dropped in (("duplicate", offspring.duplicates), ("semantic_duplicate", offspring.alike)):
        if dropped:
            refused[reason] = len(dropped)
    given_up = sum(len({attempt.slot for attempt in chain.attempts}) - len(chain.accepted) for chain in chains)
    attempts = [attempt for chain in chains for attempt in chain.attempts]
    by_operator = {
        name: [attempt for attempt in attempts if attempt.operator == name]
        for name in sorted({attempt.operator for attempt in attempts})
    }
    return {
        "accepted": len(offspring.children),
        "refused": dict(sorted(refused.items())),
        "given_up": given_up,
        **_cost(attempts),
        "per_operator": {
            name: {"asked": len(some), "accepted": sum(attempt.reason is None for attempt in some)} | _cost(some)
            for name, some in by_operator.items()
        },
    }


def budget_counts(chains: Sequence[Chain], sources: int, evolving: Evolving) -> Mapping[str, object]:
    """Whether the budget ended the stage, and how many evolutions were not asked for it. Nothing without a budget."""
    if evolving.budget is None:
        return {}
    asked = sum(len({attempt.slot for attempt in chain.attempts}) for chain in chains)
    return {"budget_used_up": spent_on(chains, evolving).used_up, "not_asked": sources * evolving.per_prompt - asked}


def spent_on(chains: Sequence[Chain], evolving: Evolving) -> Spending:
    """What these chains have cost, against the config's budget."""
    budget = evolving.budget
    limits = (
        SpendingLimits()
        if budget is None
        else SpendingLimits(budget.max_attempts, budget.max_tokens, budget.max_cost_usd)
    )
    return Spending(limits).resume(chains)


def _cost(attempts: Sequence[Attempt]) -> dict[str, float]:
    replies = [attempt.reply for attempt in attempts]
    return {
        "tokens": sum(reply.prompt_tokens + reply.reply_tokens for reply in replies),
        "cost_usd": sum(reply.cost_usd for reply in replies),
    }


def nullable(values: Floats) -> list[float | None]:
    """NaN as NULL."""
    return [None if value != value else value for value in values.tolist()]
