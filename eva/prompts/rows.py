"""Reads the rows of prompt files, depending on the file's ending.

A new format is a function (path -> (place, row) pairs) and a line in READERS. Places are words such as "line 3"; a row
is the value that JSON, Parquet or a table has there.
"""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from eva.errors import PromptFileError
from eva.prompts.text_files import format_of, opened_text

Row = tuple[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file in order. Raises PromptFileError if it is missing or not what its ending says."""
    with _readable(path):
        yield from READERS.get(format_of(path), json_lines)(path)


def json_lines(path: Path) -> Iterator[Row]:
    """Yields one JSON value per line; blank lines are skipped. Also used for unknown endings."""
    with opened_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"line {number}", _decoded(line, number, path)


def json_array(path: Path) -> Iterator[Row]:
    """Yields the elements of one JSON array; a file that does not begin with [ is read as JSON Lines."""
    with opened_text(path) as file:
        text = file.read()
    if not text.lstrip().startswith("["):
        yield from json_lines(path)
        return
    try:
        values = cast("list[Any]", json.loads(text))
    except ValueError as error:
        raise PromptFileError(
            f"{path} is not valid JSON: {error}",
            expected="one JSON array, or one object per line",
            next_move="Correct the file",
        ) from error
    yield from ((f"element {number}", value) for number, value in enumerate(values, 1))


def table(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    """Returns a reader for tables with names in the first line; quoted cells may contain line breaks."""

    def rows(path: Path) -> Iterator[Row]:
        csv.field_size_limit(2**31 - 1)
        with opened_text(path, newline="") as lines:
            reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
            try:
                for row in reader:
                    # cells beyond the named columns have the key None
                    yield f"line {reader.line_num}", {name: cell for name, cell in row.items() if isinstance(name, str)}
            except csv.Error as error:
                raise PromptFileError(
                    f"line {reader.line_num + 1} of {path} is not a table row: {error}",
                    expected="closed quotes, and the same delimiter everywhere",
                    next_move="Correct that line, or save the file again",
                ) from error

    return rows


def plain_lines(path: Path) -> Iterator[Row]:
    """Yields one prompt per line; blank lines are skipped."""
    with opened_text(path) as lines:
        yield from ((f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip())


def parquet(path: Path) -> Iterator[Row]:
    """Yields the rows of a Parquet file, read in batches."""
    # pyarrow's annotations refer to types that it does not contain
    arrow: Any = importlib.import_module("pyarrow")
    files: Any = importlib.import_module("pyarrow.parquet")
    number = 0
    try:
        with files.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise PromptFileError(
            f"{path} is not a readable Parquet file: {error}",
            expected="a Parquet file",
            next_move="Write the file again, or give it the right ending",
        ) from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".json": json_array,
    ".csv": table(","),
    ".tsv": table("\t"),
    ".txt": plain_lines,
    ".parquet": parquet,
}


@contextmanager
def _readable(path: Path) -> Generator[None]:
    endings = ", ".join(READERS)
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PromptFileError(
            f"there is no file {path}",
            expected=f"a prompt file ({endings})",
            next_move="Check the path (in a config it is relative to the config file)",
        ) from error
    except IsADirectoryError as error:
        raise PromptFileError(
            f"{path} is a folder",
            expected=f"a prompt file ({endings})",
            next_move="Set prompts.path to the file itself, or prompts.dataset to the folder of a saved dataset",
        ) from error


def _decoded(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise PromptFileError(
            f"line {number} of {path} is not valid JSON: {error}; it begins with {line[:60].strip()!r}",
            expected="one JSON object per line",
            next_move="Correct that line, or give a JSON array the ending .json",
        ) from error
