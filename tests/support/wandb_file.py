"""What Weights & Biases has written down offline: a log of records in LevelDB's format."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

HEADER, BLOCK = 7, 2**15
FULL, FIRST, LAST = 1, 2, 4


def history(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """(step, values) in the order in which they were logged, over all sessions of a run."""
    # made when it is imported
    record_of: Any = import_module("wandb.proto.wandb_internal_pb2").Record
    found: list[tuple[int, dict[str, Any]]] = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in _records(file.read_bytes()):
            record = record_of()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                found.append((record.history.step.num, items))
    return found


def _records(content: bytes) -> Iterator[bytes]:
    place, whole = HEADER, b""
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        piece = content[place + HEADER : place + HEADER + length]
        whole = piece if kind in (FULL, FIRST) else whole + piece
        if kind in (FULL, LAST):
            yield whole
        place += HEADER + length
