"""`self`: the policy that is being aligned also writes the prompts (creator and solver share one network)."""

from __future__ import annotations

from eva.config import SelfEvolver
from eva.roles import Generator
from workers.evolvers.evol_instruct import Rewriter
from workers.evolvers.fleet_writer import fleet_writer


class PolicyEvolver(Rewriter):
    """Sends the operators' templates to the run's own fleet."""

    def __init__(self, config: SelfEvolver, generator: Generator | None = None) -> None:
        super().__init__(fleet_writer(config, generator))
