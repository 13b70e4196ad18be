"""The API's documentation at /docs: all of it from this service, under its policy, and requests can be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.security.access import Access
from api.service import Service
from eva.settings import Settings
from store.runs.api_keys import create_key
from store.session import Store
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.service_fixtures import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def try_presets(tab: Tab) -> str:
    """Tries GET /v1/presets: what the page shows of the response."""
    operation = tab.page.locator("#operations-presets-list_presets")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    operation.locator(".live-responses-table .response-col_status").first.wait_for()
    return operation.locator(".live-responses-table").inner_text()


def test_a_request_is_tried_and_nothing_is_loaded_from_elsewhere(
    browser: Browser, store: Store, store_settings: Settings
) -> None:
    with serving(Service(store, store_settings)) as served:
        tab = open_tab(browser, served.url)
        hosts: set[str] = set()
        tab.page.on("request", lambda request: hosts.add(request.url))
        for theme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=theme)
            tab.page.goto(f"{tab.base}/docs")
            tab.page.locator(".opblock").first.wait_for()
            assert tab.page.title() == "API – eva"
            dark = tab.page.evaluate("document.documentElement.classList.contains('dark-mode')")
            assert dark is (theme == "dark")
            assert "playground" in try_presets(tab)
            assert tab.axe() == [], theme
        tab.page.set_viewport_size({"width": 390, "height": 800})
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert all(url.startswith((tab.base, "data:", "blob:")) for url in hosts), hosts
        tab.page.context.close()
        assert tab.wrong == []


def test_a_service_with_keys_leads_to_the_login_and_back_and_its_session_is_used(
    browser: Browser, store: Store, store_settings: Settings
) -> None:
    with store.transaction() as conn:
        key = create_key(conn, "test", "read", None)[0]
    with serving(Service(store, store_settings, access=Access(store))) as served:
        tab = open_tab(browser, served.url)
        tab.page.goto(f"{tab.base}/docs")
        tab.page.get_by_role("link", name="Log in").click()
        tab.page.get_by_label("API key").fill(key)
        tab.page.get_by_role("button", name="Log in").click()
        tab.page.locator(".opblock").first.wait_for()
        assert tab.page.url.endswith("/docs") and "playground" in try_presets(tab)
        tab.page.context.close()
        assert [wrong for wrong in tab.wrong if "401" not in wrong] == []


def test_a_login_leads_nowhere_else(store: Store, store_settings: Settings) -> None:
    with serving(Service(store, store_settings, access=Access(store))) as served:
        assert "evil" not in served.client.get("/login?next=https://evil.example/").text
