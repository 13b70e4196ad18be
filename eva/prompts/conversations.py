"""Renders a prompt and the conversation before it as chat messages or as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from eva.types import Context, Message

ROLES = ("system", "user", "assistant")


def as_messages(text: str, context: Context = (), system_prompt: str | None = None) -> list[dict[str, str]]:
    """Returns chat messages as templates read them, with the prompt's text last.

    `system_prompt` comes first, unless the prompt has a system message of its own.
    """
    before = context if system_prompt is None or has_system(context) else (Message("system", system_prompt), *context)
    return as_rows([*before, Message("user", text)])


def as_rows(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Returns the messages as JSON objects."""
    return [{"role": message.role, "content": message.content} for message in messages]


def has_system(context: Context) -> bool:
    """Returns whether the prompt has a system message of its own."""
    return any(message.role == "system" for message in context)


def has_turns(context: Context) -> bool:
    """Returns whether any message other than a system message precedes the prompt."""
    return any(message.role != "system" for message in context)


def turn_texts(text: str, context: Context = ()) -> list[str]:
    """Returns the texts of user and assistant turns, with the prompt's text first."""
    return [text, *(message.content for message in context if message.role != "system")]


def transcript(text: str, context: Context = ()) -> str:
    """Returns one text for models without a chat template: each message after its role; a plain prompt unchanged."""
    if not context:
        return text
    return "\n\n".join(labelled_lines([*context, Message("user", text)]))


def labelled_lines(messages: Sequence[Message]) -> list[str]:
    """Returns each message after its role, such as `User: Why?`."""
    return [f"{message.role.capitalize()}: {message.content}" for message in messages]
