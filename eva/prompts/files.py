"""Reads prompts from files and datasets: finds their field, merges equal ones, and names the line in errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from eva.creator.novelty import prompt_key
from eva.errors import PromptFileError
from eva.prompts.conversations import has_system
from eva.prompts.messages import CONVERSATIONS, is_conversation, parse_cell, split_conversation, system_message
from eva.prompts.rows import Row, read_rows
from eva.types import Context

TEXT_FIELDS = ("prompt", "instruction", "question", "text", "turns", *CONVERSATIONS)
LATER_TURNS = "later turns without answers"


@dataclass(frozen=True, slots=True)
class FilePrompt:
    """One prompt of a file, with its topic, if it has one, and the messages before it."""

    text: str
    topic: str | None = None
    context: Context = ()


@dataclass(frozen=True, slots=True)
class _Columns:
    """The keys of a row's prompt, topic and system message; None where the row decides."""

    prompt: str | None
    topic: str | None
    system: str | None


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The distinct prompts of a file, in its order; `repeated` counts the duplicate rows that were left out.

    `cut` counts the rows whose end was ignored, by what it was.
    """

    prompts: tuple[FilePrompt, ...]
    repeated: int
    cut: Mapping[str, int]


def read_prompt_file(
    path: Path,
    *,
    field: str | None = None,
    topic_field: str | None = None,
    system_field: str | None = None,
    limit: int | None = None,
) -> PromptFile:
    """Reads prompts from JSON Lines, a JSON array, CSV, TSV, Parquet or plain lines, depending on the file's ending.

    Raises PromptFileError: missing file, not UTF-8, malformed row (with its place), no such field, no prompt.
    """
    return read_prompts(
        read_rows(path), str(path), field=field, topic_field=topic_field, system_field=system_field, limit=limit
    )


def read_prompts(
    rows: Iterable[Row],
    source: str,
    *,
    field: str | None = None,
    topic_field: str | None = None,
    system_field: str | None = None,
    limit: int | None = None,
) -> PromptFile:
    """Reads prompts from rows with their places; errors name `source`. Raises PromptFileError."""
    columns = _Columns(field, topic_field, system_field)
    prompts: dict[int, FilePrompt] = {}
    cut: Counter[str] = Counter()
    repeated = 0
    for place, row in rows:
        prompt, left_aside = _prompt(row, columns, f"{place} of {source}")
        cut.update([left_aside] if left_aside else [])
        if prompts.setdefault(prompt_key(prompt.text, prompt.context), prompt) is not prompt:
            repeated += 1
        if len(prompts) == limit:
            break
    if not prompts:
        raise PromptFileError(
            f"{source} contains no prompt",
            expected='rows such as {"prompt": "…"}',
            next_move="Check the file, or set prompts.path to another one",
        )
    return PromptFile(tuple(prompts.values()), repeated, dict(cut))


def _prompt(row: Any, columns: _Columns, where: str) -> tuple[FilePrompt, str | None]:
    """Returns the row's prompt, and what came after it, if anything."""
    cells = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    value = _value(row, columns.prompt, where)
    left_aside, context, talk = None, (), is_conversation(value)
    if talk:
        value, context, left_aside = split_conversation(value, where)
    elif isinstance(value, list) and value:
        turns = cast("list[object]", value)
        value, left_aside = turns[0], LATER_TURNS if len(turns) > 1 else None
    if not isinstance(value, str) or not value.strip():
        raise PromptFileError(
            f"{where} has the prompt {str(cast(object, value))[:60]!r}",
            expected="a non-empty text",
            next_move="Remove or correct that line, or set prompts.field",
        )
    topic = cells.get(columns.topic) if columns.topic else None
    if not has_system(context):
        context = (*system_message(cells, columns.system, talk=talk, where=where), *context)
    return FilePrompt(value.strip(), None if topic is None else str(topic), context), left_aside


def _value(row: Any, field: str | None, where: str) -> object:
    """Returns the row's prompt field: a text, several texts, or messages."""
    if not isinstance(row, dict):
        return row
    cells = cast("dict[str, Any]", row)
    name = field or next((name for name in TEXT_FIELDS if cells.get(name) is not None), None)
    if name is None or name not in cells:
        raise PromptFileError(
            f"{where} has the keys {', '.join(map(repr, cells)) or '(none)'}",
            expected=f"the prompt under {field!r}" if field else f"one of {', '.join(TEXT_FIELDS)}",
            next_move="Set prompts.field to the key of the prompt",
        )
    return parse_cell(cells[name], where) if name in CONVERSATIONS else cells[name]
