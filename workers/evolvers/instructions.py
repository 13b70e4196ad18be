"""eva's own instructions: the second pack of operators, and what surrounds the parent's responses."""

from __future__ import annotations

from eva.prompts.conversations import labelled_lines
from eva.types import Context, Feedback

PLACE, PARTNER = "<PROMPT>", "<PARTNER>"
"""Placeholders for the prompt (exactly once) and for the second prompt."""

_REWRITE = """You write prompts that an assistant will be tested with.

{task}

The result must make sense on its own, be something that a person could really ask, and be answerable by text alone. \
Keep every table, formula, piece of code and input that it needs. Do not answer it. Write the new prompt and nothing \
else: no title, no explanation, no quotation marks.

#Given Prompt#:
{given}

#New Prompt#:
"""

_TASKS = {
    "expansion": "Widen the scope of the given prompt: ask for one more aspect, case or audience that belongs to the "
    "matter, so that a full answer has more ground to cover. Add at most 30 words.",
    "persona": "Rewrite the given prompt as a particular person would ask it: choose someone whose work, age or "
    "situation makes the question matter, and let that person's knowledge, aim and constraints shape it. "
    "The core of the task stays.",
    "shift_in": "Write a prompt about another topic inside the same field as the given prompt, one that needs a "
    "different piece of knowledge or another method of that field. Length and difficulty stay alike.",
    "shift_out": "Take the kind of task that the given prompt poses, and pose it in a field that has nothing to do "
    "with the first one. The kind of reasoning and the difficulty stay; subject, names and facts change.",
    "abstract": "Find the general question behind the given prompt, of which it is one instance, and ask that: in "
    "terms of principles, without the instance's names and numbers, and still precise enough to be "
    "answered well or badly.",
}

_MIX = """Write one prompt that needs what both prompts below ask for: their subjects or their methods have to work \
together in its answer. It must be one task, not two in a row, and about as long as the longer of them."""

TEMPLATES: dict[str, str] = {operator: _REWRITE.format(task=task, given=PLACE) for operator, task in _TASKS.items()} | {
    "mix": _REWRITE.format(task=_MIX, given=f"{PLACE}\n\n#Second Prompt#:\n{PARTNER}")
}
"""Operator: instruction. A new one is one line here and one in `eva.creator.operators`."""

_SHOWN = """An assistant was given the prompt below. Here are the best and the worst of its answers, each with the \
reward that it got from a reward model (higher is better).

#Answered Prompt#:
{prompt}

#Best Answer# (reward {best_reward:.4g}):
{best}

#Worst Answer# (reward {worst_reward:.4g}):
{worst}
"""

_CRITIQUE = """
In at most three sentences: what does the worst answer get wrong or leave out that the best one gets right, and \
what does even the best one lack? Name the skill that the assistant has not mastered yet. Write only that.
"""

_USE = """
{critique}Now do what follows, so that the new prompt asks for exactly the skill in which these answers fall short. \
Do not mention the answers, their rewards or the assistant in it.

"""

_SILENT = """First consider, without writing it down, what the worst answer gets wrong that the best one gets right, \
and what even the best one lacks.
"""


_CONVERSATION = """The prompt below is the next message of the user in this conversation, which stays as it is and \
comes before the new prompt, too. Whatever you write has to make sense as that next message; do not repeat or answer \
the conversation.

#Conversation#:
{conversation}

"""
CONVERSATION_CHARS = 8000
"""The writer sees at most this much of a conversation, its end."""


def in_conversation(instruction: str, conversation: Context) -> str:
    """Puts the messages before the prompt above the instruction, if there are any."""
    if not conversation:
        return instruction
    text = "\n\n".join(labelled_lines(conversation))
    shown = text if len(text) <= CONVERSATION_CHARS else "[…] " + text[-CONVERSATION_CHARS:]
    return _CONVERSATION.format(conversation=shown) + instruction


def critique_request(feedback: Feedback, chars: int) -> str:
    """Returns the request for a critique. At most `chars` characters of each response are shown."""
    return _shown(feedback, chars) + _CRITIQUE


def with_feedback(instruction: str, feedback: Feedback, chars: int, critique: str | None = None) -> str:
    """Puts the responses, and a written critique if there is one, above an operator's instruction."""
    words = _SILENT if critique is None else f"#Critique#:\n{critique}\n\n"
    return _shown(feedback, chars) + _USE.format(critique=words) + instruction


def _shown(feedback: Feedback, chars: int) -> str:
    return _SHOWN.format(
        prompt=feedback.prompt,
        best=_start(feedback.best, chars),
        best_reward=feedback.best_reward,
        worst=_start(feedback.worst, chars),
        worst_reward=feedback.worst_reward,
    )


def _start(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + " […]"
