"""Commands on a run of an online loss, which has no pairs, say what it has trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fakes import Recorder, always, fake_config, fake_roles


@pytest.fixture
def run(store: Store, store_settings: Settings) -> tuple[RunRow, Recorder]:
    config = fake_config(iterations=1, generation={"n": 4, "max_tokens": 64, "top_p": 1.0}, training={"loss": "rloo"})
    row, heard = register_run(store, config), Recorder()
    drive(store, store_settings, row, heard, build=always(fake_roles()))
    return row, heard


def test_show_counts_responses_in_place_of_pairs(eva: Command, run: tuple[RunRow, Recorder]) -> None:
    row, heard = run
    shown = eva("show", row.name).stdout
    counted = heard.counts[0, "advantage"]["responses"]
    assert "responses" in shown and f" {counted} " in shown and " pairs" not in shown


def test_an_export_of_pairs_is_empty_and_says_why(eva: Command, run: tuple[RunRow, Recorder], tmp_path: Path) -> None:
    written = eva("export", run[0].name, "--what", "pairs", "--out", tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_text() == ""
    assert "Wrote 0 pairs" in written.stderr and "the run's loss trains on every response" in written.stderr
