"""The page of webhooks: one is added, tested and deleted there, and its deliveries say how they went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from api.security.access import Access
from api.service import Service
from eva.settings import Settings
from eva.webhooks.addresses import Network
from orchestrator.webhooks.checked_post import ReceiverError
from orchestrator.webhooks.sender import Sender
from store.runs import runs
from store.runs.api_keys import create_key
from store.runs.events import append_event
from store.session import Store
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.service_fixtures import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REFUSED = "ci.example answered with status 503"


def answer(url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[Network]) -> int:
    """A receiver that accepts nothing but tests."""
    del url, headers, networks
    if b"webhook.test" in body:
        return 204
    raise ReceiverError(REFUSED)


def is_well_made(tab: Tab) -> None:
    """The page is accessible in both themes and fits a phone."""
    for theme in ("dark", "light"):
        tab.page.emulate_media(color_scheme=theme)
        assert tab.axe() == [], theme
    tab.page.set_viewport_size({"width": 390, "height": 800})
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    tab.page.set_viewport_size({"width": 1440, "height": 900})


def add_one(page: Page) -> str:
    """Adds a webhook called ci that is told of three topics: the secret that the page shows."""
    page.get_by_role("button", name="Add a webhook").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name", exact=True).fill("Not a name")
    form.get_by_label("Address").fill("https://ci.example/hooks/sEcReTpAtH")
    form.get_by_label("a run has paused").uncheck()
    form.get_by_label("Tags").fill("paper\nthesis")
    form.get_by_role("button", name="Add").click()
    expect(form.locator(".mistake")).to_be_visible()
    form.get_by_label("Name", exact=True).fill("ci")
    form.get_by_role("button", name="Add").click()
    page.get_by_text("It will not be shown again").wait_for()
    return form.locator("code").inner_text()


def test_a_webhook_is_added_tested_followed_and_deleted(fresh: Tab, store: Store) -> None:
    page = fresh.open("/")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_text("No webhooks yet").wait_for()
    secret = add_one(page)
    assert secret.startswith("whsec_") and fresh.axe() == []
    page.get_by_role("button", name="I have it").click()
    row = page.locator("tbody tr")
    expect(row).to_contain_text("runs tagged paper or thesis: finished, failed, warning")
    expect(row).to_contain_text("https://ci.example")
    assert "sEcReTpAtH" not in page.content() and secret not in page.content()
    is_well_made(fresh)

    row.get_by_role("link", name="ci").click()
    page.get_by_text("Nothing was sent yet").wait_for()
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1, tags=("paper",))
        append_event(conn, run.id, "failed", {"error": "out of memory"})
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    sender = Sender(store, (), answer)
    for _ in range(2):
        sender.tick()
    # the page follows by itself what is on its way
    test, failed = page.locator("tbody tr", has_text="test"), page.locator("tbody tr", has_text=run.name)
    expect(test).to_contain_text("accepted")
    expect(test).to_contain_text("status 204")
    expect(failed).to_contain_text("waiting")
    expect(failed).to_contain_text(REFUSED)
    expect(failed.locator("time").last).to_contain_text("in ")
    is_well_made(fresh)
    failed.get_by_role("link", name=run.name).click()
    page.wait_for_url(f"**/runs/{run.name}")
    page.go_back()
    page.get_by_role("link", name="All webhooks").click()
    expect(row.locator("td").nth(6)).to_contain_text("accepted (204)")
    expect(row.locator("td").nth(6)).to_contain_text(f"an earlier one: {REFUSED}")
    is_well_made(fresh)
    row.get_by_role("link", name="ci").click()

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the webhook").click()
    page.get_by_text("No webhooks yet").wait_for()
    assert [one for one in fresh.wrong if "422" not in one] == []
    fresh.wrong.clear()


def test_a_key_that_is_not_an_administrators_is_told_so(
    browser: Browser, store: Store, store_settings: Settings
) -> None:
    with store.transaction() as conn:
        key = create_key(conn, "test", "write", None)[0]
    with serving(Service(store, store_settings, access=Access(store))) as served:
        tab = open_tab(browser, served.url)
        tab.page.goto(f"{tab.base}/login")
        tab.page.get_by_label("API key").fill(key)
        tab.page.get_by_role("button", name="Log in").click()
        for address in ("/webhooks", "/webhooks/ci"):
            tab.open(address)
            tab.page.get_by_text("has scope write").wait_for()
            assert not tab.page.get_by_role("button", name="Add a webhook").count() and tab.axe() == []
        tab.page.context.close()
        assert tab.wrong == []
