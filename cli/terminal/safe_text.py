"""Texts of models and users, made safe for a terminal: they are shown, never obeyed."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

MESSAGE_WIDTH = 60

_PICTURES = {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"}


def printable(text: str) -> str:
    """The text with every character that could steer a terminal replaced by a visible one.

    Control characters show as their Unicode pictures (ESC as ␛); other controls, formatting characters
    that reorder or hide text, and surrogates show as U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def one_line(text: str, width: int | None = None) -> str:
    """The text on one line, white space as single blanks, cut to `width` characters with an ellipsis."""
    line = printable(" ".join(text.split()))
    return line if width is None or len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def conversation_line(messages: Sequence[Mapping[str, str]], width: int) -> str:
    """The messages before a prompt on one line, the beginning of each."""
    shown = [f"{message['role']}: {one_line(message['content'], MESSAGE_WIDTH)}" for message in messages]
    return one_line(" · ".join(shown), width)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if (picture := _PICTURES.get(ord(character))) is not None:
        return picture
    # blanks of other scripts are harmless, the rest of what Python calls unprintable is not
    return " " if unicodedata.category(character) == "Zs" else "\ufffd"
