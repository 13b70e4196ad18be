"""Checks whether held-out prompts were kept out: none equals a prompt that was trained on, or nearly does."""

from __future__ import annotations

from collections.abc import Sequence

from eva.creator.novelty import question_key, scope
from eva.measures.minhash import MinHashIndex
from eva.studies.records import ContaminationRecord, Overlap
from eva.types import Context

NEAR = 0.8
"""Jaccard similarity of word triples at which two prompts count as nearly equal."""
EXAMPLES = 3
_AT_ONCE = 4096

Question = tuple[str, Context]
"""A prompt's text and the messages before it."""


def contamination(heldout: Sequence[Question], trained_on: Sequence[Question]) -> ContaminationRecord:
    """Returns how many held-out prompts equal a prompt that was trained on, and how many more nearly equal one."""
    known = {question_key(text, context) for text, context in trained_on}
    index = MinHashIndex(NEAR)
    for start in range(0, len(trained_on), _AT_ONCE):
        some = trained_on[start : start + _AT_ONCE]
        index.extend([text for text, _ in some], [scope(context) for _, context in some])
    equal, near = 0, 0
    examples: list[Overlap] = []
    for text, context in heldout:
        if question_key(text, context) in known:
            equal += 1
            examples.append(Overlap(text, text))
        elif (place := index.nearest(text, scope(context))) is not None:
            near += 1
            examples.append(Overlap(trained_on[place][0], text))
    return ContaminationRecord(len(heldout), len(trained_on), equal, near, NEAR, tuple(examples[:EXAMPLES]))
