"""Checks what a config that is sent through the API may name.

It may not name a path of this machine, an address, a secret or code directly, but only by the names that the service's
operator has put on the allowlist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from eva.config import RunConfig
from eva.config.allowlist import VARIABLES, Allowlist, Kind
from eva.config.evaluation import INITIAL
from eva.config.files import validate
from eva.errors import InputError, KeyProblem
from eva.prompts.uploads import uploaded

Guard = Kind | Literal["fixed"]

GUARDED: dict[str, Guard] = {
    "prompts.path": "dataset",
    "prompts.dataset": "dataset",
    "evaluation.sets": "dataset",
    "evaluation.baseline": "dataset",
    "novelty.protected": "dataset",
    "model.chat_template": "dataset",
    "model.path": "model",
    "reward.model": "model",
    "evolver.model": "model",
    "writer.model": "model",
    "guide.model": "model",
    "novelty.embedding_model": "model",
    "categories.model": "model",
    "model.revision": "fixed",
    "reward.revision": "fixed",
    "reward.trust_remote_code": "fixed",
    "reward.api_base": "endpoint",
    "evolver.api_base": "endpoint",
    "writer.api_base": "endpoint",
    "guide.api_base": "endpoint",
    "tracking.uri": "endpoint",
    "tracking.entity": "fixed",
    "tracking.space": "fixed",
    "reward.api_key_env": "secret",
    "evolver.api_key_env": "secret",
    "writer.api_key_env": "secret",
    "checkpoints.store": "store",
    "reward.secrets": "secret",
    "guide.api_key_env": "secret",
    "reward.function": "function",
    "reward.id": "function",
    "environment.id": "function",
    "reward.normaliser": "function",
    "guide.function": "function",
    "evolver.path": "function",
    "informativeness.metric": "function",
    "sampling.weights": "function",
    "sampling.sampler": "function",
    "novelty.checks": "function",
    "evolving.choice": "function",
    "pairs.choice": "function",
    "training.loss": "function",
    "training.advantage": "function",
    "categories.function": "function",
}
"""Keys whose values refer to something outside the config, by the last two names of their path. A test checks that all
other keys are free text, numbers or eva's own names."""

_UPLOADABLE = ("prompts.path", "evaluation.sets", "evaluation.baseline", "novelty.protected")
"""Those of them that may name a prompt file which was sent to the service."""
_OWN: dict[Guard, tuple[str, ...]] = {"model": ("playground",), "dataset": (INITIAL,)}
"""Names that are always allowed."""


class NotAllowedError(InputError):
    """A config that was sent through the API names something that it may not."""

    status = 403


def admit(config: RunConfig, allowed: Allowlist, given: RunConfig | None = None) -> RunConfig:
    """Returns the config with each name replaced by the value that it stands for.

    Values that equal those of `given`, a preset or the run that is continued, are admitted as they are. Raises
    NotAllowedError, which lists every refused key.
    """
    refused: list[KeyProblem] = []
    own = {} if given is None else dict(_leaves(given.model_dump(mode="json")))

    def value_of(path: tuple[str, ...], value: Any) -> Any:
        guard = guard_of(path)
        if _key_of(path) in _UPLOADABLE and value is not None:
            file = uploaded(allowed.uploads, value)
            if file is not None:
                return str(file)
        if guard is None or value in (None, False) or own.get(path) == value or value in _OWN.get(guard, ()):
            return value
        if guard == "function" and ":" not in value and path[-1] not in ("function", "path", "id"):
            return value
        if guard == "fixed":
            refused.append(KeyProblem(".".join(path), "cannot be set through the API", repr(str(value)[:80])))
            return value
        if (target := allowed.of(guard).get(value)) is not None:
            return target
        known = ", ".join(allowed.of(guard)) or "none yet"
        refused.append(KeyProblem(".".join(path), f"{VARIABLES[guard]} allows {known}", repr(value[:80])))
        return value

    admitted = _mapped(config.model_dump(mode="json"), value_of, ())
    if refused:
        raise NotAllowedError(
            "the config names something that is not allowed through the API:\n  "
            # no colon after the value: behind a word like `secret` it would make the name look like one
            + "\n  ".join(f"{problem.key} {problem.given} ({problem.expected})" for problem in refused)
            + "\n",
            expected="names on the service's allowlist, or the values of a preset",
            next_move="Ask whoever runs the service to allow it (docs/security.md), or use `eva run` on its machine",
            places=refused,
        )
    return validate(admitted)


def guard_of(path: tuple[str, ...]) -> Guard | None:
    """Returns the guard of the key at this path, ignoring list indexes, or None."""
    return GUARDED.get(_key_of(path))


def _key_of(path: tuple[str, ...]) -> str:
    """The last two names of a path, without list indexes and names of held-out sets."""
    names = [name for name in path if not name.isdigit()]
    if len(names) > 2 and names[-3:-1] in (["evaluation", "sets"], ["evaluation", "baseline"]):
        names = names[:-1]
    return ".".join(names[-2:])


def _mapped(value: Any, change: Callable[[tuple[str, ...], Any], Any], path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(inner, change, (*path, key)) for key, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_mapped(inner, change, (*path, str(index))) for index, inner in enumerate(cast("list[Any]", value))]
    return change(path, value)


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    _mapped(value, lambda path, leaf: found.append((path, leaf)), ())
    return found
