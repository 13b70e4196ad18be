"""Which keys of a run's config may change once it has history, and the difference between two configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from eva.config.run import RunConfig

When = Literal["never", "iteration", "resume"]

CHANGEABLE: dict[str, When] = {
    "name": "iteration",
    "seed": "never",
    "iterations": "resume",
    "warm_start": "never",
    "info_from": "iteration",
    "pool": "iteration",
    "prompts": "never",
    "model": "never",
    "reward": "iteration",
    "reward.api_base": "resume",
    "reward.api_key_env": "resume",
    "reward.timeout_s": "resume",
    "reward.retries": "resume",
    "reward.concurrency": "resume",
    "reward.max_cost_usd": "resume",
    "reward.gpus": "resume",
    "reward.memory_fraction": "resume",
    "evolving": "iteration",
    "evolving.evolver": "resume",
    "evolving.concurrency": "resume",
    "generation.n": "never",
    "generation.temperature": "iteration",
    "generation.top_p": "iteration",
    "generation.max_tokens": "iteration",
    "generation.keep_cut": "iteration",
    "informativeness": "iteration",
    "sampling": "iteration",
    "mixing": "iteration",
    "novelty": "iteration",
    "collapse": "resume",
    "pairs": "iteration",
    "training": "resume",
    "evaluation.playground": "never",
    "evaluation.sets": "never",
    "evaluation.n": "never",
    "evaluation.reward": "never",
    "evaluation.reward.api_base": "resume",
    "evaluation.reward.api_key_env": "resume",
    "evaluation.reward.timeout_s": "resume",
    "evaluation.reward.retries": "resume",
    "evaluation.reward.concurrency": "resume",
    "evaluation.reward.max_cost_usd": "resume",
    "evaluation.baseline": "never",
    "evaluation.judges_own": "iteration",
    "evaluation.when": "resume",
    "evaluation.success": "resume",
    "audit": "iteration",
    "audit.reward.max_cost_usd": "resume",
    "fleet": "resume",
    "watchdog": "resume",
    "tracking": "resume",
}
"""Each key, or section where all its keys are alike; the longest that fits counts.

never: what is stored was made with it, and what follows would not belong to it.
iteration: from the start of an iteration on, so at a fork, or by a resume that finds nothing of the iteration done.
resume: in the middle of an iteration too; what is stored stays, what is still to be done is done with the new value.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One key with its values in two configs; None where one does not have it."""

    key: str
    kept: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.key}: the run has {self.kept!r}, the config says {self.given!r}"


def when_changeable(key: str) -> When:
    """When may this key change? A key that no entry covers may not."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        if (found := CHANGEABLE.get(".".join(parts[:length]))) is not None:
            return found
    return "never"


def config_differences(kept: RunConfig, given: RunConfig) -> list[Change]:
    """Every key whose value differs, by name."""
    before, after = flatten(kept.model_dump(mode="json")), flatten(given.model_dump(mode="json"))
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flatten(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
