"""A creator with weights of its own in the loop: its initial model, and its update by what its children were worth."""

from __future__ import annotations

from eva.roles import Roles
from eva.types import Checkpoint
from orchestrator.journal import Journal


def adopt_creator(iteration: int, roles: Roles, journal: Journal) -> None:
    """Publishes and stores the creator's initial model, if the run has such a creator and lacks it."""
    if journal.lacks_creator(iteration):
        journal.adopt(roles.trainer.publish_initial(journal.creator_folder, "creator"), "creator")


def teach(iteration: int, policy: Checkpoint, roles: Roles, journal: Journal) -> None:
    """Rewards the creator by the regret of its children, which the batch has shown, and trains it unless it is frozen.

    Does nothing where the creator has no weights of its own, or did not play.
    """
    config = journal.config.evolving.creator
    if config is None or not journal.config.creates(iteration):
        return
    with journal.rewarding_creator(iteration) as stage:
        stage.close_rewards()
    if config.frozen:
        return
    creator = journal.writer(iteration, policy)
    with journal.training_creator(iteration) as stage:
        if not stage.complete:
            if (job := journal.creator_job(iteration, creator)) is not None:
                roles.rest()
            stage.close_training(roles.trainer.train(job, stage.report_step) if job else None, creator)
