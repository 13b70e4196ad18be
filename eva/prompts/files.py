"""Reads prompts from files and datasets: finds their field, merges equal ones, and names the line in errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from eva.creator.novelty import prompt_key
from eva.errors import PromptFileError
from eva.prompts.conversations import has_system
from eva.prompts.messages import (
    CONVERSATIONS,
    SYSTEM_FIELD,
    is_conversation,
    parse_cell,
    parsed_conversation,
    split_conversation,
    system_message,
)
from eva.prompts.rows import Row, read_rows
from eva.types import Context

TEXT_FIELDS = ("prompt", "instruction", "question", "text", "turns", *CONVERSATIONS)
ROWS_TOLD = 1000
"""How many rows are read between two calls of `on_rows`."""
LATER_TURNS = "later turns without answers"
COMPANIONS = {"instruction": ("input", "context")}
"""Columns that belong to a prompt's: Alpaca's `input` and Dolly's `context` hold what the instruction is about."""


@dataclass(frozen=True, slots=True)
class FilePrompt:
    """One prompt of a file, with its topic and its reference answer, if it has them, and the messages before it.

    `later` are the user's later turns, where the file has turns without responses (MT-Bench), with their references;
    only held-out sets use them.
    """

    text: str
    topic: str | None = None
    context: Context = ()
    later: tuple[str, ...] = ()
    reference: str | None = None
    later_references: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Columns:
    """The keys of a row's prompt, topic, system message and reference answer; None where the row decides, or unset."""

    prompt: str | None
    topic: str | None
    system: str | None
    reference: str | None


@dataclass(frozen=True, slots=True)
class _ReadRow:
    """A row's prompt, what came after it, and the columns that it came from. `empty` says why there is none."""

    prompt: FilePrompt | None
    used: tuple[str, ...] = ()
    left_aside: str | None = None
    joined: str | None = None
    empty: str | None = None


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The distinct prompts of a file, in its order; `repeated` counts the duplicate rows that were left out.

    `cut` counts the rows whose end was ignored, by what it was; `empty` those without a prompt, by reason; `joined`
    those in which a second column was joined to the prompt, by that column. `unused` are the columns that no prompt
    came from.
    """

    prompts: tuple[FilePrompt, ...]
    repeated: int
    cut: Mapping[str, int]
    empty: Mapping[str, int] = field(default_factory=dict[str, int])
    joined: Mapping[str, int] = field(default_factory=dict[str, int])
    unused: tuple[str, ...] = ()


def read_prompt_file(
    path: Path,
    *,
    field: str | None = None,
    topic_field: str | None = None,
    system_field: str | None = None,
    reference_field: str | None = None,
    limit: int | None = None,
    skip_empty: bool = False,
    on_rows: Callable[[int], object] | None = None,
) -> PromptFile:
    """Reads prompts from JSON Lines, a JSON array, CSV, TSV, Parquet or plain lines, depending on the file's ending.

    Raises PromptFileError: missing file, not UTF-8, malformed row (with its place), no such field, no prompt.
    """
    return read_prompts(
        read_rows(path),
        str(path),
        field=field,
        topic_field=topic_field,
        system_field=system_field,
        reference_field=reference_field,
        limit=limit,
        skip_empty=skip_empty,
        on_rows=on_rows,
    )


def read_prompts(
    rows: Iterable[Row],
    source: str,
    *,
    field: str | None = None,
    topic_field: str | None = None,
    system_field: str | None = None,
    reference_field: str | None = None,
    limit: int | None = None,
    skip_empty: bool = False,
    on_rows: Callable[[int], object] | None = None,
) -> PromptFile:
    """Reads prompts from rows with their places; errors name `source`. Raises PromptFileError.

    Rows without a prompt are an error that counts them all, or are left out with `skip_empty`. `on_rows` is called with
    the number of rows so far, now and then.
    """
    columns = _Columns(field, topic_field, system_field, reference_field)
    prompts: dict[int, FilePrompt] = {}
    cut, empty, joined = Counter[str](), Counter[str](), Counter[str]()
    seen, used = dict[str, None](), set[str]()
    first_empty: str | None = None
    repeated = 0
    for number, (place, row) in enumerate(rows, 1):
        if on_rows is not None and number % ROWS_TOLD == 0:
            on_rows(number)
        seen |= dict.fromkeys(cast("dict[str, Any]", row) if isinstance(row, dict) else ())
        read = _prompt(row, columns, f"{place} of {source}")
        used.update(read.used)
        if read.prompt is None:
            empty.update([read.empty or "empty"])
            first_empty = first_empty or place
            continue
        cut.update([read.left_aside] if read.left_aside else [])
        joined.update([read.joined] if read.joined else [])
        if prompts.setdefault(prompt_key(read.prompt.text, read.prompt.context), read.prompt) is not read.prompt:
            repeated += 1
        if len(prompts) == limit:
            break
    if empty and not skip_empty:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in empty.most_common())
        raise PromptFileError(
            f"{empty.total():,} rows of {source} have no prompt ({counts}); the first is {first_empty} of the file",
            expected="a non-empty text in every row",
            next_move="Correct those rows, set prompts.field, or set prompts.skip_empty to leave them out",
        )
    if not prompts:
        raise PromptFileError(
            f"{source} contains no prompt",
            expected='rows such as {"prompt": "…"}',
            next_move="Check the file, or set prompts.path to another one",
        )
    unused = tuple(name for name in seen if name not in used)
    return PromptFile(tuple(prompts.values()), repeated, dict(cut), dict(empty), dict(joined), unused)


def _prompt(row: Any, columns: _Columns, where: str) -> _ReadRow:
    """Returns the row's prompt, and what came after it, if anything."""
    cells = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    name, value = _value(row, columns.prompt, where)
    if (empty := _emptiness(value)) is not None:
        return _ReadRow(None, (name,) if name else (), empty=empty)
    left_aside, context, talk, later = None, (), is_conversation(value), ()
    if talk:
        value, context, left_aside = split_conversation(value, where)
    elif isinstance(value, list) and value:
        turns = cast("list[object]", value)
        value, left_aside = turns[0], LATER_TURNS if len(turns) > 1 else None
        later = tuple(text.strip() for text in _leading_texts(turns[1:]))
    if not isinstance(value, str) or not value.strip():
        raise PromptFileError(
            f"{where} has the prompt {str(cast(object, value))[:60]!r}",
            expected="a non-empty text",
            next_move="Remove or correct that line, or set prompts.field",
        )
    text, joined = (value.strip(), None) if talk else _joined(value.strip(), cells, name)
    topic = cells.get(columns.topic) if columns.topic else None
    if not has_system(context):
        context = (*system_message(cells, columns.system, talk=talk, where=where), *context)
    parts = (name, joined, columns.topic, columns.system or (talk and SYSTEM_FIELD), columns.reference)
    used = tuple(part for part in parts if part)
    reference, *others = _references(columns.reference and cells.get(columns.reference), 1 + len(later))
    later_references = tuple(others) if any(others) else ()
    prompt = FilePrompt(text, None if topic is None else str(topic), context, later, reference, later_references)
    return _ReadRow(prompt, used, left_aside, joined)


def _leading_texts(values: Iterable[object]) -> Iterator[str]:
    """Yields the values up to the first that is no text."""
    for value in values:
        if not isinstance(value, str) or not value.strip():
            return
        yield value


def _emptiness(value: object) -> str | None:
    """Returns why a value is no prompt at all: null, or nothing but white space."""
    if value is None:
        return "null"
    blank = (isinstance(value, str) and not value.strip()) or (isinstance(value, list) and not value)
    return "empty" if blank else None


def _references(value: object, turns: int) -> list[str | None]:
    """Returns the reference answer of each turn. Only where there are several turns, a list has one for each."""
    listed = isinstance(value, list) and turns > 1
    values: list[object] = cast("list[object]", value) if listed else [value]
    return [_reference(values[turn]) if turn < len(values) else None for turn in range(turns)]


def _reference(value: object) -> str | None:
    """Returns a reference answer as text, lists and objects as JSON; None for null or nothing but white space."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return None if value is None else str(value).strip() or None


def _joined(text: str, cells: Mapping[str, Any], name: str | None) -> tuple[str, str | None]:
    """Returns the prompt with the text of the column that belongs to it, if the row has one, and that column's name."""
    for companion in COMPANIONS.get(name or "", ()):
        more: object = cells.get(companion)
        if isinstance(more, str) and more.strip():
            return f"{text}\n\n{more.strip()}", companion
    return text, None


def _value(row: Any, field: str | None, where: str) -> tuple[str | None, object]:
    """Returns the name and the value of the row's prompt field: a text, several texts, messages, or null."""
    if not isinstance(row, dict):
        return None, row
    cells = cast("dict[str, Any]", row)
    present = [name for name in TEXT_FIELDS if name in cells]
    name = field or next((name for name in present if cells[name] is not None), present[0] if present else None)
    if name is None or name not in cells:
        raise PromptFileError(
            f"{where} has the keys {', '.join(map(repr, cells)) or '(none)'}",
            expected=f"the prompt under {field!r}" if field else f"one of {', '.join(TEXT_FIELDS)}",
            next_move="Set prompts.field to the key of the prompt",
        )
    value: object = cells[name]
    if name in CONVERSATIONS:
        return name, parse_cell(value, where)
    parsed = parsed_conversation(value)
    return name, value if parsed is None else parsed
