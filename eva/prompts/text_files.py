"""Opens text files as they come: in UTF-8, UTF-16 or UTF-32, and compressed or not."""

from __future__ import annotations

import bz2
import codecs
import gzip
import importlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, cast

from eva.errors import PromptFileError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Endings behind the one that says what is inside: `x.jsonl.gz`."""
_CHUNK = 1 << 20

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def format_of(path: Path) -> str:
    """Returns the ending that says what is in a file, in lower case: `.jsonl` for `x.JSONL.gz`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def opened_text(path: Path, newline: str | None = None) -> Generator[TextIO]:
    """Opens a text file. How it is compressed and encoded is read from its first bytes.

    Raises PromptFileError, also while it is read: for a damaged archive, and with the offset of bytes that are no text.
    """
    encoding = "utf-8"
    try:
        with opened_bytes(path) as file:
            encoding = _encoding(cast("io.BufferedReader", file).peek(4)[:4])
            with io.TextIOWrapper(file, encoding=encoding, newline=newline) as text:
                yield text
    except UnicodeError as error:
        name, offset, line = encoding.removesuffix("-sig").upper(), *_first_bad_byte(path, encoding)
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        with path.open("rb") as plain:
            inside = "" if _opener(plain) is None else " of what is compressed"
        raise PromptFileError(
            f"{path} is not {name} text ({reason} at byte {offset:,}{inside}, in line {line:,})",
            expected="text in UTF-8 or UTF-16",
            next_move="Convert it, e.g. iconv -f latin1 -t utf-8",
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise _damaged(path, error) from error


@contextmanager
def opened_bytes(path: Path) -> Generator[IO[bytes]]:
    """Opens a file once, and decompressed."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        opener = _opener(file)
        yield file if opener is None else opener(file, stack)


Opener = Callable[[io.BufferedReader, ExitStack], IO[bytes]]


def _opener(file: io.BufferedReader) -> Opener | None:
    """Returns what decompresses a file that is open at its beginning; None for one that is not compressed."""
    head = file.peek(6)
    return next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)


def _opened_by(module: Any) -> Opener:
    return lambda file, stack: cast("IO[bytes]", io.BufferedReader(stack.enter_context(module.open(file))))


def _zstandard(file: io.BufferedReader, stack: ExitStack) -> IO[bytes]:
    # pyarrow's annotations refer to types that it does not contain
    arrow: Any = importlib.import_module("pyarrow")
    return cast("IO[bytes]", io.BufferedReader(stack.enter_context(arrow.input_stream(file, compression="zstd"))))


def _only_member(file: io.BufferedReader, stack: ExitStack) -> IO[bytes]:
    archive = stack.enter_context(zipfile.ZipFile(file))
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if len(names) != 1:
        raise PromptFileError(
            f"the archive {file.name} has {len(names)} files",
            expected="an archive of one prompt file",
            next_move="Unpack it and name the file",
        )
    return cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", stack.enter_context(archive.open(names[0])))))


_OPENERS: dict[bytes, Opener] = {
    b"\x1f\x8b": _opened_by(gzip),
    b"BZh": _opened_by(bz2),
    b"\xfd7zXZ\x00": _opened_by(lzma),
    b"\x28\xb5\x2f\xfd": _zstandard,
    b"PK\x03\x04": _only_member,
}
"""How a file is opened, by its first bytes."""


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # without a mark, the first character of text in UTF-16 has one byte of zero
    if len(head) >= 2 and head[0] and not head[1]:
        return "utf-16-le"
    return "utf-16-be" if len(head) >= 2 and head[1] and not head[0] else "utf-8"


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Returns the offset in the file of the first byte that is no text, and its line."""
    decoder = codecs.getincrementaldecoder(encoding.removesuffix("-sig"))()
    offset, line = 0, 1
    with opened_bytes(path) as file:
        while True:
            chunk = file.read(_CHUNK)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk, not chunk).count("\n")
            except UnicodeDecodeError as error:
                before = bytes(error.object[: error.start]).decode(encoding, "ignore")
                return offset - pending + error.start, line + before.count("\n")
            offset += len(chunk)
            if not chunk:
                return offset, line


def _damaged(path: Path, error: Exception) -> PromptFileError:
    return PromptFileError(
        f"{path} cannot be decompressed: {error}",
        expected="a whole file",
        next_move="Copy or download it again, or decompress it yourself",
    )
