"""What a run has spent itself, as parts of a query of runs: without what a fork shares with its parent."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, ScalarSelect, cast, func, select

from store.schema.tables import checkpoints, runs, stages, training_steps

EVOLVING = "evolve"
_OWN_FROM = func.coalesce(runs.c.forked_at, 0)


def own_seconds() -> ScalarSelect[float]:
    """The seconds that its stages took."""
    return _over_stages(stages.c.seconds)


def own_tokens() -> ScalarSelect[float]:
    """The tokens of the responses that its stages generated, not those of the prompts that an LLM wrote."""
    return _over_stages(cast(stages.c.counts["tokens"].astext, Double), stages.c.name != EVOLVING)


def own_cost() -> ScalarSelect[float]:
    """What its stages paid for LLM APIs, in US dollars by LiteLLM's prices."""
    return _over_stages(cast(stages.c.counts["cost_usd"].astext, Double))


def own_steps() -> ScalarSelect[int]:
    """The optimiser steps of its trainings that were logged."""
    trained = training_steps.c
    # one look at the end of an index for each training
    last = (
        select(func.max(trained.step).label("step"))
        .where(
            trained.run_id == checkpoints.c.run_id,
            trained.checkpoint == checkpoints.c.number,
            trained.player == checkpoints.c.player,
        )
        .correlate(checkpoints)
        .lateral("last")
    )
    own = (checkpoints.c.run_id == runs.c.id, checkpoints.c.player == "solver", checkpoints.c.number > _OWN_FROM)
    total = func.coalesce(func.sum(last.c.step), 0)
    return (
        select(total).select_from(checkpoints).join(last, last.c.step > 0).where(*own).correlate(runs).scalar_subquery()
    )


def _over_stages(value: ColumnElement[Any], *only: ColumnElement[bool]) -> ScalarSelect[float]:
    total = func.coalesce(func.sum(value), 0.0)
    own = stages.c.iteration >= _OWN_FROM
    return select(total).where(stages.c.run_id == runs.c.id, own, *only).correlate(runs).scalar_subquery()
