"""What the run knows already, as novelty sees it: kept in the driver and grown at the start of each evolve stage."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from eva.conversations import said
from eva.creator.contamination import Contamination
from eva.creator.minhash import MinHashIndex
from eva.creator.novelty import NearKnown, Novelty, NoveltyCheck, Protected, scope
from eva.prompt_files import read_prompt_file
from orchestrator.claimed import ClaimedRun
from store import prompts

PAGE = 10_000


class Known:
    """The run's prompts, row i of the index being prompt i: what a resumed run builds equals what it lost."""

    def __init__(self, run: ClaimedRun) -> None:
        self._run = run
        self._index = MinHashIndex(run.config.novelty.similarity)

    def before(self, iteration: int) -> Novelty:
        """The checks against every prompt that is older than the iteration. Raises PromptFileError."""
        checks: list[NoveltyCheck] = [Protected(self._protected)] if self._protected else []
        if self._run.config.novelty.similarity < 1:
            self._grow(iteration)
            checks.append(NearKnown(self._index))
        return Novelty(tuple(checks))

    @cached_property
    def _protected(self) -> Contamination:
        novelty = self._run.config.novelty
        return protected_texts(novelty.protected, novelty.protected_words)

    def _grow(self, iteration: int) -> None:
        while True:
            after = len(self._index) - 1
            page = self._run.read(lambda conn, after=after: prompts.iter_prompts(conn, self._run.id, after, PAGE))
            # numbers ascend with the iteration of birth
            older = [prompt for prompt in page if prompt.born < iteration]
            self._index.extend([prompt.text for prompt in older], [scope(prompt.context) for prompt in older])
            if len(older) < PAGE:
                return


def protected_texts(paths: list[str], words: int) -> Contamination:
    """What no prompt of the run may overlap. Raises PromptFileError."""
    found = (prompt for path in paths for prompt in read_prompt_file(Path(path)).prompts)
    return Contamination((text for prompt in found for text in said(prompt.text, prompt.context)), words)
