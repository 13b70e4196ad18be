"""EvolInstruct (Xu et al. 2023, arXiv 2304.12244) with any provider that LiteLLM supports."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from eva.config import EvolInstruct
from eva.creator.operators import FIRST_PACK, NEEDS_PARTNER
from eva.errors import ConfigError
from eva.roles import Generator
from eva.types import Mutation, Reply
from workers.evolvers.completions import Completions
from workers.evolvers.instructions import in_conversation
from workers.evolvers.replies import prompt_of
from workers.evolvers.templates import fill, load_templates


class Writer(Protocol):
    """A language model that answers one message. Safe to call from many threads."""

    def ask(self, message: str, seed: int) -> Reply:
        """Returns one reply, sampled with this seed."""
        ...


class Rewriter:
    """An `eva.roles.Evolver` that has a writer rewrite the prompt by the operator's template."""

    def __init__(self, writer: Writer) -> None:
        self._templates = load_templates()
        self._writer = writer

    @property
    def operators(self) -> tuple[str, ...]:
        return tuple(FIRST_PACK)

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns the prompt that the model's reply consists of (see `replies.prompt_of`); empty if it gave none.

        Its `finish` marks a reply that was cut, a prompt that the model declined (content filter, context length), and
        `mix` without a partner. Raises EvolverError, ConfigError.
        """
        if mutation.operator in NEEDS_PARTNER and mutation.partner is None:
            return Reply("", finish="no_partner")
        reply = self._writer.ask(in_conversation(self._instruction(mutation), mutation.conversation), mutation.seed)
        return replace(reply, text=prompt_of(reply.text))

    def _instruction(self, mutation: Mutation) -> str:
        if mutation.operator not in self._templates:
            raise ConfigError(
                f"unknown operator {mutation.operator!r}",
                expected=f"one of {', '.join(self._templates)}",
                next_move="Correct `evolving.operators`",
            )
        return fill(self._templates[mutation.operator], mutation.text, mutation.partner)


class EvolInstructEvolver(Rewriter):
    """Sends the operators' templates to a model through LiteLLM.

    Raises ConfigError at construction when the model or its key cannot be used.
    """

    def __init__(self, config: EvolInstruct, _generator: Generator | None = None) -> None:
        super().__init__(Completions(config))
