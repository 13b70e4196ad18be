"""The algorithm: a creator that keeps writing prompts, and a solver that learns from its own responses to them.

Algorithm 1 of "Evolving Alignment via Asymmetric Self-Play". Read it from top to bottom. Every stage is idempotent:
a resumed run walks the same path and does only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import chain

from eva.creator.mixing import mix
from eva.roles import Roles
from eva.solver.advantages import weigh
from eva.solver.chunks import Chunk
from eva.solver.pairs import pair
from eva.types import Checkpoint, RewardTable
from orchestrator.ahead import Ahead
from orchestrator.creator_update import adopt_creator, teach
from orchestrator.draw import draw_prompts, informativeness
from orchestrator.journal import Journal, JudgeStage


def play(roles: Roles, journal: Journal) -> None:
    """Plays the run to its end from wherever it stands.

    Raises RunStoppedError at a batch boundary when the run was asked to pause or cancel, and LeaseLostError when
    another driver has taken the run over.
    """
    with closing(Ahead(roles, journal)) as ahead:
        for iteration in journal.remaining_iterations():
            policy = journal.policy(iteration) or journal.adopt(roles.trainer.publish_initial(journal.folder))
            adopt_creator(iteration, roles, journal)
            if iteration == 0 and journal.evaluates_initial:
                evaluate(iteration, "evaluate_initial", policy, roles, journal)
            pool = journal.pool(iteration)
            creates = journal.config.creates(iteration)
            batch = create(iteration, pool, policy, roles, journal, ahead) if creates else pool
            policy = solve(iteration, pool, batch, policy, roles, journal, ahead)
            teach(iteration, policy, roles, journal)
            if journal.evaluates(iteration):
                evaluate(iteration, "evaluate", policy, roles, journal)
            journal.finish_iteration(iteration, pool, batch)


def create(
    iteration: int, pool: list[int], policy: Checkpoint, roles: Roles, journal: Journal, ahead: Ahead
) -> list[int]:
    """The creator's step: judge the pool, sample the informative prompts, evolve them, mix. Returns the batch."""
    config, size = journal.config, journal.batch_size(iteration)
    if config.info_from == "fresh":
        judged = judge(iteration, "judge_pool", pool, policy, roles, journal)
    else:
        judge(iteration, "judge_pool", journal.never_judged(pool), policy, roles, journal)
        judged = journal.newest_rewards(pool, iteration)

    with journal.stage(iteration, "estimate", len(pool)) as stage:
        estimated = informativeness(judged, journal)
        stage.close(**estimated.counts())

    with journal.sampling(iteration, pool) as stage:
        draw = draw_prompts(iteration, judged, estimated, journal)
        stage.close_draw(judged, estimated, draw, policy)

    children = evolve(iteration, draw.subset, policy, roles, journal, ahead)
    if config.evolving.gate is not None:
        children = admit(iteration, children, policy, roles, journal)

    with journal.stage(iteration, "mix", size) as stage:
        mixed = mix(
            children,
            pool,
            size,
            child_share=config.mixing.children,
            buffer_share=journal.buffer_share(iteration),
            seed=config.seed,
            iteration=iteration,
        )
        stage.close(children=len(mixed.children), buffer=len(mixed.buffer), shortfall=mixed.shortfall)
    return mixed.batch


def solve(
    iteration: int, pool: list[int], batch: list[int], policy: Checkpoint, roles: Roles, journal: Journal, ahead: Ahead
) -> Checkpoint:
    """The solver's step, whole or by chunks: judge the batch, choose what to learn from, train. Returns the policy."""
    for chunk in journal.chunks(iteration, batch):
        judged = judge(iteration, "judge_batch", chunk.prompts, policy, roles, journal, chunk)
        if chunk.last:
            audit(iteration, batch, policy, roles, journal)
        choose(iteration, chunk, pool, judged, policy, journal)
        policy = train(iteration, chunk, policy, roles, journal, ahead)
    return policy


def choose(
    iteration: int, chunk: Chunk, pool: list[int], judged: RewardTable, policy: Checkpoint, journal: Journal
) -> None:
    """Chooses two responses to each prompt for the solver to learn from, or weighs all of them for an online loss."""
    config, estimated = journal.config, informativeness(judged, journal)
    keep_cut = config.generation.keep_cut
    if config.training.facts.online:
        with journal.weighing(iteration, chunk) as stage:
            weighing = weigh(judged, rule=config.training.advantage_rule, keep_cut=keep_cut)
            stage.close_advantages(judged, estimated, weighing, pool, policy)
    else:
        with journal.pairing(iteration, chunk) as stage:
            pairing = pair(judged, seed=config.seed, iteration=iteration, keep_cut=keep_cut, **dict(config.pairs))
            stage.close_pairs(judged, estimated, pairing, pool, policy)


def train(iteration: int, chunk: Chunk, policy: Checkpoint, roles: Roles, journal: Journal, ahead: Ahead) -> Checkpoint:
    """Trains on the batch, or on a chunk of it. Returns the newest policy: after the last chunk a checkpoint.

    Meanwhile the next children are evolved, where they do not depend on this policy.
    """
    with journal.training(iteration, chunk, ahead.figures) as stage:
        if (trained := stage.checkpoint()) is None:
            job = journal.training_job(iteration, chunk, policy)
            if not chunk.cut:
                roles.rest()
            if job is not None and chunk.last:
                ahead.start(iteration + 1)
            trained = stage.close_training(roles.trainer.train(job, stage.report_step) if job else None, policy)
    return trained


def judge(
    iteration: int,
    name: str,
    prompts: Sequence[int],
    policy: Checkpoint,
    roles: Roles,
    journal: Journal,
    chunk: Chunk | None = None,
) -> RewardTable:
    """Returns the rewards of n responses per prompt from this policy; generates only those that are missing."""
    with journal.judging(iteration, name, prompts, policy, chunk) as stage:
        generate_and_reward(stage, policy, roles)
        stage.close_judging()
    return journal.rewards(prompts, policy)


def generate_and_reward(stage: JudgeStage, policy: Checkpoint, roles: Roles) -> None:
    """Completes the stage's responses and rewards; the rewarder works while the engines still generate."""
    missing = stage.missing()
    with closing(roles.respond(missing.requests, policy)) as generated:
        for rewarded in roles.rewarder.reward(chain(missing.unrewarded, stage.keep_responses(generated))):
            stage.keep_rewards(rewarded)


def evolve(
    iteration: int, subset: list[int], policy: Checkpoint, roles: Roles, journal: Journal, ahead: Ahead
) -> list[int]:
    """Returns the children of the sampled prompts, each new to the run."""
    with journal.evolving(iteration, subset) as stage:
        sources = stage.missing()
        plan = stage.complete_plan(journal.evolution_plan(iteration), roles.evolver.operators)
        if sources and journal.config.evolving.asks_fleet:
            roles.generator.load(journal.writer(iteration, policy))
        for evolved in ahead.evolve(iteration, sources, plan, stage.spending()):
            stage.keep_chain(evolved)
        children = stage.close_evolution(ahead.told(iteration))
    ahead.forget(iteration)
    return children


def admit(iteration: int, children: list[int], policy: Checkpoint, roles: Roles, journal: Journal) -> list[int]:
    """Returns the children whose regret, in a few responses of the policy, lies inside the gate's band."""
    with journal.gating(iteration, children, policy) as stage:
        generate_and_reward(stage, policy, roles)
        return stage.close_gate()


def audit(iteration: int, batch: list[int], policy: Checkpoint, roles: Roles, journal: Journal) -> None:
    """Measures what the rewarder likes besides quality, and whether a second rewarder agrees with it."""
    with journal.auditing(iteration, batch, policy, roles.auditor) as stage:
        for rewarded in roles.auditor.reward(stage.missing()) if roles.auditor else ():
            stage.keep_rewards(rewarded)
        stage.close_audit()


def evaluate(iteration: int, name: str, policy: Checkpoint, roles: Roles, journal: Journal) -> None:
    """Tests the policy on the held-out prompts: rewards its responses, and compares them with a baseline's."""
    with journal.evaluating(iteration, name, policy, roles.evaluator, roles.auditor) as stage:
        for requests in stage.turns():
            with closing(roles.respond(requests, policy)) as generated:
                for rewarded in roles.evaluator.reward(stage.with_baseline(generated)):
                    stage.keep_rewards(rewarded)
        for rewarded in roles.auditor.reward(stage.second_opinions()) if roles.auditor else ():
            stage.keep_second_opinion(rewarded)
        stage.close_evaluation()
