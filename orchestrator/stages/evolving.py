"""The stage that evolves the sampled prompts into children."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from eva.config import Evolving
from eva.creator.budget import Spending, SpendingLimits
from eva.creator.evolution import EvolutionPlan, Offspring, number_children
from eva.creator.operators import FAMILIES, NEEDS_PARTNER
from eva.creator.operators.choice import FLOOR, OperatorBelief, is_broad, operator_probabilities
from eva.creator.steering import Steering
from eva.errors import ConfigError, RunStoppedError
from eva.measures.usability import LONGEST_TEXT
from eva.prompts.conversations import has_turns
from eva.runtime.failpoints import reach
from eva.solver.token_record import RecordFile, creator_token_records
from eva.types import Attempt, Chain, EvolvedAhead, Feedback, Prompt
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.record_files import write_record_file
from orchestrator.stages.earlier_prompts import EarlierPrompts
from orchestrator.stages.gain import operator_record
from orchestrator.stages.stage import Batch, Stage
from store.game import batches, evolutions, feedback, prompts
from store.runs import events, runs, token_files
from store.views import statistics

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ChainBatch(Batch):
    """Chains of children that have finished; with records of the tokens of `unrecorded`, which are written first."""

    run: ClaimedRun
    iteration: int
    chains: list[Chain]
    unrecorded: list[Chain]
    files: list[RecordFile] = field(default_factory=list[RecordFile])

    def prepare(self, total_s: float | None = None, hurry: threading.Event | None = None) -> None:
        """Writes the token records of the chains, for a creator that is trained on them."""
        if self.unrecorded and (creator := self.run.creator(self.iteration)) is not None:
            if records := creator_token_records(self.unrecorded, creator.number):
                written = write_record_file(
                    self.run, self.iteration, records, total_s=total_s, hurry=hurry, player="creator"
                )
                self.files.append(written)
            self.unrecorded = []

    def store(self, conn: Connection) -> None:
        token_files.insert_token_files(conn, self.run.id, self.files)
        evolutions.copy_chains(conn, self.run.id, self.iteration, self.chains)


class EvolveStage(Stage):
    """Stores each chain of children as it finishes, and numbers the children when all chains are stored."""

    def __init__(
        self, run: ClaimedRun, iteration: int, subset: Sequence[int], earlier: EarlierPrompts, steering: Steering
    ) -> None:
        super().__init__(run, iteration, "evolve", len(subset))
        self._subset, self._earlier, self._steering = subset, earlier, steering
        self._chains: list[Chain] = []
        self._beliefs: list[OperatorBelief] = []
        creator = run.config.evolving.creator
        self._records = creator is not None and not creator.frozen
        self._unrecorded: list[Chain] = []

    def missing(self) -> list[Prompt]:
        """Returns the sampled prompts whose chains are not stored yet; none when the stage is complete."""
        if self.complete:
            return []
        evolved = {chain.source for chain in self._stored_chains()}
        self.advance(len(evolved))
        rest = [number for number in self._subset if number not in evolved]
        return self.run.read(lambda conn: prompts.read_prompts(conn, self.run.id, rest))

    def complete_plan(self, plan: EvolutionPlan, offered: tuple[str, ...]) -> EvolutionPlan:
        """Returns the plan with its operators, and with the partners and feedback that these need.

        `offered`: the evolver's own operators, which are used unless the config names some.
        """
        run, iteration = self.run, self.iteration
        if self.complete:
            return replace(plan, operators=tuple(run.config.evolving.operators or offered))
        rows = run.read(lambda conn: batches.read_estimates(conn, run.id, iteration, sampled=True))
        policies = {row.prompt: row.checkpoint for row in rows}
        completed, self._beliefs = complete_plan(run, plan, offered, policies, self._steering)
        return completed

    def spending(self) -> Spending:
        """Returns the iteration's budget, less what the stored chains have cost."""
        return spent_on(self._stored_chains(), self.run.config.evolving)

    def keep_chain(self, chain: Chain) -> None:
        self._chains.append(chain)
        if self._records:
            self._unrecorded.append(chain)
        reach("evolve.chain_kept")
        self.advance(1)
        self.flush_when_full()

    def close_evolution(self, ahead: EvolvedAhead | None = None) -> list[int]:
        """Numbers the children in canonical order, stores them, and returns their numbers.

        `ahead`: how much of this took place while the solver was trained.
        """
        run, iteration = self.run, self.iteration
        if not self.complete:
            self.flush()
            chains = self._stored_chains()
            sources = run.read(lambda conn: prompts.read_prompts(conn, run.id, self._subset))
            first = run.read(lambda conn: runs.get_run(conn, run.id)).prompt_count
            offspring = number_children(
                chains,
                {prompt.number: prompt for prompt in sources},
                first,
                iteration,
                run.config.novelty.similarity,
                self._earlier.twins,
                copies=run.config.evolving.copies,
            )
            likeness = self._earlier.likeness(offspring.children)
            children = [replace(child, likeness=likeness.get(child.number)) for child in offspring.children]
            reach("evolve.children_numbered")

            def store_children(conn: Connection) -> None:
                prompts.insert_prompts(conn, run.id, children)
                evolutions.assign_children(
                    conn,
                    run.id,
                    iteration,
                    [(source, slot, child) for (source, slot), child in offspring.places.items()],
                )
                if self._beliefs:
                    beliefs = [asdict(belief) for belief in self._beliefs]
                    statistics.put_statistic(conn, run.id, iteration, "operator_choice", beliefs)

            counts = {**evolution_counts(chains, offspring), **self._counts_ahead(ahead)}
            starved = starvation(counts, chains, run.config.evolving)
            if starved is not None:
                log.warning("%s", starved)

            def store_outcome(conn: Connection) -> None:
                store_children(conn)
                if starved is not None:
                    events.append_event(conn, run.id, "starved", asdict(starved), iteration=iteration)
                    if run.config.collapse.starved == "pause" and runs.read_desired(conn, run.id) == "run":
                        runs.set_desired(conn, run.id, "pause")

            try:
                self.close(store_outcome, **counts, **budget_counts(chains, len(self._subset), run.config.evolving))
            except RunStoppedError as error:
                self.complete = True  # the run stops, but the stage is stored
                raise (starved_error(run.name, starved) if starved is not None else error) from None
        return run.read(lambda conn: prompts.read_numbers_born(conn, run.id, iteration, iteration))

    def _counts_ahead(self, ahead: EvolvedAhead | None) -> Mapping[str, Any]:
        if ahead is None:
            return {}
        counts = {"prompts": ahead.prompts, "seconds": round(ahead.seconds, 3)}
        if ahead.began_ns is not None and ahead.ended_ns is not None:
            self.run.spans.add_past("evolve_ahead", self.iteration, ahead.began_ns, ahead.ended_ns, counts)
        return {"ahead": counts}

    def take(self) -> ChainBatch:
        chains, unrecorded = self._chains, self._unrecorded
        self._chains, self._unrecorded = [], []
        return ChainBatch(self.run, self.iteration, chains, unrecorded)

    def _stored_chains(self) -> list[Chain]:
        return self.run.read(lambda conn: evolutions.read_chains(conn, self.run.id, self.iteration))


def complete_plan(
    run: ClaimedRun, plan: EvolutionPlan, offered: tuple[str, ...], policies: Mapping[int, int], steering: Steering
) -> tuple[EvolutionPlan, list[OperatorBelief]]:
    """Returns the plan with its operators, and with the partners and feedback that these need.

    `policies`: the sampled prompts, each with the checkpoint of the policy whose rewards it was estimated from. The
    second value says how likely each operator is, and why; it is empty if all are alike.
    """
    evolving = run.config.evolving
    operators = tuple(evolving.operators or offered)
    partners: list[Prompt] = []
    if NEEDS_PARTNER & set(evolving.operators or ()):
        sampled = run.read(lambda conn: prompts.read_prompts(conn, run.id, sorted(policies)))
        # A prompt that replies to earlier turns makes no sense in another conversation.
        partners = [prompt for prompt in sampled if not has_turns(prompt.context)]
    feedback_of: dict[int, Feedback] = {}
    if evolving.shows_responses:
        keep_cut = run.config.generation.keep_cut
        feedback_of = run.read(
            lambda conn: feedback.read_feedback(conn, run.id, policies, run.rewarder, keep_cut=keep_cut)
        )
    beliefs: list[OperatorBelief] = []
    breadth = min(1.0, evolving.breadth + steering.breadth)
    if evolving.choice != "uniform" or breadth:
        beliefs = _operator_beliefs(run, plan.iteration, operators, breadth)
    probabilities = {belief.operator: belief.probability for belief in beliefs} or None
    return (
        replace(plan, operators=operators, probabilities=probabilities, partners=partners, feedback=feedback_of),
        beliefs,
    )


def _operator_beliefs(
    run: ClaimedRun, iteration: int, operators: tuple[str, ...], breadth: float
) -> list[OperatorBelief]:
    """How likely each operator is. `breadth`: the least probability of all operators in breadth together."""
    evolving = run.config.evolving
    if evolving.breadth and not any(map(is_broad, operators)):
        raise ConfigError(
            f"evolving.breadth is {evolving.breadth:g}, but of {', '.join(operators)} no operator is in breadth",
            expected=f"one of {', '.join(name for name in FAMILIES if is_broad(name))}",
            next_move="Add one to evolving.operators, or set evolving.breadth to 0",
        )
    record = run.read(lambda conn: operator_record(conn, run.id, run.config, iteration, operators))
    floor = FLOOR if evolving.floor is None else evolving.floor
    return operator_probabilities(evolving.choice, record, floor, breadth)


def evolution_counts(chains: Sequence[Chain], offspring: Offspring) -> Mapping[str, Any]:
    """Counts of accepted children, refused attempts by reason, and slots that were given up; costs by operator."""
    attempts = [attempt for chain in chains for attempt in chain.attempts]
    refused = Counter(attempt.reason for attempt in attempts if attempt.reason is not None)
    for reason, dropped in (("duplicate", offspring.duplicates), ("semantic_duplicate", offspring.alike)):
        if dropped:
            refused[reason] = len(dropped)
    given_up = sum(len({attempt.slot for attempt in chain.attempts}) - len(chain.accepted) for chain in chains)
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


@dataclass(frozen=True, slots=True)
class Starvation:
    """A creator none of whose children was accepted: the commonest reason with an example of it, and what to do."""

    refused: int
    reason: str
    count: int
    example: str
    advice: str

    def __str__(self) -> str:
        shown = f", such as {self.example!r}" if self.example else ""
        return f"all {self.refused:,} children were refused, {self.count:,} of them as {self.reason!r}{shown}"


def starvation(counts: Mapping[str, Any], chains: Sequence[Chain], evolving: Evolving) -> Starvation | None:
    """Returns why no child was accepted; None if one was, or none was tried."""
    refused: Mapping[str, int] = counts["refused"]
    if counts["accepted"] or not refused:
        return None
    reason = max(refused, key=lambda name: refused[name])
    texts = (attempt.reply.text for chain in chains for attempt in chain.attempts if attempt.reason == reason)
    example = " ".join(next(texts, "").split())
    advice = {
        "cut": "Raise the evolver's max_tokens: a model that reasons first needs room for it",
        "too_long": f"Raise evolving.max_chars ({evolving.max_chars})",
        "unanswered": "Raise fleet.max_model_len: the instructions do not fit",
        "apology": "Ask another model to evolve: this one refuses",
        "declined": "Ask another provider to evolve: this one refuses the prompts",
    }.get(reason, "Look at a few with `eva lineage` and at docs/reference/evolvers.md")
    cut = example if len(example) <= LONGEST_TEXT else example[: LONGEST_TEXT - 1] + "…"
    return Starvation(sum(refused.values()), reason, refused[reason], cut, advice)


def starved_error(name: str, starved: Starvation) -> RunStoppedError:
    """The error with which a run whose creator wrote nothing of use pauses itself."""
    return RunStoppedError(
        f"run {name} has paused: {starved}",
        expected="children that the creator accepts",
        next_move=f"{starved.advice}. Then resume with `eva run --resume {name}`: this iteration goes on with prompts "
        "of the pool. With collapse.starved: warn, a run never pauses for this",
    )


def budget_counts(chains: Sequence[Chain], sources: int, evolving: Evolving) -> Mapping[str, object]:
    """Whether the budget was used up, and how many evolutions were left out because of it. Empty without a budget."""
    if evolving.budget is None:
        return {}
    asked = sum(len({attempt.slot for attempt in chain.attempts}) for chain in chains)
    return {"budget_used_up": spent_on(chains, evolving).used_up, "not_asked": sources * evolving.per_prompt - asked}


def spent_on(chains: Sequence[Chain], evolving: Evolving) -> Spending:
    """What these chains have cost of the config's budget."""
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
