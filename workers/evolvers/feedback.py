"""`feedback`: the writer sees the policy's best and worst response to the sampled prompt, with their rewards."""

from __future__ import annotations

from dataclasses import replace

from eva.config import EvolInstruct, FeedbackEvolver, SelfEvolver
from eva.roles import Generator
from eva.seeds import derive
from eva.types import Mutation, Reply
from workers.evolvers.completions import Completions
from workers.evolvers.evol_instruct import Rewriter, Writer
from workers.evolvers.fleet_writer import fleet_writer
from workers.evolvers.instructions import critique_request, in_conversation, with_feedback
from workers.evolvers.replies import prompt_of


class FeedbackRewriter(Rewriter):
    """A `Rewriter` that shows the responses and their critique above the instruction, if there are any."""

    def __init__(self, config: FeedbackEvolver, generator: Generator | None = None) -> None:
        super().__init__(_writer(config.writer, generator))
        self._written, self._chars = config.critique == "written", config.response_chars

    def evolve(self, mutation: Mutation) -> Reply:
        """Like `Rewriter.evolve`. With a written critique, tokens and cost are the sum of both calls."""
        if mutation.feedback is None or not self._written:
            return super().evolve(mutation)
        request = in_conversation(critique_request(mutation.feedback, self._chars), mutation.conversation)
        critique = self._writer.ask(request, derive(mutation.seed, "critique"))
        message = in_conversation(self._below(mutation, critique.text or None), mutation.conversation)
        reply = self._writer.ask(message, mutation.seed)
        return replace(
            reply,
            text=prompt_of(reply.text),
            prompt_tokens=reply.prompt_tokens + critique.prompt_tokens,
            reply_tokens=reply.reply_tokens + critique.reply_tokens,
            cost_usd=reply.cost_usd + critique.cost_usd,
        )

    def _instruction(self, mutation: Mutation) -> str:
        return super()._instruction(mutation) if mutation.feedback is None else self._below(mutation, None)

    def _below(self, mutation: Mutation, critique: str | None) -> str:
        assert mutation.feedback is not None
        return with_feedback(super()._instruction(mutation), mutation.feedback, self._chars, critique)


def _writer(config: EvolInstruct | SelfEvolver, generator: Generator | None) -> Writer:
    return Completions(config) if isinstance(config, EvolInstruct) else fleet_writer(config.settings, generator)
