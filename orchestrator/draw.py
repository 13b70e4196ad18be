"""What the creator reads from judged prompts: how informative each is, and which of a pool are evolved."""

from __future__ import annotations

from collections.abc import Mapping

from eva.creator.informativeness import estimate
from eva.creator.mixing import share_of
from eva.creator.sampling import Draw, sample
from eva.types import Estimate, RewardTable
from orchestrator.journal import Journal


def informativeness(judged: RewardTable, journal: Journal) -> Estimate:
    """info(x) of each prompt, by the config's metric."""
    config = journal.config
    return estimate(
        judged,
        metric=config.informativeness.metric,
        threshold=config.informativeness.threshold,
        keep_cut=config.generation.keep_cut,
    )


def draw_prompts(iteration: int, judged: RewardTable, estimated: Estimate, journal: Journal) -> Draw:
    """Draws the prompts of the pool that are evolved."""
    config = journal.config
    return sample(
        estimated,
        share_of(config.sampling.fraction, journal.batch_size(iteration)),
        journal.sampling_rule(iteration),
        seed=config.seed,
        iteration=iteration,
        traits=journal.traits(judged, iteration),
    )


def foresee(iteration: int, journal: Journal) -> Mapping[int, int] | None:
    """Returns the prompts that an iteration will draw, each with the checkpoint whose rewards decide, before it begins.

    None if prompts of its pool have no rewards yet, so that the policy which is being trained has to answer them.
    """
    pool = journal.pool(iteration)
    if journal.never_judged(pool):
        return None
    judged = journal.newest_rewards(pool, iteration)
    draw = draw_prompts(iteration, judged, informativeness(judged, journal), journal)
    if judged.checkpoints_P is None:
        return {}
    return dict(zip(draw.subset, judged.checkpoints_P[draw.sampled_P].tolist(), strict=True))
