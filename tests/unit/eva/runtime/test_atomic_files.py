from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq
import pytest

from eva.errors import DiskFullError, InputError
from eva.runtime.atomic_files import PAGE, whole_file, write_json_file, write_jsonl, write_parquet

HOSTILE = 'a "quote", a\nline, \x1b[31m, \u2028 and 日本語'


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with whole_file(target) as file:
        file.write(b"x")
        assert not target.exists()
    assert target.read_bytes() == b"x"
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_nothing_stays_when_writing_ends_early(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "out").write_text("old")

    def write() -> None:
        with whole_file(tmp_path / "out") as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path, code: int) -> None:
    def write() -> None:
        with whole_file(tmp_path / "out"):
            raise OSError(code, "No space left on device")

    with pytest.raises(DiskFullError, match=r"no space is left for .*out"):
        write()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("target", ["missing/out", "file/out", "."])
def test_an_unwritable_file_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), whole_file(tmp_path / target) as file:
        file.write(b"x")


def test_json_lines_hold_any_text_on_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with path.open("wb") as file:
        assert write_jsonl([{"text": HOSTILE}, {"text": "b"}], file) == 2
    lines = path.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:2]] == [{"text": HOSTILE}, {"text": "b"}]
    assert lines[2:] == [b""]


def test_parquet_holds_one_row_group_per_page(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    rows = ({"number": number, "prompt": HOSTILE, "parent": None, "reward": 0.5} for number in range(PAGE + 1))
    with path.open("wb") as file:
        assert write_parquet(rows, file, ("number", "prompt", "parent", "reward")) == PAGE + 1
    table: Any = pq.read_table(path)
    assert table.num_rows == PAGE + 1
    assert table.to_pylist()[-1] == {"number": PAGE, "prompt": HOSTILE, "parent": None, "reward": 0.5}
    assert pq.ParquetFile(path).num_row_groups == 2


def test_an_empty_parquet_file_still_has_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with path.open("wb") as file:
        write_parquet([], file, ("prompt", "chosen", "rejected"))
    table: Any = pq.read_table(path)
    assert table.column_names == ["prompt", "chosen", "rejected"]


class Sink:
    """Counts bytes without keeping them."""

    written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        return len(data)


def test_rows_are_pulled_as_they_are_written() -> None:
    sink = Sink()
    seen: list[int] = []

    def rows() -> Iterator[dict[str, str]]:
        for _ in range(3):
            seen.append(sink.written)
            yield {"text": "x" * 100}

    target: IO[bytes] = sink  # pyright: ignore[reportAssignmentType] - only write is called
    write_jsonl(rows(), target)
    assert 0 == seen[0] < seen[1] < seen[2]


def test_a_json_file_is_complete_or_absent(tmp_path: Path) -> None:
    write_json_file(tmp_path / "facts.json", {"a": [1, None]})
    assert json.loads((tmp_path / "facts.json").read_text()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_file(tmp_path / "nan.json", float("nan"))
    assert not (tmp_path / "nan.json").exists()
