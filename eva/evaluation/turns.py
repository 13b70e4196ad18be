"""Later turns of held-out conversations, such as MT-Bench's second one: a set of their own for each turn.

The policy responds to turn 1, then to turn 2 with its own first response before it, and so on. Each turn has its own
figures, so each is stored as a set; `mt_bench` is turn 1 and `mt_bench-turn-2` follows it, item by item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eva.prompts.files import FilePrompt
from eva.types import Context, Message


@dataclass(frozen=True, slots=True)
class HeldoutSet:
    """One turn of a held-out set: its prompts by item, and the set of the turn before it (None for turn 1).

    The context of a later turn ends with the user's earlier turns; the responses to them are each policy's own.
    """

    name: str
    turn: int
    follows: str | None
    prompts: Mapping[int, FilePrompt]


def turn_set(name: str, turn: int) -> str:
    """Returns the name of the set that holds a turn of a set: its own for turn 1."""
    return name if turn == 1 else f"{name}-turn-{turn}"


def split_turns(name: str, prompts: Sequence[FilePrompt]) -> list[HeldoutSet]:
    """Returns a held-out set as one set per turn. A prompt without a later turn is missing from that turn's set."""
    sets = [HeldoutSet(name, 1, None, dict(enumerate(prompts)))]
    for turn in range(2, 2 + max((len(prompt.later) for prompt in prompts), default=0)):
        later = {item: _at_turn(prompt, turn) for item, prompt in enumerate(prompts) if len(prompt.later) >= turn - 1}
        sets.append(HeldoutSet(turn_set(name, turn), turn, turn_set(name, turn - 1), later))
    return sets


def _at_turn(prompt: FilePrompt, turn: int) -> FilePrompt:
    asked = (prompt.text, *prompt.later)
    earlier = tuple(Message("user", text) for text in asked[: turn - 1])
    references = (prompt.reference, *prompt.later_references)
    reference = references[turn - 1] if turn <= len(references) else None
    return FilePrompt(asked[turn - 1], prompt.topic, (*prompt.context, *earlier), reference=reference)


def with_responses(context: Context, responses: Sequence[str]) -> Context:
    """Returns a later turn's context with a response behind each of the user's earlier turns, which end it."""
    start = len(context) - len(responses)
    conversation = list(context[:start])
    for turn, response in zip(context[start:], responses, strict=True):
        conversation += [turn, Message("assistant", response)]
    return tuple(conversation)
