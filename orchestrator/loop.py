"""The algorithm: a creator that keeps writing prompts, a solver that learns from its answers to them.

Algorithm 1 of "Evolving Alignment via Asymmetric Self-Play". Read it from top to bottom; every stage
is idempotent, so a resumed run walks the same path and does only what is missing.
"""

from __future__ import annotations

from contextlib import closing
from itertools import chain

from eva.creator.evolution import evolve_all
from eva.creator.informativeness import estimate
from eva.creator.mixing import mix, share_of
from eva.creator.sampling import sample
from eva.roles import Roles
from eva.solver.pairs import pair
from eva.types import Checkpoint, RewardTable
from orchestrator.journal import Journal, JudgeStage


def play(roles: Roles, journal: Journal) -> None:
    """Play the run to its end from wherever it stands.

    Raises RunStoppedError at a batch boundary when the run was asked to pause or cancel, and
    LeaseLostError when another driver has taken the run over.
    """
    for iteration in journal.remaining_iterations():
        policy = journal.policy(iteration) or journal.adopt(roles.trainer.publish_initial(journal.folder))
        if iteration == 0:
            evaluate(iteration, "evaluate_initial", policy, roles, journal)
        pool = journal.pool(iteration)
        warm_up = iteration == 0 and journal.config.warm_start
        batch = pool if warm_up else create(iteration, pool, policy, roles, journal)
        solve(iteration, pool, batch, policy, roles, journal)
        journal.finish_iteration(iteration, pool, batch)


def create(iteration: int, pool: list[int], policy: Checkpoint, roles: Roles, journal: Journal) -> list[int]:
    """The creator's step: estimate, sample, evolve, mix. Returns the numbers of the batch."""
    config, size = journal.config, journal.batch_size(iteration)
    if config.info_from == "fresh":
        judged = judge(iteration, "judge_pool", pool, policy, roles, journal)
    else:
        judge(iteration, "judge_pool", journal.unanswered(pool), policy, roles, journal)
        judged = journal.reused(pool, policy)

    with journal.stage(iteration, "estimate", len(pool)) as stage:
        estimated = estimate(
            judged,
            metric=config.informativeness.metric,
            threshold=config.informativeness.threshold,
            keep_cut=config.generation.keep_cut,
        )
        stage.close(**estimated.counts())

    with journal.sampling(iteration, len(pool)) as stage:
        draw = sample(
            estimated,
            share_of(config.sampling.fraction, size),
            config.sampling.rule,
            seed=config.seed,
            iteration=iteration,
            traits=journal.traits(judged, policy),
        )
        stage.close_draw(judged, estimated, draw, policy)

    with journal.evolving(iteration, len(draw.subset)) as stage:
        sources = stage.unevolved(draw.subset)
        plan = stage.informed(journal.evolution_plan(iteration))
        if sources and config.evolving.asks_policy:
            roles.generator.load(policy)
        for family in evolve_all(sources, roles.evolver, plan, config.evolving.concurrency, stage.spending()):
            stage.keep_chain(family)
        children = stage.close_evolved(draw.subset)
    if config.evolving.gate is not None:
        children = admit(iteration, children, policy, roles, journal)

    with journal.stage(iteration, "mix", size) as stage:
        mixed = mix(
            children,
            pool,
            size,
            child_share=config.mixing.children,
            buffer_share=config.mixing.buffer,
            seed=config.seed,
            iteration=iteration,
        )
        stage.close(children=len(mixed.children), buffer=len(mixed.buffer), shortfall=mixed.shortfall)
    return mixed.batch


def solve(
    iteration: int, pool: list[int], batch: list[int], policy: Checkpoint, roles: Roles, journal: Journal
) -> None:
    """The solver's step: judge the batch, pair, train a new policy, evaluate it."""
    config = journal.config
    judged = judge(iteration, "judge_batch", batch, policy, roles, journal)
    audit(iteration, batch, policy, roles, journal)

    with journal.pairing(iteration, len(batch)) as stage:
        estimated = estimate(
            judged,
            metric=config.informativeness.metric,
            threshold=config.informativeness.threshold,
            keep_cut=config.generation.keep_cut,
        )
        pairing = pair(
            judged,
            seed=config.seed,
            iteration=iteration,
            choice=config.pairs.choice,
            min_margin=config.pairs.min_margin,
            length_ratio=config.pairs.length_ratio,
            keep_cut=config.generation.keep_cut,
        )
        stage.close_pairs(judged, estimated, pairing, pool, policy)

    with journal.training(iteration) as stage:
        trained = stage.trained()
        if trained is None:
            job = journal.training_job(iteration, policy)
            roles.generator.rest()
            trained = stage.close_trained(roles.trainer.train(job, stage.step) if job else None, policy)

    if journal.evaluates(iteration):
        evaluate(iteration, "evaluate", trained, roles, journal)


def judge(
    iteration: int, name: str, prompts: list[int], policy: Checkpoint, roles: Roles, journal: Journal
) -> RewardTable:
    """n responses per prompt from this policy, each rewarded; generates only for prompts that lack them."""
    with journal.judging(iteration, name, len(prompts)) as stage:
        respond(stage, prompts, policy, roles)
        stage.close()
    return journal.judged(prompts, policy)


def admit(iteration: int, children: list[int], policy: Checkpoint, roles: Roles, journal: Journal) -> list[int]:
    """The children whose probe, a few responses of the policy, shows regret inside the gate's band."""
    with journal.gating(iteration, len(children)) as stage:
        respond(stage, children, policy, roles)
        return stage.close_gate(children, policy)


def respond(stage: JudgeStage, prompts: list[int], policy: Checkpoint, roles: Roles) -> None:
    """Generate and reward what the stage lacks, the rewarder at work while the engines are."""
    todo = stage.unjudged(prompts, policy)
    with closing(roles.answer(todo.requests, policy)) as fresh:
        for rewarded in roles.rewarder.reward(chain(todo.answered, stage.keep_answered(fresh))):
            stage.keep_rewarded(rewarded)


def audit(iteration: int, batch: list[int], policy: Checkpoint, roles: Roles, journal: Journal) -> None:
    """What does the rewarder like besides quality, and does a second one agree with it?"""
    with journal.auditing(iteration) as stage:
        if roles.auditor is not None:
            for rewarded in roles.auditor.reward(stage.unaudited(batch, policy, roles.auditor.name)):
                stage.keep_audited(rewarded)
        stage.close_audit(batch, policy)


def evaluate(iteration: int, name: str, policy: Checkpoint, roles: Roles, journal: Journal) -> None:
    """Answer the held-out prompts with this policy, greedily and sampled; reward the answers beside a baseline's."""
    with journal.evaluating(iteration, name) as stage:
        with closing(roles.answer(stage.unevaluated(policy, roles.evaluator.name), policy)) as fresh:
            for rewarded in roles.evaluator.reward(stage.answerable(fresh)):
                stage.keep_evaluated(rewarded)
        if roles.auditor is not None:
            for rewarded in roles.auditor.reward(stage.self_judged(policy, roles.auditor.name)):
                stage.keep_self_judged(rewarded)
        stage.close_evaluation()
