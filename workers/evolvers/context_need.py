"""The longest instruction that an evolver sends to the run's own fleet: it must fit into the engines' context."""

from __future__ import annotations

from eva.config import Evolving, FeedbackEvolver, SelfEvolver, TrainedEvolver
from eva.creator.operators import FIRST_PACK
from eva.types import Feedback, Message
from workers.evolvers.instructions import in_conversation, with_feedback
from workers.evolvers.templates import fill, load_templates


def fleet_needs(evolving: Evolving, conversation: int = 0) -> tuple[int, int]:
    """Returns the characters of the longest instruction to the fleet and the tokens of its reply; (0, 0) without one.

    A prompt has at most `evolving.max_chars` characters, and the conversation before it `conversation`. A written
    critique counts by its tokens, each at least one character of the instruction that quotes it.
    """
    evolver = evolving.evolver
    writer = evolver.writer if isinstance(evolver, FeedbackEvolver) else evolver
    if not isinstance(writer, SelfEvolver | TrainedEvolver):
        return 0, 0
    if isinstance(writer, TrainedEvolver) and writer.of_playground:
        return evolving.max_chars, writer.max_tokens
    prompt, templates = "x" * evolving.max_chars, load_templates()
    instruction = max((fill(templates[name], prompt, prompt) for name in evolving.operators or FIRST_PACK), key=len)
    if isinstance(evolver, FeedbackEvolver | TrainedEvolver) and evolving.shows_responses:
        answer = "x" * (evolver.response_chars + 1)
        written = isinstance(evolver, FeedbackEvolver) and evolver.critique == "written"
        critique = "x" * writer.max_tokens if written else None
        shown = Feedback(prompt, answer, -1.2345e-100, answer, -1.2345e-100)
        instruction = with_feedback(instruction, shown, evolver.response_chars, critique)
    before = (Message("user", "x" * conversation),) if conversation else ()
    return len(in_conversation(instruction, before)), writer.max_tokens
