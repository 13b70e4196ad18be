"""How diverse an iteration's batch was: measured, stored, and heeded where the config gives bounds."""

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


def measure(run: ClaimedRun, iteration: int, batch: Sequence[int]) -> dict[str, object]:
    """The figures of a batch's prompts, and of one response each of a sample, from the iteration's policy."""
    numbers_P = np.array(batch, dtype=np.int64)
    keys_P = uniforms(run.config.seed, iteration, "diversity", numbers=numbers_P)
    sample = sorted(numbers_P[np.argsort(keys_P, kind="stable")[:SAMPLE]].tolist())
    texts = run.read(lambda conn: prompts.read_prompts(conn, run.id, batch))
    answered = run.read(lambda conn: responses.read_answered(conn, run.id, iteration, sample))
    similarity = run.config.novelty.similarity
    return describe_prompts(texts, frozenset(sample), similarity) | describe_responses(
        [one.responses[0].text for one in answered if one.responses]
    )


def heed(conn: Connection, run: ClaimedRun, iteration: int, figures: Mapping[str, object]) -> list[Breach]:
    """Store the figures and tell of breached bounds. Returns those that pause the run, whose wish is set then.

    The last iteration has nothing left to pause; a wish of the user's stays as it is.
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


def collapsed(run: ClaimedRun, pausing: Sequence[Breach]) -> RunStoppedError:
    """Why the run paused itself."""
    return RunStoppedError(
        f"run {run.name} has lost diversity: {', '.join(map(str, pausing))}",
        next_move=f"Look at it with `eva show {run.name}`; `eva run --resume {run.name}` goes on all the same",
    )
