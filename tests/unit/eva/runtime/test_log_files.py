"""Logs are read in pages that add up to the whole file, and no name leads out of their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.errors import NotFoundError
from eva.runtime import log_files
from eva.runtime.log_files import list_logs, read_log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "eva.log").write_bytes(b"".join(b"line %d\n" % number for number in range(1000)))
    (logs / "odd.log").write_bytes(b"\xff whole\r\nand a part")
    (tmp_path / "outside").write_text("secret")
    (logs / "link.log").symlink_to(tmp_path / "outside")
    return logs


def test_the_end_is_read_by_lines(folder: Path) -> None:
    piece = read_log(folder, "eva.log", lines=3)
    assert piece.lines == ("line 997", "line 998", "line 999")
    assert (piece.end, piece.size) == (8890, 8890)


@pytest.mark.parametrize("lines", [1, 7, 5000])
def test_pages_add_up_to_the_whole_file(folder: Path, monkeypatch: pytest.MonkeyPatch, lines: int) -> None:
    monkeypatch.setattr(log_files, "MOST_BYTES", 100)
    found: list[str] = []
    place = 0
    while (piece := read_log(folder, "eva.log", lines=lines, after=place)).lines:
        assert piece.start == place and piece.end - piece.start <= 100
        found += piece.lines
        place = piece.end
    assert found == [f"line {number}" for number in range(1000)]
    assert read_log(folder, "eva.log", lines=lines).lines[-1] == "line 999"


def test_bytes_that_are_not_text_are_shown_too(folder: Path) -> None:
    assert read_log(folder, "odd.log", lines=5).lines == ("\ufffd whole\r",)
    end = read_log(folder, "odd.log", lines=5).end
    assert read_log(folder, "odd.log", lines=5, after=end).lines == ("and a part",)
    assert read_log(folder, "odd.log", lines=5, after=10**6).lines == ()


@pytest.mark.parametrize("name", ["../outside", "link.log", "/etc/passwd", "", ".", "..", "eva.log/", "a\x00b"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no log"):
        read_log(folder, name, lines=1)


def test_a_missing_folder_has_no_logs(tmp_path: Path) -> None:
    assert list_logs(tmp_path / "elsewhere") == []
    with pytest.raises(NotFoundError, match="none lies on this machine"):
        read_log(tmp_path / "elsewhere", "eva.log", lines=1)


def test_no_page_begins_inside_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MOST_BYTES", 100)
    text = b"first\npassword=hunter2hunter2\n" + b"w " * 200 + b"sk-abcdefghijklmnop1234\nlast\n"
    (tmp_path / "eva.log").write_bytes(text)
    starts = {0, *(place + 1 for place, byte in enumerate(text) if byte == ord("\n"))}
    for place in range(len(text) + 5):
        page = read_log(tmp_path, "eva.log", lines=5, after=place)
        assert page.start in starts and page.end in starts
        assert not any(line.startswith(("unter2", "hunter", "bcdef")) for line in page.lines)
    assert read_log(tmp_path, "eva.log", lines=5, after=140).lines == ("last",), "the long line began too far before"
    long = read_log(tmp_path, "eva.log", lines=5, after=30)
    assert long.lines[0].endswith("w … (the line has 424 bytes)") and long.end == len(text) - len(b"last\n")
    assert read_log(tmp_path, "eva.log", lines=5).lines == ("last",)


def test_a_last_line_that_is_still_written_is_shown_once_until_it_grows(tmp_path: Path) -> None:
    (tmp_path / "eva.log").write_bytes(b"one\ntw")
    page = read_log(tmp_path, "eva.log", lines=5, after=4)
    assert (page.lines, page.end) == (("tw",), 6)
    assert read_log(tmp_path, "eva.log", lines=5, after=6).lines == ()
    (tmp_path / "eva.log").write_bytes(b"one\ntwo\nthree\n")
    assert read_log(tmp_path, "eva.log", lines=5, after=6).lines == ("two", "three")
