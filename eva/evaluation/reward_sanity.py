"""Whether a rewarder prefers what it should: the better of two responses, and no empty, cut or padded one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from eva.evaluation.reward_pairs import RewardPair
from eva.measures.statistics import wilson
from eva.types import PromptResponses, Response, RewardedResponses

Probe = Literal["empty", "cut", "padded"]

PROBES: dict[Probe, str] = {
    "empty": "an empty response to the better one",
    "cut": "the first half of the better response to all of it",
    "padded": "the worse response, repeated until it is the longer one, to the better one",
}
"""What a rewarder that is fooled by each probe prefers."""
LEAST_CUT = 80
"""Characters of the shortest response that is cut in half: half of a short one may be all that was asked for."""
CHANCE = 0.5
FOOLED = 0.1
"""A probe that fools a rewarder more often than this is worth a warning; from `CHANCE` on, it is a fault."""


@dataclass(frozen=True, slots=True)
class Preference:
    """How often the better of two responses got the higher reward.

    `probe` is None for the pairs of `category` themselves. A tie counts half; `unrewarded` pairs, in which a response
    got no reward, count as wrong, and `reason` is why the first of them got none.
    """

    category: str
    probe: Probe | None
    pairs: int
    right: float
    ties: int
    unrewarded: int
    reason: str | None

    @property
    def share(self) -> float:
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `share`."""
        return wilson(self.right, self.pairs)


def questions(pairs: Sequence[RewardPair]) -> Iterator[tuple[RewardPair, Probe | None, PromptResponses]]:
    """Yields what the rewarder is asked: of each pair, the better response first, then what it should not prefer."""
    number = 0
    for pair in pairs:
        worse: list[tuple[Probe | None, str]] = [(None, pair.rejected), ("empty", "")]
        if len(pair.chosen) >= LEAST_CUT:
            worse.append(("cut", _first_half(pair.chosen)))
        if pair.rejected.strip():
            worse.append(("padded", _padded(pair.rejected, 2 * len(pair.chosen))))
        for probe, text in worse:
            responses = tuple(Response(place, each, "stop", 0, 0) for place, each in enumerate((pair.chosen, text)))
            yield pair, probe, PromptResponses(number, pair.prompt, responses, context=pair.context)
            number += 1


def preferences(
    asked: Iterable[tuple[RewardPair, Probe | None, PromptResponses]], rewarded: Iterable[RewardedResponses]
) -> list[Preference]:
    """Returns the rewarder's preferences by category, in the order of the pairs, and then by probe.

    `rewarded` are the rewards of what `questions` asked, in the same order.
    """
    counted: dict[tuple[str, Probe | None], list[tuple[float | None, str | None]]] = {}
    for (pair, probe, _), one in zip(asked, rewarded, strict=True):
        key = (pair.category if probe is None else "", probe)
        counted.setdefault(key, []).append(_right(one, probe))
    places: list[Probe | None] = [None, *PROBES]
    order = sorted(counted, key=lambda key: places.index(key[1]))
    return [_preference(category, probe, counted[category, probe]) for category, probe in order]


def _right(one: RewardedResponses, probe: Probe | None) -> tuple[float | None, str | None]:
    """1 if the first response got more, 1/2 for a tie, 0 if it got less; None, with a reason, without both rewards.

    A probe that gets no reward fools nobody: a run leaves such a response out.
    """
    better, worse = one.rewards
    if probe is not None and better.value is not None and worse.value is None:
        return 1.0, None
    if better.value is None or worse.value is None:
        return None, better.reason or worse.reason
    return (better.value > worse.value) + (better.value == worse.value) / 2, None


def _preference(category: str, probe: Probe | None, found: list[tuple[float | None, str | None]]) -> Preference:
    return Preference(
        category,
        probe,
        pairs=len(found),
        right=sum(right for right, _ in found if right is not None),
        ties=sum(right == CHANCE for right, _ in found),
        unrewarded=sum(right is None for right, _ in found),
        reason=next((reason for right, reason in found if right is None), None),
    )


def _first_half(text: str) -> str:
    half = text[: len(text) // 2]
    return half.rpartition(" ")[0] or half


def _padded(text: str, least: int) -> str:
    return "\n".join([text] * (1 + least // (len(text) + 1)))
