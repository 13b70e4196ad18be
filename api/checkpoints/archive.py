"""A checkpoint as a tar stream: the files of its manifest in order, always the same bytes, of a size known before."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from eva.errors import CheckpointError
from eva.solver.manifest import MANIFEST, Manifest

_BLOCK, _CHUNK = tarfile.BLOCKSIZE, 1 << 20
_END = bytes(2 * _BLOCK)
"""Two empty blocks end an archive."""


def members(folder: Path, manifest: Manifest, inside: str) -> list[tuple[Path, bytes, int]]:
    """Each file with its header and size: the manifest first, all in the archive's folder `inside`. Raises OSError."""
    sizes = {MANIFEST: (folder / MANIFEST).stat().st_size, **{file.path: file.size for file in manifest.files}}
    return [(folder / path, _header(f"{inside}/{path}", size), size) for path, size in sizes.items()]


def archive_size(found: list[tuple[Path, bytes, int]]) -> int:
    """The bytes of the whole stream."""
    return sum(len(header) + size + _padding(size) for _, header, size in found) + len(_END)


def archive(found: list[tuple[Path, bytes, int]]) -> Iterator[bytes]:
    """The stream, a megabyte at a time. Raises CheckpointError when a file is shorter or longer than its manifest says:
    the connection then breaks off, so that nobody takes what came for the whole."""
    for path, header, size in found:
        yield header
        left = size
        with path.open("rb") as file:
            while left and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk
            if left or file.read(1):
                raise CheckpointError(
                    f"{path} is not as large as its manifest says",
                    expected=f"{size} bytes",
                    next_move="Make the checkpoint again: eva checkpoints repair RUN",
                )
        yield bytes(_padding(size))
    yield _END


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> int:
    return -size % _BLOCK
