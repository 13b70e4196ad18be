"""Reads conversations from the rows of prompt files, in OpenAI's or ShareGPT's shape, and checks each message."""

from __future__ import annotations

import json
from typing import Any, cast

from eva.errors import PromptFileError
from eva.types import Context, Message

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that contain conversations; in any other column, a list of objects is one too."""
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
"""Names of roles in files, and eva's name for each."""
SYSTEM_FIELD = "system"
LATER_ANSWERS = "answers behind the last user turn"
SHAPE = 'messages such as {"role": "user", "content": "…"} (or "from" and "value"); the last user turn is the prompt'


def is_conversation(value: object) -> bool:
    """Returns whether the value is a list of messages rather than a text or several texts."""
    return isinstance(value, list) and any(isinstance(row, dict) for row in cast("list[object]", value)[:1])


def parse_cell(value: object, where: str) -> object:
    """Returns the messages of a table's cell, which is JSON; any other value unchanged. Raises PromptFileError."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise PromptFileError(
            f"{where} has messages that are not valid JSON ({error}): {value[:60]!r}",
            expected=SHAPE,
            next_move="Write the column with json.dumps, or save as JSON Lines or Parquet",
        ) from error


def parsed_conversation(value: object) -> object | None:
    """Returns the conversation that a text holds as JSON, as tables store it; None for any other text."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return None
    try:
        parsed: object = json.loads(value)
    except ValueError:
        return None
    return parsed if is_conversation(parsed) else None


def split_conversation(value: object, where: str) -> tuple[str, Context, str | None]:
    """Splits a conversation into its last user turn, the messages before it, and what was ignored after it.

    Raises PromptFileError for an invalid message, an unknown role, a message without text, a conversation without a
    user turn, and a system message that is not the first.
    """
    rows = cast("list[object]", value)
    # what follows the last user turn is left aside, whatever its role
    known = [_known_role(row) for row in rows]
    asked = max((place for place, role in enumerate(known) if role == "user"), default=len(rows) - 1)
    roles = [
        known[place] or "tool" if place > asked and _role_name(row) is not None else _role(row, place + 1, where)
        for place, row in enumerate(rows)
    ]
    last = max((place for place, role in enumerate(roles) if role == "user"), default=None)
    if last is None or "system" in roles[1:]:
        problem = "without a user turn" if last is None else "with a system message that is not the first"
        raise PromptFileError(
            f"{where} has the messages {', '.join(roles)}, {problem}",
            expected=SHAPE,
            next_move="Correct or remove that row",
        )
    messages = [
        Message(role, _content(row, number, where))
        for number, (role, row) in enumerate(zip(roles[: last + 1], rows, strict=False), 1)
    ]
    return messages[-1].content, tuple(messages[:-1]), LATER_ANSWERS if last + 1 < len(rows) else None


def system_message(cells: dict[str, Any], column: str | None, *, talk: bool, where: str) -> Context:
    """Returns the row's system message from a separate column: `column`, or `system` beside a conversation.

    Raises PromptFileError if `column` is missing, or its value is not a text.
    """
    if column is not None and column not in cells:
        raise PromptFileError(
            f"{where} has the keys {', '.join(map(repr, cells)) or '(none)'}",
            expected=f"a system message under {column!r}, null for none",
            next_move="Set prompts.system_field to the key of the system message, or unset it",
        )
    value: object = cells.get(column or SYSTEM_FIELD) if column is not None or talk else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if not isinstance(value, str):
        raise PromptFileError(
            f"{where} has the system message {str(value)[:60]!r}",
            expected="a text, or null",
            next_move="Correct that row, or set prompts.system_field",
        )
    return (Message("system", value),)


def _role_name(row: object) -> object:
    message = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    return message.get("role") or message.get("from")


def _known_role(row: object) -> str | None:
    return ROLES.get(str(_role_name(row)).lower())


def _role(row: object, number: int, where: str) -> str:
    name, role = _role_name(row), _known_role(row)
    if role is None:
        problem = f"has the role {name!r}" if name is not None else f"is {str(row)[:60]!r}"
        raise PromptFileError(
            f"message {number} in {where} {problem}",
            expected=f"one of the roles {', '.join(ROLES)}, and {SHAPE}",
            next_move="Rename the role, or remove the conversation: tools are not supported",
        )
    return role


def _content(row: object, number: int, where: str) -> str:
    """Returns the text of a message; parts that are all text are joined."""
    message = cast("dict[str, object]", row)
    value = message.get("content") if message.get("content") is not None else message.get("value")
    parts = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [_part(part) for part in parts]
    kinds = [kind for text, kind in texts if text is None]
    content = "".join(text or "" for text, _ in texts)
    if kinds or not content.strip():
        problem = f"contains {', '.join(dict.fromkeys(kinds))}" if kinds else "is empty"
        raise PromptFileError(
            f"message {number} in {where} {problem}",
            expected="a text: images, audio and tools are not supported",
            next_move="Correct that message, or remove the conversation",
        )
    return content


def _part(part: object) -> tuple[str | None, str]:
    """Returns the part's text and kind; None as the text if it is not one."""
    if isinstance(part, str):
        return part, "text"
    if isinstance(part, dict):
        cells = cast("dict[str, object]", part)
        text, kind = cells.get("text"), str(cells.get("type") or "an object")
        return (text, kind) if isinstance(text, str) and kind in ("text", "an object") else (None, kind)
    return None, "no text" if part is None else type(part).__name__
