"""The token record: what the policy sampled for each response, token by token, in files that a manifest names.

A policy gradient compares the trained policy with the one that sampled, token by token. The text does not suffice for
that: a tokenizer may cut it into other tokens than those that were sampled.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from eva.errors import TokenRecordError
from eva.types import Chain, Player, PromptResponses

FOLDER = "tokens"
"""The folder of the token records in a run's folder: a folder per iteration, with a file per batch of results."""

ResponseKey = tuple[int, int]
"""A response of an iteration: the prompt's number, the sample index."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The tokens of one response as they were sampled, the one that ended the turn included.

    `policy` is the number of the checkpoint that training of the iteration started from, `step` how many optimiser
    steps the sampling policy was ahead of it. `logprobs` are in nats, under that policy and the distribution that was
    sampled from; one for each of `token_ids`.
    """

    number: int
    sample: int
    policy: int
    step: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file of token records as the manifest names it, with its size in bytes and its SHA-256.

    `fence` is that of the driver that wrote it, as its file number `serial`. `pruned`: it was deleted. `player`: who
    sampled the tokens.
    """

    iteration: int
    fence: int
    serial: int
    records: int
    size: int
    sha256: str
    pruned: bool = False
    player: Player = "solver"

    @property
    def path(self) -> str:
        """Its path, relative to the run's folder."""
        return f"{FOLDER}/{self.iteration}/{self.fence}-{self.serial}.parquet"


@dataclass(frozen=True, slots=True)
class RecordManifest:
    """The files with a run's token records, in the order in which they were stored. `folder`: of the run."""

    run: str
    folder: Path
    files: tuple[RecordFile, ...]


def token_records(generated: Iterable[PromptResponses], policy: int, step: int = 0) -> list[TokenRecord]:
    """Returns the records of these responses. Raises TokenRecordError if one does not carry its tokens."""
    generated = [*generated]
    for prompt in generated:
        if bare := [response.sample for response in prompt.responses if not response.token_ids]:
            raise TokenRecordError(
                f"the engine returned response {bare[0]} to prompt {prompt.number} without its tokens",
                expected="the sampled tokens, which were requested",
                next_move="Check that every machine of the cluster has the same version of eva",
            )
    return [
        TokenRecord(
            prompt.number, response.sample, policy, step, prompt.prompt_ids, response.token_ids, response.logprobs
        )
        for prompt in generated
        for response in prompt.responses
    ]


def creator_token_records(chains: Iterable[Chain], checkpoint: int) -> list[TokenRecord]:
    """Returns the records of a creator's first reply for each child: `number` is the source, `sample` the slot.

    A reply that an engine could not write has none. Raises TokenRecordError if another does not carry its tokens.
    """
    first = [(chain.source, one.slot, one.reply) for chain in chains for one in chain.attempts if one.attempt == 0]
    written = [(source, slot, reply) for source, slot, reply in first if reply.reply_tokens]
    if bare := [source for source, _, reply in written if not reply.token_ids]:
        raise TokenRecordError(
            f"the engine returned a child of prompt {bare[0]} without its tokens",
            expected="the sampled tokens, which were requested",
            next_move="Check that every machine of the cluster has the same version of eva",
        )
    return [
        TokenRecord(source, slot, checkpoint, 0, reply.prompt_ids, reply.token_ids, reply.logprobs)
        for source, slot, reply in written
    ]


def without_tokens(prompt: PromptResponses) -> PromptResponses:
    """Returns responses without their tokens, as they travel on once these are recorded."""
    bare = tuple(replace(response, token_ids=(), logprobs=()) for response in prompt.responses)
    return replace(prompt, responses=bare, prompt_ids=())


def encode_records(records: Iterable[TokenRecord]) -> bytes:
    """Returns a Parquet file: a row per record, ids as int32, log-probabilities as float32."""
    arrow, parquet = _libraries()
    rows = [{name: getattr(record, name) for name in TokenRecord.__slots__} for record in records]
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=_schema(arrow)), buffer, compression="zstd")
    return buffer.getvalue()


def iter_token_records(
    manifest: RecordManifest, iteration: int, wanted: Collection[ResponseKey] | None = None
) -> Iterator[TokenRecord]:
    """Yields the records of an iteration's responses, a file in memory at a time; of all of them without `wanted`.

    Raises TokenRecordError if a file is missing or damaged, or a wanted record is in none.
    """
    missing = None if wanted is None else set(wanted)
    for file in manifest.files:
        if file.iteration != iteration or (missing is not None and not missing):
            continue
        for record in read_record_file(manifest, file):
            key = (record.number, record.sample)
            if missing is None or key in missing:
                if missing is not None:
                    missing.remove(key)
                yield record
    if missing:
        number, sample = min(missing)
        raise _error(
            manifest,
            iteration,
            f"{len(missing)} responses of iteration {iteration} have no token record, the first of them response "
            f"{sample} to prompt {number}",
            "the tokens of every response that is trained on",
        )


def _error(manifest: RecordManifest, iteration: int, given: str, expected: str) -> TokenRecordError:
    """The error for token records that cannot be used. Tokens are never made from the text instead."""
    return TokenRecordError(
        given,
        expected=expected,
        next_move=f"Restore {manifest.folder / FOLDER / str(iteration)} from a backup and resume the run, or play the "
        f"iteration again in a fork: `eva fork {manifest.run} --at {iteration}`",
    )


def read_record_file(manifest: RecordManifest, file: RecordFile) -> Iterator[TokenRecord]:
    """Yields the records of one file. Raises TokenRecordError if it is missing, damaged or pruned."""
    if file.pruned:
        raise _error(
            manifest,
            file.iteration,
            f"the token records of iteration {file.iteration} of run {manifest.run} were pruned",
            "the records of an unfinished iteration, or a run with rollouts.keep: all",
        )
    path = manifest.folder / file.path
    try:
        raw = path.read_bytes()
    except OSError as error:
        why = f"the token records in {path} cannot be read: {(error.strerror or str(error)).lower()}"
        raise _error(manifest, file.iteration, why, "the file that the manifest names") from error
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        what = f"the token records in {path} are damaged: {len(raw)} bytes with another SHA-256 than the manifest's"
        raise _error(manifest, file.iteration, what, f"the {file.size} bytes that the run wrote")
    _, parquet = _libraries()
    for batch in parquet.ParquetFile(io.BytesIO(raw)).iter_batches(256):
        for row in batch.to_pylist():
            ids = {name: tuple(row[name]) for name in ("prompt_ids", "token_ids", "logprobs")}
            yield TokenRecord(**row | ids)


def _schema(arrow: Any) -> Any:
    ids = arrow.list_(arrow.int32())
    return arrow.schema(
        [
            ("number", arrow.int32()),
            ("sample", arrow.int16()),
            ("policy", arrow.int16()),
            ("step", arrow.int32()),
            ("prompt_ids", ids),
            ("token_ids", ids),
            ("logprobs", arrow.list_(arrow.float32())),
        ]
    )


def _libraries() -> tuple[Any, Any]:
    # pyarrow has no type annotations
    return import_module("pyarrow"), import_module("pyarrow.parquet")
