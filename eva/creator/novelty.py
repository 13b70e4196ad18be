"""Is a child new? Equal texts are found by key over the whole run, near-equal ones by shingles.

A further check is a class with `reason(text, context) -> str | None`, safe in threads, that
`orchestrator/stages/earlier_prompts.py`
builds; one of your own is a function, which the config names as `module:function`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from eva.creator.contamination import Contamination
from eva.creator.minhash import MinHashIndex
from eva.runtime.user_functions import ask, load_function, wrong
from eva.seeds import text_hash
from eva.types import Context

SHINGLE_WORDS = 3
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


@dataclass(frozen=True, slots=True)
class Protected:
    """Refuses what overlaps a protected file."""

    texts: Contamination

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002, looked at with its seed prompt
        return "contaminated" if self.texts.found(text) else None


@dataclass(frozen=True, slots=True)
class NearKnown:
    """Refuses near-duplicates of any prompt that the run had before the stage, in the same conversation."""

    index: MinHashIndex

    def reason(self, text: str, context: Context = ()) -> str | None:
        return None if self.index.nearest(text, scope(context)) is None else "near_known"


@dataclass(frozen=True, slots=True)
class Own:
    """A function of the user's, (text) -> reason or None, its answers checked."""

    spec: str
    function: Callable[[str], str | None]

    def reason(self, text: str, context: Context = ()) -> str | None:  # noqa: ARG002, a prompt's own text is judged
        """Raises InputError when the function fails, or returns anything else."""
        given = ask(self.spec, self.function, text, what=OWN, expected=SIGNATURE)
        if given is None or (isinstance(given, str) and given.strip()):
            return given
        raise wrong(self.spec, repr(given), what=OWN, expected=SIGNATURE)


def check_named(spec: str) -> Own:
    """The check that `module:function` names. Raises ConfigError."""
    return Own(spec, load_function(spec, what=OWN, expected=SIGNATURE, arguments=1))


@dataclass(frozen=True, slots=True)
class Novelty:
    """The checks of a run, in order; the first reason counts."""

    checks: Sequence[NoveltyCheck] = ()

    def reason(self, text: str, context: Context = ()) -> str | None:
        """Why the text is not new, or None."""
        return next((reason for check in self.checks if (reason := check.reason(text, context)) is not None), None)


ALL_NEW = Novelty()
"""No checks."""


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _folded_messages(context: Context) -> str:
    return json.dumps([[message.role, _folded(message.content)] for message in context])
