"""What a run has on record: its config and what it changes, its events and log, its files."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from tests.support.browser_fixtures import Tab
from tests.support.cli_fixtures import Played
from tests.support.played_run import playground_config
from tests.support.service_fixtures import Served


@pytest.fixture
def created(store: Store) -> RunRow:
    return register_run(store, playground_config("iterations=2", "prompts.playground=16", "evaluation.playground=4"))


def test_the_config_says_what_differs_from_the_parent_or_a_preset(fresh: Tab, store: Store, created: RunRow) -> None:
    fork = fork_run(store, created, 0, forked_config(created, 0, ["training.beta=0.4"]))
    page = fresh.open(f"/runs/{fork.name}/config")
    rows = page.get_by_role("region", name="Keys that differ").locator("tbody tr")
    assert rows.all_inner_texts() == ["training.beta\t0.1\t0.4"]
    page.get_by_label("Compare with").select_option("playground")
    expect(rows).to_have_count(4)
    assert "against=playground" in page.url
    assert "beta: 0.4" in fresh.text("pre") and fresh.axe() == []


def test_a_failure_comes_first_in_its_own_words_and_events_are_searched(
    fresh: Tab, store: Store, created: RunRow
) -> None:
    with store.transaction() as conn:
        runs.set_status(conn, created.id, "failed", "the disk is full. Expected 2 GB. Delete old checkpoints")
        for number in range(250):
            events.append_event(conn, created.id, "collapse", {"figure": f"figure {number}"})
    page = fresh.open(f"/runs/{created.name}/log")
    assert "the disk is full. Expected 2 GB. Delete old checkpoints" in fresh.text("[role=alert]")
    assert "This machine has no log of the run" in fresh.text()
    listed = page.get_by_role("region", name="List of events").locator("tbody tr")
    assert listed.count() == 200
    page.get_by_role("button", name="Earlier events").click()
    expect(listed).to_have_count(251)
    page.get_by_label("Only lines with").fill("figure 249")
    expect(listed).to_have_count(1)
    assert "words=figure+249" in page.url and fresh.axe() == []


def test_events_and_lines_appear_while_a_run_plays(fresh: Tab, store: Store, created: RunRow, served: Served) -> None:
    folder = served.service.settings.logs_dir / created.folder_name
    folder.mkdir(parents=True)
    (folder / "eva.log").write_text("begins\n")
    page = fresh.open(f"/runs/{created.name}/log")
    assert "begins" in fresh.text("#log-lines")
    with (folder / "eva.log").open("a") as log:
        log.write("goes on\n")
    with store.transaction() as conn:
        events.append_event(conn, created.id, "renamed", {"from": "a", "to": "b"})
    page.get_by_role("region", name="List of events").get_by_text("renamed").wait_for()
    page.locator("#log-lines", has_text="goes on").wait_for()


def test_files_are_made_and_fetched(tab: Tab, played: Played, played_service: Served) -> None:
    page = tab.open(f"/runs/{played.name}/files")
    stored = played_service.client.get(f"/v1/runs/{played.name}/checkpoints").json()["items"]
    listed = page.get_by_role("region", name="List of checkpoints").locator("tbody tr")
    assert listed.count() == len(stored)
    assert f"eva checkpoints serve {played.name} --checkpoint 3" in listed.last.inner_text()
    assert stored[-1]["digest"][:12] in listed.last.inner_text()
    assert played_service.client.get(f"/v1/runs/{played.name}/checkpoints/0/archive").status_code == 404
    page.get_by_label("What").select_option("heldout")
    page.get_by_role("button", name="Write the file").click()
    link = page.get_by_role("link", name=f"{played.name}-heldout.jsonl")
    with page.expect_download() as download:
        link.first.click()
    # 3 sets of 30 prompts, 4 policies, one greedy response and one sampled
    assert len(download.value.path().read_text().splitlines()) == 3 * 30 * 4 * 2
    assert tab.axe() == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
