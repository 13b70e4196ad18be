"""Rows of prompt files, by the file's ending.

A new format is a function (path -> (place, row) pairs) and a line in READERS. Places are words such as "line 3";
a row is what JSON, Parquet or a table holds there, before any field is looked for.
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

Row = tuple[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file in its order. Raises PromptFileError: no such file, not what its ending says."""
    with _readable(path):
        yield from READERS.get(path.suffix.lower(), json_lines)(path)


def json_lines(path: Path) -> Iterator[Row]:
    """One JSON value per line; blank lines are passed over. What every other ending is taken for."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"line {number}", _decoded(line, number, path)


def json_array(path: Path) -> Iterator[Row]:
    """One JSON array; a file that does not begin with [ is read as JSON Lines."""
    text = path.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith("["):
        yield from json_lines(path)
        return
    try:
        values = cast("list[Any]", json.loads(text))
    except ValueError as error:
        raise PromptFileError(
            f"{path} is not JSON: {error}",
            expected="one JSON array, or one object per line",
            next_move="Repair it there",
        ) from error
    yield from ((f"element {number}", value) for number, value in enumerate(values, 1))


def table(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    """Reads a table with names in its first line; quoted cells may hold line breaks."""

    def rows(path: Path) -> Iterator[Row]:
        csv.field_size_limit(2**31 - 1)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
            try:
                for row in reader:
                    # cells beyond the named columns come under None
                    yield f"line {reader.line_num}", {name: cell for name, cell in row.items() if isinstance(name, str)}
            except csv.Error as error:
                raise PromptFileError(
                    f"line {reader.line_num + 1} of {path} begins no row of a table: {error}",
                    expected="quoted cells that end, one delimiter throughout",
                    next_move="Repair that line, or save the file anew",
                ) from error

    return rows


def plain_lines(path: Path) -> Iterator[Row]:
    """One prompt per line; blank lines are passed over."""
    with path.open(encoding="utf-8-sig") as lines:
        yield from ((f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip())


def parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a batch at a time."""
    # pyarrow's annotations name types that it does not bring
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
            expected="Parquet",
            next_move="Write it anew, or give its true ending",
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
            expected=f"a file of prompts ({endings})",
            next_move="Check the path (in a config it is relative to the config file)",
        ) from error
    except IsADirectoryError as error:
        raise PromptFileError(
            f"{path} is a folder",
            expected=f"a file of prompts ({endings})",
            next_move="Name the file itself under prompts.path, or a saved dataset's folder under prompts.dataset",
        ) from error
    except UnicodeDecodeError as error:
        raise PromptFileError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start})",
            expected="text in UTF-8",
            next_move="Convert it, e.g. iconv -f latin1 -t utf-8",
        ) from error


def _decoded(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise PromptFileError(
            f"line {number} of {path} is not JSON: {error}; it begins {line[:60].strip()!r}",
            expected="one JSON object per line",
            next_move="Repair that line, or give a JSON array the ending .json",
        ) from error
