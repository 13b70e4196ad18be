"""Decides whether a child is new: equal texts are found by key over the whole run, near-equal ones by shingles.

A further check is a thread-safe class with `reason(text, context) -> str | None`, built in
`orchestrator/stages/earlier_prompts.py`. Your own is a function that the config names as `module:function`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eva.measures.minhash import MinHashIndex
from eva.measures.ngrams import Hashes, grams, words
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.seeds import text_hash
from eva.types import Bools, Context

SHINGLE_WORDS = 3
_CHUNK = 4096
OWN = "novelty check"
SIGNATURE = "a function (text) -> None for a new prompt, or the reason why it is not, a word or two"


def text_key(text: str) -> int:
    """Returns a signed 64-bit key, equal for texts that differ only in case and white space."""
    return text_hash(_folded(text))


def prompt_key(text: str, context: Context = ()) -> int:
    """Returns a key that is equal for prompts with the same text and messages, ignoring case and white space."""
    return text_hash(_folded_messages(context) + json.dumps(_folded(text))) if context else text_key(text)


def question_key(text: str, context: Context = ()) -> int:
    """Returns a key that is equal for prompts with the same question, whatever their system messages."""
    return prompt_key(text, tuple(message for message in context if message.role != "system"))


def scope(context: Context) -> int:
    """Returns 32 bits that identify a conversation, 0 for none: near-equal texts are twins only in the same one."""
    return text_hash(_folded_messages(context)) & 0xFFFFFFFF if context else 0


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Returns a text's runs of three words, case-folded; a shorter text is one shingle."""
    words = text.casefold().split()
    count = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(tuple(words[start : start + SHINGLE_WORDS]) for start in range(count))


def jaccard(one: str, other: str) -> float:
    """Returns the overlap of two texts' shingles, 0 to 1 (Broder 1997)."""
    left, right = shingles(one), shingles(other)
    return len(left & right) / len(left | right)


class NoveltyCheck(Protocol):
    """A check that may find a reason why a text is not new."""

    def reason(self, text: str, context: Context = ()) -> str | None:
        """Returns why the text is refused after these messages, or None. Called from several threads; no effects."""
        ...


class ProtectedTexts:
    """Finds overlaps of n words in a row, ignoring case and punctuation (Brown et al. 2020, appendix C: n = 13).

    A protected text of fewer than n words overlaps only with a text that equals it as a whole.
    """

    def __init__(self, protected: Iterable[str], n: int = 13) -> None:
        split = [text_words for text in protected if (text_words := words(text))]
        self._n = n
        self._long = _unique([text for text in split if len(text) >= n], n)
        self._short = frozenset(tuple(text) for text in split if len(text) < n)

    def __bool__(self) -> bool:
        return bool(len(self._long) or self._short)

    def overlaps(self, text: str) -> bool:
        """Returns whether the text shares n words in a row with a protected one. Thread-safe."""
        return bool(self.overlapping([text])[0])

    def overlapping(self, texts: Sequence[str]) -> Bools:
        """Returns whether each text does, many at once, [T]: much faster than one after the other."""
        parts = [self._overlapping(texts[start : start + _CHUNK]) for start in range(0, len(texts), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, bool)

    def _overlapping(self, texts: Sequence[str]) -> Bools:
        split = [words(text) for text in texts]
        found_T = np.array([tuple(text) in self._short for text in split])
        if len(self._long):
            of_texts = grams(split, self._n)
            places_G = np.minimum(np.searchsorted(self._long, of_texts.hashes_G), len(self._long) - 1)
            found_T[of_texts.owners[self._long[places_G] == of_texts.hashes_G]] = True
        return found_T


@dataclass(frozen=True, slots=True)
class ContaminationCheck:
    """Refuses texts that overlap with a protected file."""

    texts: ProtectedTexts

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002 - checked with the seed prompt
        return "contaminated" if self.texts.overlaps(text) else None


@dataclass(frozen=True, slots=True)
class NearDuplicateCheck:
    """Refuses near-duplicates of prompts that the run had before the stage, within the same conversation."""

    index: MinHashIndex

    def reason(self, text: str, context: Context = ()) -> str | None:
        return None if self.index.nearest(text, scope(context)) is None else "near_known"


@dataclass(frozen=True, slots=True)
class UserCheck:
    """A user's function, (text) -> reason or None, whose return values are checked."""

    spec: str
    function: Callable[[str], str | None]

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002 - only the prompt's own text counts
        """Calls the function. Raises InputError if it fails, or returns anything but None or a reason."""
        reason = call_function(self.spec, self.function, text, what=OWN, expected=SIGNATURE)
        if reason is None or (isinstance(reason, str) and reason.strip()):
            return reason
        raise invalid_result(self.spec, repr(reason), what=OWN, expected=SIGNATURE)


def load_check(spec: str) -> UserCheck:
    """Returns the check that `module:function` names. Raises ConfigError."""
    return UserCheck(spec, load_function(spec, what=OWN, expected=SIGNATURE, arguments=["text"]))


@dataclass(frozen=True, slots=True)
class NoveltyChecks:
    """All checks of a run, in order; the first reason counts."""

    checks: Sequence[NoveltyCheck] = ()

    def reason(self, text: str, context: Context = ()) -> str | None:
        """Returns why the text is not new, or None."""
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
