"""Conversations in the rows of prompt files: OpenAI's and ShareGPT's shapes, checked message by message."""

from __future__ import annotations

import json
from typing import Any, cast

from eva.errors import PromptFileError
from eva.types import Context, Message

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that hold them; anywhere else a list of objects is one, too."""
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
"""Names of roles in files, and ours."""
SYSTEM_FIELD = "system"
LATER_ANSWERS = "answers behind the last user turn"
SHAPE = 'messages such as {"role": "user", "content": "…"} (or "from" and "value"), the last user turn being the prompt'


def is_conversation(value: object) -> bool:
    """Whether this is a list of messages rather than a text or texts."""
    return isinstance(value, list) and any(isinstance(row, dict) for row in cast("list[object]", value)[:1])


def parse_cell(value: object, where: str) -> object:
    """The messages of a table's cell, which is JSON. Raises PromptFileError."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise PromptFileError(
            f"{where} holds messages that are not JSON ({error}): {value[:60]!r}",
            expected=SHAPE,
            next_move="Write the column with json.dumps, or save as JSON Lines or Parquet",
        ) from error


def split_conversation(value: object, where: str) -> tuple[str, Context, str | None]:
    """The last user turn, the messages before it, and what was left aside behind it.

    Raises PromptFileError for what is no message, has an unknown role or no text, and where no user turn comes last.
    """
    rows = cast("list[object]", value)
    roles = [_role(row, number, where) for number, row in enumerate(rows, 1)]
    last = max((place for place, role in enumerate(roles) if role == "user"), default=None)
    if last is None or "system" in roles[1:]:
        told = "without a user turn" if last is None else "with a system message behind the first place"
        raise PromptFileError(
            f"{where} holds the messages {', '.join(roles)}, {told}",
            expected=SHAPE,
            next_move="Repair or remove that row",
        )
    messages = [
        Message(role, _content(row, number, where))
        for number, (role, row) in enumerate(zip(roles[: last + 1], rows, strict=False), 1)
    ]
    return messages[-1].content, tuple(messages[:-1]), LATER_ANSWERS if last + 1 < len(rows) else None


def system_message(cells: dict[str, Any], column: str | None, *, talk: bool, where: str) -> Context:
    """The row's system message from a column of its own: the one that was named, or `system` beside a conversation.

    Raises PromptFileError where the named column is missing, and for what is no text.
    """
    if column is not None and column not in cells:
        raise PromptFileError(
            f"{where} has the keys {', '.join(map(repr, cells)) or '(none)'}",
            expected=f"a system message under {column!r}, null for none",
            next_move="Set prompts.system_field to the key that holds it, or unset it",
        )
    value: object = cells.get(column or SYSTEM_FIELD) if column is not None or talk else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if not isinstance(value, str):
        raise PromptFileError(
            f"{where} gives {str(value)[:60]!r} as its system message",
            expected="a text, or null",
            next_move="Repair that row, or set prompts.system_field",
        )
    return (Message("system", value),)


def _role(row: object, number: int, where: str) -> str:
    message = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    given = message.get("role") or message.get("from")
    role = ROLES.get(str(given).lower())
    if role is None:
        told = f"has the role {given!r}" if given is not None else f"is {str(cast('object', row))[:60]!r}"
        raise PromptFileError(
            f"message {number} in {where} {told}",
            expected=f"one of the roles {', '.join(ROLES)}, and {SHAPE}",
            next_move="Rename the role, or leave the conversation out: tools are not played",
        )
    return role


def _content(row: object, number: int, where: str) -> str:
    """The text of a message; parts that are all text are joined."""
    message = cast("dict[str, object]", row)
    given = message.get("content") if message.get("content") is not None else message.get("value")
    parts = cast("list[object]", given) if isinstance(given, list) else [given]
    texts = [_part(part) for part in parts]
    kinds = [kind for text, kind in texts if text is None]
    content = "".join(text or "" for text, _ in texts)
    if kinds or not content.strip():
        told = f"holds {', '.join(dict.fromkeys(kinds))}" if kinds else "is empty"
        raise PromptFileError(
            f"message {number} in {where} {told}",
            expected="a text: images, audio and tools are not played",
            next_move="Repair that message, or leave the conversation out",
        )
    return content


def _part(part: object) -> tuple[str | None, str]:
    """The part's text, None with its kind where it is none."""
    if isinstance(part, str):
        return part, "text"
    if isinstance(part, dict):
        cells = cast("dict[str, object]", part)
        text, kind = cells.get("text"), str(cells.get("type") or "an object")
        return (text, kind) if isinstance(text, str) and kind in ("text", "an object") else (None, kind)
    return None, "no text" if part is None else type(part).__name__
