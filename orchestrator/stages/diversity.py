"""Figures of an iteration's batch: its diversity, compared with the bounds of the config, and its categories."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sqlalchemy import Connection

from eva.creator.informativeness import estimate
from eva.errors import RunStoppedError
from eva.measures.categories import category_figures
from eva.measures.diversity import SAMPLE, Breach, breaches, describe_prompts, describe_responses
from eva.roles import Classifier
from eva.seeds import uniforms
from eva.types import PromptCategory
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.stage import Batch, Stage
from store.game import prompts, responses
from store.runs import events, runs
from store.views import statistics

log = logging.getLogger(__name__)

TOGETHER = 16
"""So many prompts are classified between two reports of progress."""


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


@dataclass(slots=True)
class CategoryBatch(Batch):
    """The categories of prompts, by number."""

    run: ClaimedRun
    iteration: int
    categories: dict[int, PromptCategory]

    def store(self, conn: Connection) -> None:
        prompts.copy_categories(conn, self.run.id, self.iteration, self.categories)


class CategoryStage(Stage):
    """Asks the classifier about the prompts of a batch that have no category yet; each prompt is asked about once."""

    def __init__(self, run: ClaimedRun, iteration: int, batch: Sequence[int]) -> None:
        super().__init__(run, iteration, "categorise", len(batch))
        self._batch = batch
        self._categories: dict[int, PromptCategory] = {}

    def classify(self, classifier: Classifier) -> None:
        """Classifies what is missing, and stores the figures as statistic "categories"."""
        if self.complete:
            return
        run = self.run
        known = run.read(lambda conn: prompts.read_categories(conn, run.id, self._batch))
        missing = [number for number in self._batch if number not in known]
        self.advance(len(self._batch) - len(missing))
        for start in range(0, len(missing), TOGETHER):
            texts = run.read(
                lambda conn, some=missing[start : start + TOGETHER]: prompts.read_prompts(conn, run.id, sorted(some))
            )
            for prompt, category in zip(texts, classifier.classify([each.text for each in texts]), strict=True):
                self._categories[prompt.number] = category
                self.advance(1)
                self.flush_when_full()
        self.flush()
        self._close()

    def take(self) -> CategoryBatch:
        kept, self._categories = self._categories, {}
        return CategoryBatch(self.run, self.iteration, kept)

    def _close(self) -> None:
        run, config = self.run, self.run.config
        judged = run.read(
            lambda conn: responses.read_reward_table(
                conn, run.id, self.iteration, run.rewarder, self._batch, config.generation.n
            )
        )
        # the gap between best and worst is the paper's proxy, whatever metric the creator uses
        gaps = estimate(judged, metric="a_min", keep_cut=config.generation.keep_cut)
        known = run.read(lambda conn: prompts.read_categories(conn, run.id, self._batch))
        figures = category_figures([known.get(int(number)) for number in judged.numbers_P], gaps.info_P, judged)
        self.close(
            lambda conn: statistics.put_statistic(conn, run.id, self.iteration, "categories", figures),
            categories={row["category"]: row["prompts"] for row in figures},
        )
