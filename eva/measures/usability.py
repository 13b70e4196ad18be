"""Stops a run in which nothing can be used, and warns where much cannot: a run that learns nothing is no success."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from eva.errors import InputError

WARNED_SHARE = 0.1
"""From this share of unusable responses on, a stage warns."""
LONGEST_TEXT = 120

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """What most often kept responses from being used: how many, one prompt of them, and the text of one response."""

    count: int
    reason: str
    prompt: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Usability:
    """The responses of a stage: all, and those with a reward that did not end at the token limit.

    `unrewarded` and `unanswered` are the commonest reasons for a missing reward and for a prompt without responses.
    """

    responses: int
    usable: int
    cut: int
    unrewarded: Fault | None
    unanswered: Fault | None


def check_usability(found: Usability, prompts: int, n: int, *, stops: bool = True) -> None:
    """Raises InputError if no response of a stage can be used, with the commonest reason and an example.

    `prompts` is how many were asked, for n responses each. Warns if many cannot be used; without `stops`, also if none
    can, as in an evaluation, which nothing depends on.
    """
    if not prompts or (not found.responses and found.unanswered is None):
        return
    asked = prompts * n
    share = 1 - found.usable / asked
    if share < WARNED_SHARE:
        return
    what, example, move = _commonest(found, n)
    if found.usable or not stops:
        log.warning(
            "%.0f%% of %d responses cannot be used; most often: %s. For example %s", 100 * share, asked, what, example
        )
        return
    raise InputError(
        f"none of the {asked:,} responses to {prompts:,} prompts can be used, so there is nothing to learn from; most "
        f"often: {what}. For example {example}",
        expected="responses with a finite reward that end before the token limit",
        next_move=move,
    )


def _commonest(found: Usability, n: int) -> tuple[str, str, str]:
    """The commonest reason, an example of it, and what to do about it."""
    unrewarded, unanswered = found.unrewarded, found.unanswered
    refused = 0 if unanswered is None else unanswered.count * n
    missing = 0 if unrewarded is None else unrewarded.count
    if unanswered is not None and refused >= max(missing, found.cut):
        return (
            f"{unanswered.count:,} prompts got no response: {unanswered.reason}",
            f"prompt {unanswered.prompt}",
            "Shorten the prompts or change what the reason names, and start a new run",
        )
    if unrewarded is not None and missing >= found.cut:
        shown = " ".join(unrewarded.text.split())
        shown = shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 1] + "…"
        return (
            f"{missing:,} responses have no reward: {unrewarded.reason}",
            f"the response {shown!r} to prompt {unrewarded.prompt}",
            "Correct the reward, try it on this response, and start a new run",
        )
    return (
        f"{found.cut:,} responses were cut at the token limit",
        "any of them",
        "Raise generation.max_tokens, or set generation.keep_cut to use them as they are, and start a new run",
    )


PAIRLESS = {
    "unanswered": "no response",
    "left_out": "no advantage by the rule that training.advantage names",
    "too_few_responses": "fewer than two usable responses with different texts",
    "no_gap": "no two usable responses with different rewards",
    "lengths_differ": "no two responses of similar length with different rewards",
    "below_margin": "no two responses whose rewards differ by pairs.min_margin",
}
"""What each reason for a prompt without a pair, or without responses that are trained on, means."""


def check_pairs(pairs: int, prompts: int, skipped: Mapping[str, int]) -> None:
    """Raises InputError if the first batch of a run gave no pair: there is nothing to train on."""
    _check_taught(
        pairs,
        prompts,
        skipped,
        "gave a preference pair",
        "Try the reward on a few responses, raise generation.temperature, or lower pairs.min_margin",
    )


def check_weighed(responses: int, prompts: int, skipped: Mapping[str, int]) -> None:
    """Raises InputError if no response to the first batch of a run is trained on."""
    _check_taught(
        responses,
        prompts,
        skipped,
        "has responses with different rewards",
        "Try the reward on a few responses, or raise generation.temperature or generation.n",
    )


def _check_taught(taught: int, prompts: int, skipped: Mapping[str, int], gave: str, move: str) -> None:
    if taught or not prompts:
        return
    reason = max(skipped, key=lambda name: skipped[name], default="no_gap")
    count = skipped.get(reason, prompts)
    raise InputError(
        f"none of the {prompts:,} prompts of the first batch {gave}, so there is nothing to train on; "
        f"most often ({count:,} prompts): {PAIRLESS.get(reason, reason)}",
        expected="at least one prompt with a better and a worse response",
        next_move=f"{move}, and start a new run",
    )
