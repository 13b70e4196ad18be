"""Evolving ahead: a thread writes the children of the next iteration while the solver is being trained.

It does so only where everything that decides them is stored before the training (`RunConfig.overlap_obstacle`). The
children enter the database in their turn, in which the loop plans them again and takes those of the same plan. So what
a run decides, and the order in which it is stored, are those of a run that evolves when the training is over.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from eva.config import RunConfig
from eva.creator.budget import Spending
from eva.creator.evolution import EvolutionPlan, evolve_all
from eva.roles import Roles
from eva.runtime.failpoints import reach
from eva.types import Chain, EvolvedAhead, Prompt
from orchestrator.draw import foresee
from orchestrator.journal import ChainFiles, Journal

log = logging.getLogger(__name__)


class Ahead:
    """Evolves at most one iteration ahead. Close it when the driver ends, so that no more children are asked for."""

    def __init__(self, roles: Roles, journal: Journal) -> None:
        self._roles, self._journal = roles, journal
        self._work: _Work | None = None
        self._taken = 0

    def start(self, iteration: int) -> None:
        """Begins to evolve for an iteration, unless the config keeps that for its turn or the run ends before."""
        if self._journal.evolves_ahead(iteration):
            self.close()
            self._work = _Work(iteration, self._roles, self._journal)

    def figures(self) -> Mapping[str, float]:
        """How far it is, as figures to show beside those of the training; empty while nothing is planned."""
        return {} if self._work is None else self._work.figures()

    def evolve(
        self, iteration: int, sources: Sequence[Prompt], plan: EvolutionPlan, spending: Spending
    ) -> Iterator[Chain]:
        """Yields the chains of these prompts as they finish: first those that were evolved ahead, then the others."""
        rest = {source.number: source for source in sources}
        for chain in self._chains(iteration, sources, plan):
            del rest[chain.source]
            spending.resume([chain])
            yield chain
        roles, at_once = self._roles, self._journal.config.evolving.chains_at_once
        yield from evolve_all(rest.values(), roles.evolver, plan, at_once, spending, roles.guide)

    def _chains(self, iteration: int, sources: Sequence[Prompt], plan: EvolutionPlan) -> Iterator[Chain]:
        """Yields the chains of these prompts that were evolved ahead, by this driver or an earlier one.

        Waits for those that are being evolved. A chain of another plan, or one that failed, is not among them.
        """
        self._taken = 0
        if not sources or not self._journal.config.overlaps:
            return
        wanted, key = {source.number for source in sources}, plan_key(plan, self._journal.config)
        work = self._work if self._work is not None and self._work.iteration == iteration else None
        for chain in work.chains(key) if work is not None else self._stored(iteration, key):
            if chain.source in wanted:
                self._taken += 1
                yield chain

    def told(self, iteration: int) -> EvolvedAhead | None:
        """How much of an iteration's evolving took place ahead; None if nothing did."""
        if not self._taken:
            return None
        work = self._work
        if work is None or work.iteration != iteration:
            return EvolvedAhead(self._taken)
        return EvolvedAhead(self._taken, work.began_ns, work.ended_ns)

    def forget(self, iteration: int) -> None:
        """Drops what was evolved ahead for an iteration, because it is stored."""
        self.close()
        self._journal.chain_files(iteration).remove()

    def close(self) -> None:
        """Asks for no more children. Replies in flight come back to nobody."""
        if self._work is not None:
            self._work.stop()
            self._work = None

    def _stored(self, iteration: int, key: str) -> Iterator[Chain]:
        """The chains of an earlier driver that was killed after the training."""
        yield from self._journal.chain_files(iteration).read(key).values()


class _Work:
    """The thread that evolves for one iteration, and the chains that it has finished."""

    def __init__(self, iteration: int, roles: Roles, journal: Journal) -> None:
        self.iteration, self.began_ns = iteration, time.time_ns()
        self.ended_ns: int | None = None
        self._roles, self._journal = roles, journal
        self._files: ChainFiles = journal.chain_files(iteration)
        self._spending: Spending = journal.new_spending()
        self._changed = threading.Condition()
        self._plan, self._total = "", 0
        self._chains: list[Chain] = []
        self._stopped = self._ended = False
        # its log records say of which run they are
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._play,), name="evolve ahead", daemon=True).start()

    def figures(self) -> Mapping[str, float]:
        with self._changed:
            return {"evolved": len(self._chains), "to_evolve": self._total} if self._total else {}

    def stop(self) -> None:
        self._stopped = True
        self._spending.stop()

    def chains(self, key: str) -> Iterator[Chain]:
        """Yields the chains as they finish, if they were written by this plan."""
        given = 0
        while some := self._next(given, key):
            yield from some
            given += len(some)

    def _next(self, given: int, key: str) -> list[Chain]:
        """The chains after the first `given`, as soon as there are any; none at the end, or if the plan is another."""
        with self._changed:
            self._changed.wait_for(  # bounded: by the evolver
                lambda: len(self._chains) > given or self._ended or self._plan not in ("", key)
            )
            if self._plan != key:
                self.stop()
                return []
            return self._chains[given:]

    def _play(self) -> None:
        try:
            self._evolve()
        except BaseException as error:  # noqa: BLE001 - in its turn the loop meets it again, and raises it
            log.warning("evolving ahead ended early, and goes on in its turn: %s", error)
        finally:
            with self._changed:
                self.ended_ns, self._ended = time.time_ns(), True
                self._changed.notify_all()

    def _evolve(self) -> None:
        journal, roles = self._journal, self._roles
        policies = foresee(self.iteration, journal)
        if policies is None:
            log.info("nothing is evolved ahead: prompts of the next pool have no responses yet")
            return
        plan = journal.plan_ahead(self.iteration, policies, roles.evolver.operators)
        key = plan_key(plan, journal.config)
        earlier = [chain for source, chain in self._files.read(key).items() if source in policies]
        with self._changed:
            self._plan, self._total, self._chains = key, len(policies), earlier
            self._changed.notify_all()
        reach("ahead.planned")
        self._spending.resume(earlier)
        rest = journal.texts(sorted(policies.keys() - {chain.source for chain in earlier}))
        log.info("evolving ahead begins: %d prompts, %d of them are evolved", len(policies), len(earlier))
        chains_at_once = journal.config.evolving.chains_at_once
        with closing(evolve_all(rest, roles.evolver, plan, chains_at_once, self._spending, roles.guide)) as chains:
            for chain in chains:
                if self._stopped:  # it may have ended early for this
                    return
                reach("ahead.chain_evolved")
                self._files.append(key, chain)
                reach("ahead.chain_filed")
                with self._changed:
                    self._chains.append(chain)
                    self._changed.notify_all()
        log.info("evolving ahead is done")


def plan_key(plan: EvolutionPlan, config: RunConfig) -> str:
    """A digest of everything that decides the chains of an iteration: chains of equal plans are the same.

    The novelty checks are those of the config against the prompts that the plan knows.
    """
    evolving = config.evolving.model_dump_json(exclude={"overlap", "concurrency"})
    decides = (
        plan.seed,
        plan.iteration,
        (plan.per_prompt, plan.attempts, plan.mode, plan.max_chars, plan.similarity, plan.copies, plan.guide_floor),
        sorted(plan.known),
        sorted(plan.protected),
        plan.operators,
        None if plan.probabilities is None else sorted(plan.probabilities.items()),
        [(partner.number, partner.text) for partner in plan.partners],
        sorted((number, repr(feedback)) for number, feedback in plan.feedback.items()),
        evolving,
        config.novelty.model_dump_json(),
    )
    return hashlib.sha256(repr(decides).encode()).hexdigest()
