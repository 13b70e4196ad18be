"""The run's own fleet as an evolver: the policy that is being aligned, or a creator with weights of its own."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from eva.config import SelfEvolver, TrainedEvolver
from eva.roles import Evolver, Generator
from eva.types import Mutation, Reply
from workers.evolvers.evol_instruct import Rewriter
from workers.evolvers.fleet_writer import FleetWriter, fleet_writer
from workers.evolvers.instructions import with_feedback
from workers.playground.operators import OPERATORS
from workers.playground.written_prompts import instruction, read_prompt


class PolicyEvolver(Rewriter):
    """`self`: sends the operators' templates to the policy, so that creator and solver share one network."""

    def __init__(self, config: SelfEvolver, generator: Generator | None = None) -> None:
        super().__init__(fleet_writer(config.settings, generator))


def creator_evolver(config: TrainedEvolver, generator: Generator | None = None) -> Evolver:
    """`trained`: returns a creator that is asked as its model was taught. Raises ConfigError without a fleet."""
    writer = fleet_writer(config.settings, generator, record=not config.frozen)
    return PlaygroundCreator(writer) if config.of_playground else CreatorEvolver(writer, config.response_chars)


class CreatorEvolver(Rewriter):
    """Sends the operators' templates to the creator, below the policy's best and worst response if it may see them."""

    def __init__(self, writer: FleetWriter, response_chars: int) -> None:
        super().__init__(writer)
        self._chars = response_chars

    @override
    def _instruction(self, mutation: Mutation) -> str:
        plain = super()._instruction(mutation)
        return plain if mutation.feedback is None else with_feedback(plain, mutation.feedback, self._chars)


class PlaygroundCreator:
    """The playground's creator as an `eva.roles.Evolver`: it is asked in the words of the micro-world."""

    operators = tuple(OPERATORS)

    def __init__(self, writer: FleetWriter) -> None:
        self._writer = writer

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns the prompt that the creator wrote; its `finish` says if it is none of this world, or held out."""
        reply = self._writer.ask(instruction(mutation.text, mutation.operator), mutation.seed)
        text, fault = read_prompt(reply.text)
        return replace(reply, text=text, finish=fault if fault is not None and reply.finish == "stop" else reply.finish)
