"""A service that asks for keys: the way in and out, a key that may only read, a session that ends meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from api.security.access import Access
from api.service import Service
from eva.runtime.api_keys import Scope
from eva.settings import Settings
from orchestrator.launch.registration import register_run
from store.runs.api_keys import create_key
from store.session import Store
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.played_run import playground_config
from tests.support.service_fixtures import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def guarded(browser: Browser, store: Store, store_settings: Settings) -> Iterator[Tab]:
    """A page over a service that asks for keys; refusals are what its tests are about, anything else is wrong."""
    with serving(Service(store, store_settings, access=Access(store))) as served:
        tab = open_tab(browser, served.url)
        yield tab
        tab.page.context.close()
        assert [one for one in tab.wrong if not any(status in one for status in ("401", "404"))] == []


def a_key(store: Store, scope: Scope) -> str:
    with store.transaction() as conn:
        return create_key(conn, "test", scope, None)[0]


def sign_in(tab: Tab, key: str) -> None:
    asked = tab.page.get_by_role("dialog", name="Sign in")
    asked.get_by_label("API key").fill(key)
    asked.get_by_role("button", name="Sign in").click()


def test_a_key_that_may_only_read_looks_and_changes_nothing(guarded: Tab, store: Store) -> None:
    run = register_run(store, playground_config("prompts.playground=16", "evaluation.playground=4"))
    page = guarded.page
    page.goto(f"{guarded.base}/runs/{run.name}")
    sign_in(guarded, "eva_nobody00_" + "x" * 43)
    page.get_by_text("This API key is not valid.").wait_for()
    assert guarded.axe() == []
    sign_in(guarded, a_key(store, "read"))
    page.locator(".status.created").wait_for()
    page.get_by_role("dialog").wait_for(state="detached")
    start = page.get_by_role("button", name="Start")
    assert start.get_attribute("aria-disabled") == "true"
    start.press("Enter")
    page.get_by_text("is read-only. Sign in with one made by").last.wait_for()
    page.goto(f"{guarded.base}/launch?preset=playground")
    page.get_by_text("This key cannot launch runs").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{guarded.base}/")
    page.get_by_role("dialog", name="Sign in").wait_for()


def test_nothing_that_was_typed_is_lost_when_a_session_ends(guarded: Tab, store: Store) -> None:
    page = guarded.page
    page.goto(f"{guarded.base}/launch?preset=playground")
    sign_in(guarded, a_key(store, "write"))
    page.locator("[aria-busy=false]", has_text="Checked").wait_for()
    page.get_by_label("prompts.playground").fill("16")
    page.get_by_label("Note").fill("typed before")
    page.context.clear_cookies()
    page.get_by_label("Note").fill("typed before the session ended")
    page.get_by_role("dialog", name="Sign in").wait_for()
    sign_in(guarded, a_key(store, "write"))
    page.get_by_role("dialog").wait_for(state="detached")
    page.locator("aside", has_text="16 seed prompts").wait_for()
    assert page.get_by_label("Note").input_value() == "typed before the session ended"
    page.get_by_role("button", name="Launch").click()
    page.locator(".status.queued").wait_for()
    assert guarded.text(".lead") == "typed before the session ended"
