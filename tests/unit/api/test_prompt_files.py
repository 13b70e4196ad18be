"""Prompt files that are sent to the service: checked as a launch checks them, kept once, named in a config."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from httpx import Response

from eva.errors import PromptFileError
from eva.prompts import uploads
from eva.prompts.uploads import uploaded
from store.runs.runs import find_run
from tests.support.service_fixtures import Served

ROWS = b'{"prompt": "one"}\n{"prompt": "two"}\n{"prompt": "one"}\n{"question": "three", "topic": "x"}\n'
CONFIG = {
    "prompts": {"path": ""},
    "model": {"path": "playground"},
    "reward": {"kind": "mock"},
    "generation": {"max_tokens": 64},
    "evolving": {"evolver": {"kind": "playground"}},
    "evaluation": {"playground": 4},
}


def send(served: Served, content: bytes | Iterator[bytes], name: str, **columns: str) -> Response:
    return served.client.post("/v1/prompt-files", params={"name": name, **columns}, content=content)


def left(served: Served) -> list[str]:
    folder = served.service.settings.uploads_dir
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_uploaded_file_is_checked_kept_once_and_named_in_a_config(served: Served) -> None:
    answer = send(served, ROWS, "C:\\x\\../../etc/Mine.JSONL")
    assert answer.status_code == 201, answer.text
    file = answer.json()
    digest = hashlib.sha256(ROWS).hexdigest()
    assert (file["name"], file["prompts"], file["repeated"]) == (f"upload:{digest}.jsonl", 3, 1)
    assert (file["unused"], file["first"]) == (["topic"], ["one", "two", "three"])
    assert send(served, ROWS, "again.jsonl").json()["name"] == file["name"]
    assert left(served) == [f"{digest}.jsonl"]
    config = {**CONFIG, "prompts": {"path": file["name"]}}
    rehearsed = served.client.post("/v1/runs?dry_run=true", json={"config": config})
    assert rehearsed.status_code == 200 and "3 seed prompts" in rehearsed.json()["checks"][0], rehearsed.text
    run = served.client.post("/v1/runs", json={"config": config}).json()
    with served.service.store.transaction() as conn:
        row = find_run(conn, run["name"])
    assert row.prompt_count == 3
    path = Path(row.config["prompts"]["path"])
    assert path.read_bytes() == ROWS and path.is_relative_to(served.service.settings.data_dir)
    template = {**config, "model": {"path": "playground", "chat_template": file["name"]}}
    assert served.client.post("/v1/runs?dry_run=true", json={"config": template}).status_code == 403
    # a new run from this one names what it was shown; a fork has the prompts already
    again = served.client.post("/v1/runs?dry_run=true", json={"run": run["name"], "config": run["config"]})
    assert again.status_code == 200, again.text
    assert served.client.post(f"/v1/runs/{run['name']}:fork?dry_run=true", json={"at": 0}).status_code == 200


def test_an_upload_is_found_after_the_data_folder_has_moved(tmp_path: Path) -> None:
    name = f"{'0' * 64}.jsonl.gz"
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / name).touch()
    here = tmp_path / "uploads" / name
    assert uploaded(here.parent, f"/gone/uploads/{name}") == here == uploaded(here.parent, f"upload:{name}")
    assert uploaded(None, f"upload:{name}") is None
    for other in (f"/gone/{name}", f"/gone/uploads/1{name[1:]}", "upload:../uploads/x.jsonl", "other"):
        assert uploaded(here.parent, other) is None
    with pytest.raises(PromptFileError, match="no uploaded file is called"):
        uploaded(here.parent, f"upload:1{name[1:]}")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.exe", ROWS, "a name that ends in .jsonl"),
        ("\u202etxt.jsonl\n/..", ROWS, "a name that ends in .jsonl"),
        ("rows.jsonl", b"", "'rows.jsonl' contains no prompt"),
        ("rows.jsonl", b'{"prompt": "\xff"}', "'rows.jsonl' is not UTF-8 text"),
        ("rows.jsonl", b'{"prompt": "x"}\n{', "line 2"),
        ("rows.jsonl", b'{"q": "x"}', "Set prompts.field"),
        ("rows.parquet", ROWS, "'rows.parquet' is not a readable Parquet file"),
        ("rows.jsonl.gz", gzip.compress(ROWS, mtime=0)[:-9], "'rows.jsonl.gz'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    served: Served, name: str, content: bytes, told: str
) -> None:
    answer = send(served, content, name)
    assert answer.status_code == 422, answer.text
    assert told in answer.json()["detail"] and str(served.service.settings.data_dir) not in answer.text
    assert left(served) == []


def test_columns_are_those_of_the_config(served: Served) -> None:
    assert send(served, b'{"q": "x"}\n{"q": null}\n', "a.jsonl", field="q", skip_empty="true").json()["empty"] == {
        "null": 1
    }


def test_too_much_is_refused_whether_or_not_it_is_packed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    monkeypatch.setattr(uploads, "MOST_INSIDE", 2000)
    rows = b'{"prompt": "a long one"}\n' * 50
    # in pieces, so that its length is not known before
    answer = send(served, iter([rows[:500], rows[500:]]), "a.jsonl")
    assert answer.status_code == 422 and "larger than" in answer.json()["given"]
    answer = send(served, gzip.compress(rows * 2), "a.jsonl.gz")
    assert answer.status_code == 422 and "once it is unpacked" in answer.json()["given"]
    at = urlsplit(served.url)
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.sendall(_head(at.netloc, 2**40))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert left(served) == []


def test_an_upload_that_breaks_off_leaves_nothing(served: Served) -> None:
    at = urlsplit(served.url)
    with socket.create_connection((at.hostname, at.port)) as connection:
        connection.sendall(_head(at.netloc, 99) + ROWS[:20])
        _until(lambda: bool(left(served)))
    _until(lambda: not left(served))
    # what a killed service has left is removed by a later upload
    folder = served.service.settings.uploads_dir
    old = folder / ".0123.part.jsonl"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert send(served, ROWS, "a.jsonl").status_code == 201
    assert left(served) == [f"{hashlib.sha256(ROWS).hexdigest()}.jsonl"]


def _head(host: str, length: int) -> bytes:
    return f"POST /v1/prompt-files?name=a.jsonl HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n".encode()


def _until(true: object) -> None:
    ends = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.02)
