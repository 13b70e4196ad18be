"""A prompt that continues a conversation, as others read it: chat messages, or one plain text."""

from __future__ import annotations

from collections.abc import Sequence

from eva.types import Context, Message

ROLES = ("system", "user", "assistant")


def as_messages(text: str, context: Context = (), system_prompt: str | None = None) -> list[dict[str, str]]:
    """Chat messages as templates read them, the prompt's text last.

    `system_prompt` stands before prompts that bring no system message of their own.
    """
    before = context if system_prompt is None or has_system(context) else (Message("system", system_prompt), *context)
    return as_rows([*before, Message("user", text)])


def as_rows(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as JSON has them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def has_system(context: Context) -> bool:
    """Whether the prompt brings a system message of its own."""
    return any(message.role == "system" for message in context)


def has_turns(context: Context) -> bool:
    """Whether something was said before the prompt, a system message aside."""
    return any(message.role != "system" for message in context)


def turn_texts(text: str, context: Context = ()) -> list[str]:
    """What user and assistant say, the prompt's text first."""
    return [text, *(message.content for message in context if message.role != "system")]


def transcript(text: str, context: Context = ()) -> str:
    """One text for readers without a chat template, each message behind its role; a plain prompt as it is."""
    if not context:
        return text
    return "\n\n".join(labelled_lines([*context, Message("user", text)]))


def labelled_lines(messages: Sequence[Message]) -> list[str]:
    """Each message behind its role, such as `User: Why?`."""
    return [f"{message.role.capitalize()}: {message.content}" for message in messages]
