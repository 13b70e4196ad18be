"""The list of runs as a table to work in: columns, order, words, tags, groups, and several runs at once."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from eva.config.files import load_config
from orchestrator.launch.forks import fork_run
from orchestrator.launch.registration import register_run
from orchestrator.stages.evaluation import heldout_figures
from store.rows import RunRow
from store.session import Store
from store.views.report import HeldoutScore
from store.views.statistics import put_statistic
from tests.support.browser_fixtures import Tab
from tests.support.service_fixtures import Served

LONG = "a-name-that-somebody-gave-without-thinking-of-the-table"


@pytest.fixture
def several(store: Store) -> list[RunRow]:
    """Three runs of which two are tagged, and a fork; their success grows with beta."""
    made: list[RunRow] = []
    for name, beta, tags in (("one", 0.1, ("sweep",)), (LONG, 0.2, ("sweep", "good")), ("three", 0.4, ())):
        small = ("prompts.playground=8", "evaluation.playground=2", f"training.beta={beta}", f"name={name}")
        run = register_run(store, load_config("playground", small), tags=tags)
        made.append(run)
        for checkpoint, share in enumerate((0.1, 2 * beta)):
            score = heldout_figures(
                HeldoutScore(checkpoint, "hard", "greedy", 10, 10, round(10 * share), share, False, 10, 0.5, 10, 0.5)
            )
            with store.transaction() as conn:
                put_statistic(conn, run.id, checkpoint - 1, "heldout", [score])
    config = load_config("playground", ["prompts.playground=8", "evaluation.playground=2", "name=fork"])
    made.append(fork_run(store, made[0], 0, config))
    return made


def names(tab: Tab) -> list[str]:
    return [name.partition("-")[0] for name in tab.page.locator(".run-name").all_inner_texts()]


def test_columns_and_order_are_chosen_and_live_in_the_address(fresh: Tab, several: list[RunRow]) -> None:
    page = fresh.open("/")
    assert names(fresh) == ["fork", "three", "a", "one"]
    page.get_by_text("Columns and groups").click()
    page.get_by_role("checkbox", name="training.beta").check()
    page.get_by_label("Regret (informativeness)").uncheck()
    page.get_by_role("link", name="training.beta").click()
    page.wait_for_url(re.compile(r"sort=config\.training\.beta"))
    expect(page.locator(".run-name").last).to_contain_text("three")
    fresh.open(page.url.removeprefix(fresh.base))
    assert page.locator("th", has_text="Regret").count() == 0
    assert page.locator("[data-column='config.training.beta'] .config-value").all_inner_texts()[-1] == "0.4"
    page.get_by_role("link", name="Held-out hard").click()
    expect(page.locator(".run-name").first).to_contain_text("three")
    assert "10 → 80%" in page.locator("tbody tr").first.inner_text()
    assert fresh.axe() == []


def test_words_and_tags_select_runs(fresh: Tab, several: list[RunRow]) -> None:
    page = fresh.open("/")
    page.locator(".run-cell a.tag", has_text="good").click()
    expect(page.locator(".run-name")).to_have_count(1)
    page.get_by_role("button", name="Remove the filter tag: good").click()
    page.get_by_label("Words").fill("swee")
    page.get_by_label("Words").press("Enter")
    expect(page.locator(".run-name")).to_have_count(2)
    page.go_back()
    expect(page.locator(".run-name")).to_have_count(4)
    page = fresh.open("/?columns=config.training.beta")
    page.locator("[data-column='config.training.beta'] a", has_text="0.4").click()
    expect(page.locator(".run-name")).to_have_count(1)
    assert "config=training.beta%3D0.4" in page.url
    page.get_by_role("button", name="Remove the filter config: training.beta=0.4").click()
    expect(page.locator(".run-name")).to_have_count(4)
    page.get_by_label("Words").fill("training.beta=0.4")
    page.get_by_label("Words").press("Enter")
    expect(page.locator(".run-name")).to_have_count(1)


def test_a_fork_names_its_parent_and_has_spent_no_time(fresh: Tab, several: list[RunRow]) -> None:
    page = fresh.open("/")
    row = page.locator("tbody tr").first
    assert f"fork of {several[0].name} at iteration 0" in row.inner_text()
    assert row.locator("[data-column=seconds]").inner_text() == "–"
    row.locator(".run-name").click()
    page.locator("h1", has_text=several[3].name).wait_for()
    page.locator(".facts div", has_text="Time spent").get_by_text("none yet").wait_for()
    assert f"{several[0].name} at iteration 0" in fresh.text(".facts")


def test_several_runs_are_tagged_cancelled_and_deleted_at_once(
    fresh: Tab, several: list[RunRow], served: Served
) -> None:
    page = fresh.open("/")
    page.get_by_label("Select all runs of this page").check()
    page.get_by_label(f"Select {several[0].name}").uncheck()
    page.get_by_text("3 runs selected").wait_for()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("dialog").get_by_label("Tag").fill("later")
    assert fresh.axe() == []
    page.get_by_role("button", name="Add this tag").click()
    page.get_by_text("Tagged 3 runs.").wait_for()
    assert [run["tags"] for run in served.client.get("/v1/runs").json()["items"]] == [
        ["later"],
        ["later"],
        ["sweep", "good", "later"],
        ["sweep"],
    ]
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel 3 runs").click()
    page.get_by_text("Cancelled 3 runs.").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete 3 runs").click()
    expect(page.locator(".run-name")).to_have_count(1)
    assert names(fresh) == ["one"]


def test_groups_show_means_and_lead_to_their_runs(fresh: Tab, several: list[RunRow]) -> None:
    page = fresh.open("/?group=tag")
    table = page.get_by_role("region", name="Groups of runs")
    assert [row.split("\t")[0] for row in table.locator("tbody tr").all_inner_texts()] == ["sweep", "good", "none"]
    assert "30%" in table.locator("tbody tr").first.inner_text()
    assert fresh.axe() == []
    table.locator("a.tag", has_text="good").click()
    expect(page.locator(".run-name")).to_have_count(1)


def test_a_long_name_pushes_nothing_off_on_a_phone(fresh: Tab, several: list[RunRow], store: Store) -> None:
    config = load_config("playground", ["prompts.playground=8", "evaluation.playground=2", f"name={60 * 'x'}"])
    unbroken = register_run(store, config).name
    fresh.page.set_viewport_size({"width": 390, "height": 800})
    for address in ("/", "/?group=tag", f"/runs/{several[1].name}", f"/runs/{unbroken}", f"/runs/{unbroken}/log"):
        page = fresh.open(address)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address
    page = fresh.open("/")
    outcome = page.locator("tbody tr", has_text=LONG).locator("[data-column='heldout.hard']")
    box = outcome.bounding_box()
    assert box is not None and box["x"] + box["width"] <= 390, "the outcome is seen without scrolling"
