"""How much a child repeats: its likeness to siblings and to prompts of all earlier iterations.

Likeness is the Jaccard index of word triples, estimated by MinHash (Broder 1997), between prompts of the same
conversation, 0 to 1. A child is meant to be like what it was made from, and what is made from it like itself: its
ancestors and descendants do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eva.creator.novelty import scope
from eva.measures.minhash import PERMUTATIONS, MinHashIndex, signatures
from eva.types import Prompt


def likeness_of(
    children: Sequence[Prompt], earlier: MinHashIndex, parents: Mapping[int, int | None]
) -> dict[int, float]:
    """Returns each child's greatest likeness to another child or an earlier prompt, by number.

    Row i of `earlier` is prompt i, and it holds every prompt that is older than the children. `parents` has the parent
    of each prompt of the run; that of a child may be another child.
    """
    if not children:
        return {}
    family_of = dict(parents) | {child.number: child.parent for child in children}
    lines = [_ancestors(child.number, family_of) for child in children]
    sketches_C_K = signatures([child.text for child in children], [scope(child.context) for child in children])
    row_of = {child.number: row for row, child in enumerate(children)}
    related = [{row_of[number] for number in line if number in row_of} | {row} for row, line in enumerate(lines)]
    for row, line in enumerate(lines):
        for number in line:
            if number in row_of:
                related[row_of[number]].add(row)
    older = earlier.likeness(sketches_C_K, [[number for number in line if number < len(earlier)] for line in lines])
    found: dict[int, float] = {}
    for row, child in enumerate(children):
        agreeing_C = np.count_nonzero(sketches_C_K == sketches_C_K[row], axis=1)
        agreeing_C[sorted(related[row])] = 0
        found[child.number] = max(float(agreeing_C.max()) / PERMUTATIONS, older[row])
    return found


def _ancestors(number: int, parents: Mapping[int, int | None]) -> list[int]:
    line: list[int] = []
    parent = parents.get(number)
    while parent is not None:
        line.append(parent)
        parent = parents.get(parent)
    return line
