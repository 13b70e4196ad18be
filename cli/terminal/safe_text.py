"""Text from models and users, made safe for a terminal: control characters are shown, not obeyed."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

MESSAGE_WIDTH = 60

_PICTURES = {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"}


def printable(text: str) -> str:
    """Replace every character that could control a terminal by a visible one.

    Control characters show as their Unicode pictures (ESC as ␛); other controls, formatting characters
    that reorder or hide text, and surrogates show as U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def one_line(text: str, width: int | None = None) -> str:
    """Put the text on one line: white space becomes single blanks, and an ellipsis ends what exceeds `width`."""
    line = printable(" ".join(text.split()))
    return line if width is None or len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def conversation_line(messages: Sequence[Mapping[str, str]], width: int) -> str:
    """Put the messages before a prompt on one line, each one shortened."""
    shown = [f"{message['role']}: {one_line(message['content'], MESSAGE_WIDTH)}" for message in messages]
    return one_line(" · ".join(shown), width)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if (picture := _PICTURES.get(ord(character))) is not None:
        return picture
    # spaces of other scripts are harmless; other characters that Python calls unprintable are not
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"
