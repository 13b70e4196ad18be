"""The index of earlier prompts that novelty checks search; it lives in the driver and grows at each evolve stage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from eva.creator.likeness import likeness_of
from eva.creator.novelty import (
    ContaminationCheck,
    NearDuplicateCheck,
    NoveltyCheck,
    NoveltyChecks,
    ProtectedTexts,
    UserCheck,
    load_check,
    scope,
)
from eva.creator.semantic import SemanticCheck, SemanticIndex, semantic_twins
from eva.measures.minhash import MinHashIndex
from eva.prompts.conversations import turn_texts
from eva.prompts.files import read_prompt_file
from eva.roles import Embedder
from eva.types import Context, Floats, Prompt
from orchestrator.hold.claimed_run import ClaimedRun
from store.game import prompts

PAGE = 10_000
EMBEDDED = 256


class EarlierPrompts:
    """Indexes the run's prompts: row i is prompt i, so that a resumed run builds the same index again.

    `before` may be called from several threads.
    """

    def __init__(self, run: ClaimedRun, embedder: Embedder | None = None) -> None:
        self._run, self._embedder = run, embedder
        self._index, self._meanings = MinHashIndex(run.config.novelty.similarity), SemanticIndex()
        self._growing = threading.Lock()

    def before(self, iteration: int, *, ahead: bool = False) -> NoveltyChecks:
        """Returns the checks against every prompt that is older than the iteration. Raises PromptFileError.

        `ahead`: another stage is open, and its progress is all that is reported.
        """
        with self._growing:
            return self._checks(iteration, _report_nothing if ahead else self._report_life)

    def _checks(self, iteration: int, report: Callable[[], None]) -> NoveltyChecks:
        novelty = self._run.config.novelty
        checks: list[NoveltyCheck] = [ContaminationCheck(self._protected)] if self._protected else []
        if novelty.similarity < 1 or self._run.config.measures_likeness:
            for older in self._older(iteration, len(self._index)):
                self._index.extend([prompt.text for prompt in older], [scope(prompt.context) for prompt in older])
        if novelty.similarity < 1:
            checks.append(NearDuplicateCheck(self._index))
        if self._embedder is not None:
            for older in self._older(iteration, len(self._meanings)):
                self._index_meanings(older, self._embedder, report)
            checks.append(SemanticCheck(self._meanings, self._embedder, novelty.cosine))
        return NoveltyChecks((*checks, *self._user_checks))

    def likeness(self, children: Sequence[Prompt]) -> dict[int, float]:
        """Returns how much each child repeats other prompts, by number; nothing if nothing depends on it."""
        if not self._run.config.measures_likeness:
            return {}
        parents = self._run.read(lambda conn: prompts.read_parents(conn, self._run.id))
        return likeness_of(children, self._index, parents)

    def twins(self, texts: Sequence[str], contexts: Sequence[Context]) -> list[int | None]:
        """Returns, for each text, the place of the first text before it that means nearly the same, or None."""
        if self._embedder is None:
            return [None] * len(texts)
        parts = [
            self._vectors(texts[start : start + EMBEDDED], self._embedder, self._report_life)
            for start in range(0, len(texts), EMBEDDED)
        ]
        return semantic_twins(np.concatenate(parts), list(map(scope, contexts)), self._run.config.novelty.cosine)

    @cached_property
    def _user_checks(self) -> list[UserCheck]:
        return [load_check(spec) for spec in self._run.config.novelty.checks]

    @cached_property
    def _protected(self) -> ProtectedTexts:
        novelty = self._run.config.novelty
        return protected_texts(novelty.protected, novelty.protected_words)

    def _index_meanings(self, older: list[Prompt], embedder: Embedder, report: Callable[[], None]) -> None:
        for start in range(0, len(older), EMBEDDED):
            some = older[start : start + EMBEDDED]
            self._meanings.extend(
                self._vectors([prompt.text for prompt in some], embedder, report),
                [scope(prompt.context) for prompt in some],
            )

    def _vectors(self, texts: Sequence[str], embedder: Embedder, report: Callable[[], None]) -> Floats:
        vectors_T_D = embedder.embed(texts)
        report()
        return vectors_T_D

    def _report_life(self) -> None:
        """Tells the overseer that the driver is alive: embedding many prompts takes a while."""
        self._run.listener.on_progress(0, 0, {})

    def _older(self, iteration: int, first: int) -> Iterator[list[Prompt]]:
        """Yields the prompts from number `first` on that are older than the iteration, page by page."""
        while True:
            page = self._run.read(lambda conn, after=first - 1: prompts.iter_prompts(conn, self._run.id, after, PAGE))
            # Numbers ascend with the iteration in which a prompt was born.
            older = [prompt for prompt in page if prompt.born < iteration]
            if older:
                yield older
            if len(older) < PAGE:
                return
            first += len(older)


def _report_nothing() -> None: ...


def protected_texts(paths: list[str], words: int) -> ProtectedTexts:
    """The texts that no prompt of the run may overlap. Raises PromptFileError."""
    protected = (prompt for path in paths for prompt in read_prompt_file(Path(path)).prompts)
    return ProtectedTexts((text for prompt in protected for text in turn_texts(prompt.text, prompt.context)), words)
