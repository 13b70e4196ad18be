"""Diversity of an iteration's batch: measured, stored, and compared with the bounds of the config."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from sqlalchemy import Connection

from eva.errors import RunStoppedError
from eva.measures.diversity import SAMPLE, Breach, breaches, describe_prompts, describe_responses
from eva.seeds import uniforms
from orchestrator.hold.claimed_run import ClaimedRun
from store.game import prompts, responses
from store.runs import events, runs
from store.views import statistics

log = logging.getLogger(__name__)


def diversity_figures(run: ClaimedRun, iteration: int, batch: Sequence[int]) -> dict[str, object]:
    """Returns figures of the batch's prompts, and of one response from the iteration's policy to each of a sample."""
    numbers_P = np.array(batch, dtype=np.int64)
    keys_P = uniforms(run.config.seed, iteration, "diversity", numbers=numbers_P)
    sample = sorted(numbers_P[np.argsort(keys_P, kind="stable")[:SAMPLE]].tolist())
    texts = run.read(lambda conn: prompts.read_prompts(conn, run.id, batch))
    sampled = run.read(lambda conn: responses.read_responses(conn, run.id, iteration, sample))
    similarity = run.config.novelty.similarity
    return describe_prompts(texts, frozenset(sample), similarity) | describe_responses(
        [prompt.responses[0].text for prompt in sampled if prompt.responses]
    )


def store_diversity(conn: Connection, run: ClaimedRun, iteration: int, figures: Mapping[str, object]) -> list[Breach]:
    """Stores the figures and an event for each bound that is breached. Returns the breaches that pause the run.

    The run's desired state is set to pause then, unless this is the last iteration or a user has asked for another
    state.
    """
    bounds = run.config.collapse
    statistics.put_statistic(conn, run.id, iteration, "diversity", figures)
    pausing = breaches(figures, bounds.pause)
    for breach in [*breaches(figures, bounds.warn), *pausing]:
        log.warning("%s", breach)
        events.append_event(conn, run.id, "collapse", asdict(breach), iteration=iteration)
    if not pausing or iteration + 1 == run.config.iterations or runs.read_desired(conn, run.id) != "run":
        return []
    runs.set_desired(conn, run.id, "pause")
    return pausing


def collapse_error(run: ClaimedRun, pausing: Sequence[Breach]) -> RunStoppedError:
    """The error with which a run that has lost diversity pauses itself."""
    return RunStoppedError(
        f"run {run.name} has lost diversity: {', '.join(map(str, pausing))}",
        next_move=f"Look at it with `eva show {run.name}`, or continue anyway with `eva run --resume {run.name}`",
    )
