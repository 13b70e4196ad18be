"""Token records are read as they were written; what is missing, damaged or pruned is said, never made up."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from eva.errors import TokenRecordError
from eva.solver.token_record import (
    RecordFile,
    RecordManifest,
    TokenRecord,
    encode_records,
    iter_token_records,
    token_records,
)
from eva.types import PromptResponses, Response

RECORDS = [
    TokenRecord(7, 0, 2, 0, (1, 5, 9), (31_999, 4, 2), (-0.5, -1.25, -0.0078125)),
    TokenRecord(7, 1, 2, 0, (1, 5, 9), (4,), (-3.0,)),
    TokenRecord(8, 0, 2, 16, (1,), (151_935, 2), (-0.0, -8.5)),
]


def manifest_of(folder: Path, *files: list[TokenRecord]) -> RecordManifest:
    rows: list[RecordFile] = []
    for serial, records in enumerate(files):
        raw = encode_records(records)
        file = RecordFile(2, 11, serial, len(records), len(raw), hashlib.sha256(raw).hexdigest())
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(raw)
        rows.append(file)
    return RecordManifest("quick-otter", folder, tuple(rows))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, RECORDS[:2], RECORDS[2:])
    assert [*iter_token_records(manifest, 2)] == RECORDS
    assert [*iter_token_records(manifest, 2, {(8, 0), (7, 1)})] == RECORDS[1:]
    assert [*iter_token_records(manifest, 2, ())] == []
    assert [*iter_token_records(manifest, 1)] == []


def test_a_response_that_two_files_hold_has_the_record_that_was_stored_first(tmp_path: Path) -> None:
    later = replace(RECORDS[0], token_ids=(1,), logprobs=(-1.0,))
    assert [*iter_token_records(manifest_of(tmp_path, RECORDS[:2], [later]), 2, {(7, 0)})] == RECORDS[:1]


def test_the_records_of_responses_are_their_tokens() -> None:
    responses = tuple(Response(r.sample, "", "stop", 1, 0, r.token_ids, r.logprobs) for r in RECORDS[:2])
    generated = [PromptResponses(7, "p", responses, prompt_ids=(1, 5, 9)), PromptResponses(9, "p", (), "too long")]
    assert token_records(generated, policy=2) == RECORDS[:2]


def test_a_missing_record_is_an_error_that_names_the_response_and_the_next_move(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, RECORDS)
    with pytest.raises(
        TokenRecordError, match=r"2 responses of iteration 2 .* response 3 to prompt 8.*eva fork quick-otter --at 2"
    ):
        list(iter_token_records(manifest, 2, {(7, 0), (8, 3), (9, 0)}))


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "pruned"])
def test_a_file_that_is_not_what_the_run_wrote_is_an_error(damage: str, tmp_path: Path) -> None:
    manifest, path = manifest_of(tmp_path, RECORDS), tmp_path / "tokens" / "2" / "11-0.parquet"
    raw = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "pruned":
        manifest = replace(manifest, files=(replace(manifest.files[0], pruned=True),))
    else:
        path.write_bytes(raw[:-1] if damage == "truncated" else raw[:50] + bytes([raw[50] ^ 1]) + raw[51:])
    words = {"missing": "no such file", "pruned": "were pruned"}.get(damage, "are damaged")
    with pytest.raises(TokenRecordError, match=rf"token records .*{words}.*eva fork quick-otter --at 2"):
        list(iter_token_records(manifest, 2, {(7, 0)}))
