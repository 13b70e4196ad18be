"""Is a child new? Equal texts are found by key over the whole run, near-equal ones by shingles.

A further check is a class with `reason(text, context) -> str | None`, safe in threads, that
`orchestrator/stages/earlier_prompts.py`
builds; one of your own is a function, which the config names as `module:function`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eva.creator.minhash import MinHashIndex
from eva.measures.ngrams import Hashes, grams, words
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.seeds import text_hash
from eva.types import Context

SHINGLE_WORDS = 3
_CHUNK = 4096
OWN = "novelty check"
SIGNATURE = "a function (text) -> None for a new prompt, or the reason why it is not, a word or two"


def text_key(text: str) -> int:
    """A signed 64-bit key, equal for texts that differ only in case and white space."""
    return text_hash(_folded(text))


def prompt_key(text: str, context: Context = ()) -> int:
    """What equal prompts share: the same text behind the same messages, case and white space aside."""
    return text_hash(_folded_messages(context) + json.dumps(_folded(text))) if context else text_key(text)


def question_key(text: str, context: Context = ()) -> int:
    """What prompts share that ask the same: system messages do not tell them apart."""
    return prompt_key(text, tuple(message for message in context if message.role != "system"))


def scope(context: Context) -> int:
    """32 bits that stand for the conversation, 0 for none: near-equal texts are twins only inside the same one."""
    return text_hash(_folded_messages(context)) & 0xFFFFFFFF if context else 0


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of three words, case folded; a shorter text is one shingle."""
    words = text.casefold().split()
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(tuple(words[start : start + SHINGLE_WORDS]) for start in range(count))


def jaccard(one: str, other: str) -> float:
    """Overlap of two texts' shingles, 0 to 1 (Broder 1997)."""
    left, right = shingles(one), shingles(other)
    return len(left & right) / len(left | right)


class NoveltyCheck(Protocol):
    """One reason for which a text is not new."""

    def reason(self, text: str, context: Context = ()) -> str | None:
        """Why the text is refused behind these messages, or None. Called from several threads; changes nothing."""
        ...


class ProtectedTexts:
    """Finds overlaps of n words in a row, case and punctuation aside (Brown et al. 2020, appendix C: n = 13).

    A protected text of fewer than n words is found where a whole text equals it.
    """

    def __init__(self, protected: Iterable[str], n: int = 13) -> None:
        split = [found for text in protected if (found := words(text))]
        self._n = n
        self._long = _unique([text for text in split if len(text) >= n], n)
        self._short = frozenset(tuple(text) for text in split if len(text) < n)

    def __bool__(self) -> bool:
        return bool(len(self._long) or self._short)

    def overlaps(self, text: str) -> bool:
        """Whether the text shares n words in a row with a protected one. Safe in threads."""
        split = words(text)
        if tuple(split) in self._short:
            return True
        if not len(self._long) or len(split) < self._n:
            return False
        hashes_G = grams([split], self._n).hashes_G
        places_G = np.minimum(np.searchsorted(self._long, hashes_G), len(self._long) - 1)
        return bool((self._long[places_G] == hashes_G).any())


@dataclass(frozen=True, slots=True)
class ContaminationCheck:
    """Refuses what overlaps a protected file."""

    texts: ProtectedTexts

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002, looked at with its seed prompt
        return "contaminated" if self.texts.overlaps(text) else None


@dataclass(frozen=True, slots=True)
class NearDuplicateCheck:
    """Refuses near-duplicates of any prompt that the run had before the stage, in the same conversation."""

    index: MinHashIndex

    def reason(self, text: str, context: Context = ()) -> str | None:
        return None if self.index.nearest(text, scope(context)) is None else "near_known"


@dataclass(frozen=True, slots=True)
class UserCheck:
    """A function of the user's, (text) -> reason or None, its answers checked."""

    spec: str
    function: Callable[[str], str | None]

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002, a prompt's own text is judged
        """Raises InputError when the function fails, or returns anything else."""
        given = call_function(self.spec, self.function, text, what=OWN, expected=SIGNATURE)
        if given is None or (isinstance(given, str) and given.strip()):
            return given
        raise invalid_result(self.spec, repr(given), what=OWN, expected=SIGNATURE)


def load_check(spec: str) -> UserCheck:
    """The check that `module:function` names. Raises ConfigError."""
    return UserCheck(spec, load_function(spec, what=OWN, expected=SIGNATURE, arguments=["text"]))


@dataclass(frozen=True, slots=True)
class NoveltyChecks:
    """The checks of a run, in order; the first reason counts."""

    checks: Sequence[NoveltyCheck] = ()

    def reason(self, text: str, context: Context = ()) -> str | None:
        """Why the text is not new, or None."""
        return next((reason for check in self.checks if (reason := check.reason(text, context)) is not None), None)


ALL_NEW = NoveltyChecks()
"""No checks."""


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _folded_messages(context: Context) -> str:
    return json.dumps([[message.role, _folded(message.content)] for message in context])


def _unique(texts: Sequence[list[str]], n: int) -> Hashes:
    parts = [np.unique(grams(texts[start : start + _CHUNK], n).hashes_G) for start in range(0, len(texts), _CHUNK)]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
