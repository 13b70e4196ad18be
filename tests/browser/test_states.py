"""Runs that are not finished: empty, playing, failed; and a store without any."""

from __future__ import annotations

import threading

import pytest

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.listening import Nobody
from orchestrator.registration import register_run
from store.rows import RunRow
from store.runs import set_status
from store.session import Store
from tests.browser_fixtures import Tab
from tests.played_run import lazily, playground_config


@pytest.fixture
def created(store: Store) -> RunRow:
    return register_run(store, playground_config("iterations=2", "prompts.playground=16", "evaluation.playground=4"))


def test_a_store_without_runs_says_how_to_start_one(fresh: Tab) -> None:
    fresh.open("/")
    assert "No runs yet" in fresh.text() and "eva demo" in fresh.text()


def test_what_an_unplayed_run_lacks_is_said_in_every_view(fresh: Tab, created: RunRow) -> None:
    fresh.open(f"/runs/{created.name}")
    assert "No iteration has judged its batch yet" in fresh.text() and "created" in fresh.text()
    page = fresh.open(f"/runs/{created.name}/prompts")
    assert page.locator("tbody tr").count() == 16
    fresh.open(f"/runs/{created.name}/prompts/3")
    assert "Not answered yet" in fresh.text() and "so it was not trained on" in fresh.text()
    fresh.open(f"/runs/{created.name}/lineage")
    assert fresh.page.locator(".node").count() == 1


def test_a_run_that_plays_is_seen_to_move_without_a_reload(
        fresh: Tab, created: RunRow, store: Store, store_settings: Settings) -> None:
    page = fresh.page
    page.goto(f"{fresh.base}/runs/{created.name}")
    page.get_by_text("0 of 2").wait_for()
    page.evaluate("window.sameVisit = true")
    player = threading.Thread(target=lambda: drive(store, store_settings, created, Nobody(), build=lazily))
    player.start()
    page.get_by_text("2 of 2").wait_for()
    page.locator(".status.finished").wait_for()
    card = page.get_by_role("region", name="Reward of the batch", exact=True)
    card.locator("path.line").first.wait_for(state="attached")
    player.join(timeout=60)
    assert page.evaluate("window.sameVisit")
    assert page.locator(".timeline-row").count() == 2


def test_a_failed_run_says_why_and_what_to_do(fresh: Tab, created: RunRow, store: Store) -> None:
    with store.transaction() as conn:
        set_status(conn, created.id, "failed", error="the disk of <b>node-3</b> is full")
    fresh.open(f"/runs/{created.name}")
    assert "The run failed: the disk of <b>node-3</b> is full" in fresh.text("[role=alert]")
    assert f"eva run --resume {created.name}" in fresh.text("[role=alert]")
