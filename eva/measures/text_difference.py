"""Finds what changed between two texts, word by word, by a longest common subsequence in bounded time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MOST_WORDS = 4000
"""A longer changed stretch is reported as a single change, without comparing its words."""

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
Kind = Literal["same", "removed", "added"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of one text or of both."""

    kind: Kind
    text: str


def difference(before: str, after: str, most_words: int = MOST_WORDS) -> tuple[list[Stretch], bool]:
    """Returns the stretches of two texts, and whether their words were compared (see MOST_WORDS).

    The stretches make up `before` without the added ones, and `after` without the removed ones. Words, white space and
    single signs are the units. White space between two changes counts as changed.
    """
    olds, news = _TOKEN.findall(before), _TOKEN.findall(after)
    head = _common(olds, news)
    tail = _common(olds[head:][::-1], news[head:][::-1])
    beginning, ending = olds[:head], olds[len(olds) - tail :]
    olds, news = olds[head : len(olds) - tail], news[head : len(news) - tail]
    whole = max(len(olds), len(news)) <= most_words
    kept = _kept(olds, news) if whole else []
    stretches: list[Stretch] = [Stretch("same", "".join(beginning))]
    old = new = 0
    for i, j in [*_solid(kept, olds), (len(olds), len(news))]:
        stretches += [Stretch("removed", "".join(olds[old:i])), Stretch("added", "".join(news[new:j]))]
        stretches.append(Stretch("same", olds[i] if i < len(olds) else ""))
        old, new = i + 1, j + 1
    stretches.append(Stretch("same", "".join(ending)))
    return _joined(stretches), whole


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _kept(olds: Sequence[str], news: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the positions of a longest common subsequence (Hyyrö 2004: a row of the table is one integer).

    Bit i of `rows[j]` is 0 where the longest one of olds[:i + 1] and news[:j] is longer than that of olds[:i].
    """
    places: dict[str, int] = {}
    for i, word in enumerate(olds):
        places[word] = places.get(word, 0) | 1 << i
    mask = (1 << len(olds)) - 1
    rows = [mask]
    for word in news:
        row = rows[-1]
        hit = row & places.get(word, 0)
        rows.append(((row + hit) | (row - hit)) & mask)
    i, j, pairs = len(olds), len(news), list[tuple[int, int]]()
    while i and j:
        if olds[i - 1] == news[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif rows[j] >> (i - 1) & 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _solid(kept: Sequence[tuple[int, int]], olds: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs without white space that stands alone between changes."""

    def beside(place: int, step: int) -> bool:
        return 0 <= place + step < len(kept) and kept[place + step] == (kept[place][0] + step, kept[place][1] + step)

    return [
        pair for place, pair in enumerate(kept) if not olds[pair[0]].isspace() or beside(place, -1) or beside(place, 1)
    ]


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Drops empty stretches and merges neighbours of the same kind."""
    joined: list[Stretch] = []
    for one in stretches:
        if joined and joined[-1].kind == one.kind:
            joined[-1] = Stretch(one.kind, joined[-1].text + one.text)
        elif one.text:
            joined.append(one)
    return joined
