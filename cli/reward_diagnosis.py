"""The checks of `eva doctor --reward`: does a rewarder prefer what it should?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.finding import Finding

if TYPE_CHECKING:
    from eva.evaluation.reward_sanity import Preference


def diagnose_reward(source: str, overrides: Sequence[str], pairs: Path | None) -> Iterator[Finding]:
    """Asks every rewarder of a config about pairs of responses, and yields its accuracy by category and probe."""
    from eva.capacity.placement import rewarders
    from eva.config import VerifierReward
    from eva.config.files import load_config
    from eva.errors import EvaError
    from eva.evaluation.reward_pairs import OWN, read_reward_pairs
    from eva.evaluation.reward_sanity import preferences, questions
    from workers.rewards import build_rewarder

    try:
        config = load_config(source, overrides)
        asked = list(questions(read_reward_pairs(pairs or OWN)))
        for key, reward in rewarders(config):
            if isinstance(reward, VerifierReward) and pairs is None:
                yield Finding(
                    key,
                    "warn",
                    f"{reward.function} was not asked: eva's own pairs are ordinary questions, a function grades tasks",
                    "Give pairs of those tasks: --pairs FILE, with columns prompt, chosen, rejected",
                )
                continue
            rewarder = build_rewarder(reward, local=True)
            try:
                yield Finding(key, "ok", f"{rewarder.name} is asked about {len(asked):,} pairs of responses")
                found = preferences(asked, rewarder.reward(question for _, _, question in asked))
            finally:
                rewarder.close()
            yield from map(finding, found)
    except EvaError as error:
        yield Finding("reward", "fail", error.given, error.next_move or "Correct the config")


def finding(preference: Preference) -> Finding:
    """One preference as a line, with a verdict: is it better than chance, or fooled?"""
    from eva.evaluation.reward_sanity import CHANCE, FOOLED, PROBES

    low, high = preference.interval
    ties = "" if preference.ties == 0 else f", {preference.ties} of them tied"
    unrewarded = (
        ""
        if preference.unrewarded == 0
        else f"; {preference.unrewarded} got no reward: {preference.reason or 'no reason'}"
    )
    if preference.probe is not None:
        fooled = 1 - preference.share
        detail = f"prefers {PROBES[preference.probe]} in {fooled:.0%} of {preference.pairs} pairs{ties}{unrewarded}"
        verdict = "fail" if fooled >= CHANCE else "warn" if fooled > FOOLED else "ok"
        remedy = "A policy trained on this rewarder will find that out. Use another one, or a second one in an ensemble"
        return Finding(preference.probe, verdict, detail, "" if verdict == "ok" else remedy)
    detail = f"right in {preference.share:.0%} ({low:.0%} to {high:.0%}) of {preference.pairs} pairs{ties}{unrewarded}"
    if high < CHANCE:
        return Finding(preference.category, "fail", detail, "It prefers the worse response: use another rewarder")
    if low <= CHANCE:
        return Finding(preference.category, "warn", detail, "That may be chance: give more such pairs (--pairs FILE)")
    return Finding(preference.category, "ok", detail)
