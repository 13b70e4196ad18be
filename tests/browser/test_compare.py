"""The comparison of runs: a verdict first, then what was changed, and nothing about what they share."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.watch.listener import NoListener
from store.rows import RunRow
from store.runs.runs import get_run
from store.session import Store
from tests.support.browser_fixtures import Tab
from tests.support.played_run import lazily, play_run, playground_config
from tests.support.service_fixtures import Served


@pytest.fixture
def family(store: Store, store_settings: Settings) -> tuple[RunRow, RunRow]:
    """A run of two iterations, and a fork that plays its second one with another beta."""
    small = ("prompts.playground=12", "evaluation.playground=8", "iterations=2", "name=parent")
    parent = play_run(store, store_settings, playground_config(*small))
    with store.transaction() as conn:
        parent = get_run(conn, parent.id)
    fork = fork_run(store, parent, 1, forked_config(parent, 1, ["training.beta=0.4", "name=fork"]))
    drive(store, store_settings, fork, NoListener(), build=lazily)
    return parent, fork


def test_what_a_fork_shares_with_its_parent_is_no_difference(
    fresh: Tab, served: Served, family: tuple[RunRow, RunRow]
) -> None:
    parent, fork = family
    asked = served.client.get("/v1/compare", params={"run": [parent.name, fork.name]}).json()
    assert [run["shared"] for run in asked["runs"]] == [0, 1]
    shared = [pair for pair in asked["paired"] if pair["checkpoint"] <= 1]
    assert shared and all((pair["difference"], pair["better"], pair["worse"]) == (0, 0, 0) for pair in shared)

    page = fresh.open(f"/compare?run={parent.name}&run={fork.name}")
    verdict = page.get_by_role("region", name="Verdict")
    assert f"With training.beta 0.4 instead of 0.1, {fork.name} is " in verdict.inner_text()
    assert "policy 2." in verdict.inner_text()
    first, second, *_ = page.locator("main .stack > *").all()
    assert (first.get_attribute("aria-label"), second.get_attribute("aria-label")) == ("Verdict", "Config")
    rows = page.get_by_role("region", name="Paired differences").locator("tbody tr")
    assert {row.split("\t")[3] for row in rows.all_inner_texts()} == {"2"}
    page.get_by_label("where nothing can differ").check()
    expect(rows).to_have_count(len(asked["paired"]))
    assert "history=whole" in page.url
    assert page.locator(".chart .rule-name", has_text="fork").count() > 0
    assert fresh.axe() == []


def test_a_place_in_one_chart_is_marked_in_the_others(fresh: Tab, family: tuple[RunRow, RunRow]) -> None:
    page = fresh.open("/compare?" + "&".join(f"run={run.name}" for run in family))
    page.get_by_role("img", name="Mean reward of the batch by iteration").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("region", name="Remaining regret").locator("line.cursor")).to_have_count(1)
    page.get_by_role("button", name="by time").click()
    assert "axis=seconds" in page.url
    page.reload()
    fresh.settled()
    assert page.get_by_role("button", name="by time").get_attribute("aria-pressed") == "true"
