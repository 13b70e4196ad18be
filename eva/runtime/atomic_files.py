"""Writes rows to a file that is complete or absent, or to standard output, a page of rows at a time."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from eva.errors import DiskFullError, InputError
from eva.runtime.full_disk import NO_SPACE

PAGE = 1000
FORMATS = ("jsonl", "parquet")
_INTEGERS = (
    "iteration",
    "number",
    "item",
    "checkpoint",
    "parent",
    "root",
    "depth",
    "born",
    "sample",
    "policy",
    "step",
    "tokens",
    "seed",
)
_FLOATS = ("chosen_reward", "rejected_reward", "margin", "reward", "info", "weight", "key")
_FLAGS = ("sampled", "buffer")
Row = Mapping[str, Any]


@contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Opens a file that gets its name when the block succeeds; if the block fails, nothing is left.

    Raises InputError if the file cannot be written, DiskFullError if the disk is full.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise _explained(path, error) from error
    finally:
        if partial.exists():
            partial.unlink()


def sync_to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def standard_output() -> Generator[IO[bytes]]:
    """Opens standard output for bytes, and flushes it at the end."""
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def write_jsonl(rows: Iterable[Row], file: IO[bytes]) -> int:
    """Writes one JSON object per line. Returns how many."""
    count = 0
    for row in rows:
        file.write(json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        count += 1
    return count


def write_parquet(
    rows: Iterable[Row], file: IO[bytes], columns: tuple[str, ...], messages: tuple[str, ...] = ()
) -> int:
    """Writes a Parquet table with these columns, one row group per page. Returns how many rows.

    The columns named in `messages` hold lists of chat messages.
    """
    # pyarrow has no type annotations
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    kinds: dict[str, Any] = {name: arrow.int64() for name in _INTEGERS}
    kinds |= {name: arrow.float64() for name in _FLOATS}
    kinds |= {name: arrow.bool_() for name in _FLAGS}
    kinds |= {"responses": arrow.list_(arrow.string()), "rewards": arrow.list_(arrow.float64())}
    kinds |= {"prompt_ids": arrow.list_(arrow.int32()), "token_ids": arrow.list_(arrow.int32())}
    kinds |= {"logprobs": arrow.list_(arrow.float32())}
    chat = arrow.list_(arrow.struct([("role", arrow.string()), ("content", arrow.string())]))
    kinds |= dict.fromkeys(messages, chat)
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in columns])
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for page in _pages(rows):
            writer.write_table(arrow.Table.from_pylist([dict(row) for row in page], schema=schema))
            count += len(page)
    return count


def write_rows(
    form: str, rows: Iterable[Row], file: IO[bytes], columns: tuple[str, ...], messages: tuple[str, ...] = ()
) -> int:
    """Writes rows in one of FORMATS. Returns how many."""
    return write_jsonl(rows, file) if form == "jsonl" else write_parquet(rows, file, columns, messages)


def write_json_file(path: Path, value: object) -> None:
    """Writes a JSON file that is complete or absent. Raises InputError, DiskFullError."""
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _pages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    page: list[Row] = []
    for row in rows:
        page.append(row)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _explained(path: Path, error: OSError) -> InputError | DiskFullError:
    if error.errno in NO_SPACE:
        return DiskFullError(
            f"no space is left for {path}",
            next_move="Free some space on that disk, or name another file; no partial file was left behind",
        )
    why = (error.strerror or str(error)).lower()
    return InputError(
        f"{path} cannot be written: {why}",
        expected="a file in an existing folder with write permission",
        next_move="Name another file",
    )
