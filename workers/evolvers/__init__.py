"""Evolvers: one file each, one line each in EVOLVERS.

`evol_instruct`: any model through LiteLLM, with EvolInstruct's templates
`policy`: the policy itself, or a creator with weights of its own, through the run's own fleet (`fleet_writer`)
`feedback`: either of the two, shown the policy's best and worst response
`mechanical`: the playground's rules, and copies as a control
`custom`: a user's class
`replies`: the prompt that a reply consists of
`completions`: calls of a language model through LiteLLM, and its prices
`pace`: how much a service is asked at the same time
`endpoint_check`: whether an endpoint answers, before a run starts
`templates`, `instructions`: what a writer is asked, by operator
`context_need`: how long that can get
"""

from __future__ import annotations

from pkgutil import resolve_name

from eva.config import CustomEvolver, Evolving
from eva.errors import ConfigError
from eva.roles import Evolver, Generator

EVOLVERS: dict[str, str] = {
    "playground": "workers.evolvers.mechanical:PlaygroundEvolver",
    "evol_instruct": "workers.evolvers.evol_instruct:EvolInstructEvolver",
    "self": "workers.evolvers.policy:PolicyEvolver",
    "trained": "workers.evolvers.policy:creator_evolver",
    "feedback": "workers.evolvers.feedback:FeedbackRewriter",
    "copy": "workers.evolvers.mechanical:PromptCopier",
    "custom": "workers.evolvers.custom:UserEvolver",
}
"""`kind` in the config: the class of the evolver or a function that builds it, imported on first use."""


def build_evolver(evolving: Evolving, generator: Generator | None = None) -> Evolver:
    """Returns the run's evolver. `generator` is the fleet, for evolvers that use it. Raises ConfigError."""
    evolver: Evolver = resolve_name(EVOLVERS[evolving.evolver.kind])(evolving.evolver, generator)
    unknown = set(evolving.operators or ()) - set(evolver.operators)
    if unknown and isinstance(evolving.evolver, CustomEvolver):
        raise ConfigError(
            f"evolver {evolving.evolver.path} has no operator {min(unknown)!r}",
            expected=f"some of {', '.join(evolver.operators)}",
            next_move="Correct `evolving.operators`",
        )
    return evolver
