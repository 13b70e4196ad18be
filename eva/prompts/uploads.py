"""Prompt files that were sent to the service. Its data folder keeps each under the digest of its content."""

from __future__ import annotations

import hashlib
import lzma
import re
import secrets
import time
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from eva.errors import PromptFileError
from eva.prompts.files import PromptFile, read_prompt_file
from eva.prompts.rows import READERS
from eva.prompts.text_files import COMPRESSED, format_of, opened_bytes
from eva.runtime.atomic_files import sync_to_disk

FOLDER = "uploads"
PREFIX = "upload:"
"""A config names an uploaded file as `upload:DIGEST.ENDING`."""
MOST_BYTES, MOST_INSIDE = 64 * 2**20, 512 * 2**20
"""The largest file, in bytes, and what may be in one that is compressed."""
_NAME = re.compile(r"[0-9a-f]{64}(?:\.[a-z]+){1,3}")
_OLD_S = 3600.0
_CHUNK = 1 << 20


@dataclass(slots=True)
class Arriving:
    """An upload on its way: where it is written, its bytes so far, and their digest."""

    path: Path
    file: IO[bytes]
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes) -> None:
        """Writes the next bytes. Raises PromptFileError once there are too many."""
        self.size += len(chunk)
        if self.size > MOST_BYTES:
            raise PromptFileError(
                f"the file is larger than {MOST_BYTES // 2**20} MiB",
                expected=f"at most {MOST_BYTES // 2**20} MiB, compressed or not",
                next_move="Compress it (.gz, .zst), or put it on the machine and allow it there (docs/security.md)",
            )
        self.digest.update(chunk)
        self.file.write(chunk)


def ending_of(name: str) -> str:
    """The endings that say what is in a file, such as `.jsonl.gz`; nothing else of a name is used.

    Raises PromptFileError for a name that ends in no known way.
    """
    suffixes = [suffix.lower() for suffix in Path(name[-200:]).suffixes]
    packed: list[str] = []
    while suffixes and suffixes[-1] in COMPRESSED and len(packed) < 2:
        packed.insert(0, suffixes.pop())
    if not suffixes or suffixes[-1] not in READERS:
        raise PromptFileError(
            f"the file is called {name[-100:]!r}",
            expected=f"a name that ends in {', '.join(READERS)}, and {', '.join(COMPRESSED)} behind it if compressed",
            next_move="Give the file the ending of what it contains",
        )
    return "".join((suffixes[-1], *packed))


@contextmanager
def arriving(folder: Path, ending: str) -> Generator[Arriving]:
    """A file for an upload, which is gone when the block ends unless `keep` has given it a name."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    path = folder / f".{secrets.token_hex(8)}.part{ending}"
    try:
        with path.open("wb") as file:
            yield Arriving(path, file)
    finally:
        path.unlink(missing_ok=True)


def keep(upload: Arriving, ending: str) -> str:
    """Gives a complete upload its name, which it returns as a config has it. Equal files have one name."""
    upload.file.flush()
    target = upload.path.with_name(upload.digest.hexdigest() + ending)
    sync_to_disk(upload.path)
    upload.path.replace(target)
    sync_to_disk(target.parent)
    return f"{PREFIX}{target.name}"


def uploaded(folder: Path | None, value: str) -> Path | None:
    """The file that a config's value names, or named in a data folder that was moved here; None for another value.

    Raises PromptFileError for an upload that is not there.
    """
    place = Path(value)
    named = value.startswith(PREFIX)
    name = value.removeprefix(PREFIX) if named else place.name if place.parent.name == FOLDER else ""
    if folder is None or not _NAME.fullmatch(name):
        return None
    path = folder / name
    if path.is_file():
        return path
    if not named:
        return None
    raise PromptFileError(
        f"no uploaded file is called {name}",
        expected="a name that an upload to this service has returned",
        next_move="Upload the file: POST /v1/prompt-files",
    )


def check_upload(
    path: Path, shown: str, prompt: str | None, topic: str | None, system: str | None, *, skip_empty: bool
) -> PromptFile:
    """Reads an uploaded file as a launch does. Raises PromptFileError, in which the file is called `shown`."""
    try:
        _require_small(path)
        return read_prompt_file(path, field=prompt, topic_field=topic, system_field=system, skip_empty=skip_empty)
    except PromptFileError as error:
        texts = (error.given, error.expected, error.next_move)
        given, expected, move = (text.replace(str(path), shown).replace(path.name, shown) for text in texts)
        raise PromptFileError(given, expected=expected, next_move=move) from error


def _require_small(path: Path) -> None:
    """Raises PromptFileError for a file of which much more comes out than was sent."""
    if format_of(path) == ".parquet":
        # pyarrow's annotations refer to types that it does not contain
        arrow: Any = import_module("pyarrow")
        files: Any = import_module("pyarrow.parquet")
        try:
            groups = files.read_metadata(path)
        except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError, OSError):
            return
        size = sum(groups.row_group(n).total_byte_size for n in range(groups.num_row_groups))
    else:
        size = 0
        try:
            with opened_bytes(path) as file:
                while size <= MOST_INSIDE and (chunk := file.read(_CHUNK)):
                    size += len(chunk)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile):
            return  # the reader that comes next says in its own words what is damaged
    if size > MOST_INSIDE:
        raise PromptFileError(
            f"{path} holds more than {MOST_INSIDE // 2**20} MiB once it is unpacked",
            expected="a file of prompts",
            next_move="Send fewer prompts, or put the file on the machine and allow it there (docs/security.md)",
        )


def _remove_abandoned(folder: Path) -> None:
    """Removes what was left by a service that was killed during an upload."""
    for path in folder.glob(".*.part.*"):
        try:
            if path.stat().st_mtime < time.time() - _OLD_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
