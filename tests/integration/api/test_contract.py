"""The API does what its OpenAPI document promises: schemathesis tests every operation and follows the links."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.security.access import Access
from api.service import Service
from eva.settings import Settings
from orchestrator.launch.registration import register_run
from store.runs.api_keys import create_key, live_keys
from store.runs.runs import rename_run
from store.session import Store
from tests.support.played_run import play_run, playground_config
from tests.support.service_fixtures import Served, await_export, serving
from tests.support.structure import ROOT

DOCUMENT = ROOT / "docs/reference/openapi.json"
SMALL = ("prompts.playground=12", "evaluation.playground=8", "iterations=2")


@pytest.fixture
def guarded(store: Store, store_settings: Settings) -> Iterator[Served]:
    """A service that requires keys, with a finished run, a new one, and an export. Its `client` has a key."""
    runs = play_run(store, store_settings, playground_config(*SMALL)), register_run(store, playground_config(*SMALL))
    with store.transaction() as conn:
        key, _ = create_key(conn, "contract", "admin", None)
        for run, name in zip(runs, ("played", "other"), strict=True):
            rename_run(conn, run.id, name)
    # a clock that hurries: who tries wrong keys all the time is not kept waiting
    access = Access(store, itertools.count(0.0, 10.0).__next__)
    with serving(Service(store, store_settings, access=access)) as served:
        served.client.headers["Authorization"] = f"Bearer {key}"
        await_export(served, "played", "pairs", "jsonl")
        yield served


def test_the_service_keeps_what_its_document_promises(guarded: Served, tmp_path: Path) -> None:
    key = guarded.client.headers["Authorization"].removeprefix("Bearer ")
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            ROOT / "tests/support/schemathesis.toml",
            "run",
            DOCUMENT,
            "--url",
            guarded.url,
            "--phases",
            "coverage,fuzzing,stateful",
            "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "EVA_KEY": key, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    operations = sum(len(methods) for methods in json.loads(DOCUMENT.read_text("utf-8"))["paths"].values())
    assert re.search(rf"Tested: +{operations}\n", told.stdout), told.stdout
    with guarded.service.store.transaction() as conn:
        assert any(key.startswith(f"eva_{live.prefix}") for live in live_keys(conn)), "it has revoked its own key"
