"""The file that a training job of an online loss reads: the tokens of each response as sampled, and its advantage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eva.solver.token_record import TokenRecord

_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class WeightedResponse:
    """A response that is trained on: T sampled tokens, the one that ended the turn included.

    `logprobs_T` are the engine's, in nats. `advantage` follows from the rewards of all responses to the prompt.
    """

    number: int
    sample: int
    reward: float
    advantage: float
    prompt_ids: npt.NDArray[np.int32]
    token_ids_T: npt.NDArray[np.int32]
    logprobs_T: npt.NDArray[np.float32]


def weighted_response(record: TokenRecord, reward: float, advantage: float) -> WeightedResponse:
    """Joins a response's tokens with its reward and its advantage."""
    return WeightedResponse(
        record.number,
        record.sample,
        reward,
        advantage,
        np.array(record.prompt_ids, np.int32),
        np.array(record.token_ids, np.int32),
        np.array(record.logprobs, np.float32),
    )


def write_weighted_responses(path: Path, responses: Iterable[WeightedResponse]) -> int:
    """Writes a Parquet file in the order of prompts and samples, whatever order is given. Returns their number."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    rows = sorted(responses, key=lambda response: (response.number, response.sample))
    with parquet.ParquetWriter(path, _schema(arrow), compression="zstd") as writer:
        for first in range(0, len(rows), _AT_ONCE):
            page = rows[first : first + _AT_ONCE]
            columns = [[getattr(row, name) for row in page] for name in WeightedResponse.__slots__]
            arrays = [
                arrow.array(column, type=field.type) for column, field in zip(columns, _schema(arrow), strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=_schema(arrow)))
    return len(rows)


def iter_weighted_responses(path: Path) -> Iterator[WeightedResponse]:
    """Yields the responses of a file, a page in memory at a time."""
    parquet = import_module("pyarrow.parquet")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_AT_ONCE):
            columns = [batch.column(name) for name in WeightedResponse.__slots__]
            for row in range(batch.num_rows):
                number, sample, reward, advantage = (column[row].as_py() for column in columns[:4])
                ids = [column[row].values.to_numpy() for column in columns[4:]]
                yield WeightedResponse(number, sample, reward, advantage, *ids)


def _schema(arrow: Any) -> Any:
    ids = arrow.list_(arrow.int32())
    types = (arrow.int32(), arrow.int16(), arrow.float64(), arrow.float64(), ids, ids, arrow.list_(arrow.float32()))
    return arrow.schema([*zip(WeightedResponse.__slots__, types, strict=True)])
