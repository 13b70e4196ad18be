"""The pages of a run whose creator learns: what it earns, and its own training beside the solver's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.browser_fixtures import open_tab
from tests.support.fakes import Recorder, always, creator_roles, creator_section, fake_config
from tests.support.service_fixtures import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def learning(store: Store, store_settings: Settings) -> str:
    run = register_run(store, fake_config(iterations=3, evolving=creator_section()))
    drive(store, store_settings, run, Recorder(), build=always(creator_roles()))
    return run.name


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_what_a_creator_earns_and_learns_is_shown(
    browser: Browser, served: Served, learning: str, scheme: str, width: int
) -> None:
    tab = open_tab(browser, served.url, scheme, width)
    for view, said in {
        "evolution": "What the creator earns",
        "training": "Loss of the objective",
        "training?player=creator": "Loss of the objective",
    }.items():
        page = tab.open(f"/runs/{learning}/{view}")
        if folder := os.environ.get("EVA_SHOTS"):
            page.screenshot(path=f"{folder}/{view.replace('?', '-')}-{scheme}.png", full_page=True)
        assert said.casefold() in tab.text().casefold(), view
        assert tab.axe() == [], view
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{view} is wider than its window"
    tab.page.get_by_role("button", name="solver").click()
    tab.page.wait_for_url("**/training")
    assert not tab.wrong
    tab.page.context.close()
