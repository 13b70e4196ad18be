"""One Chromium for a session of tests, and pages that remember whatever went wrong in them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.support.tools import AXE_SCRIPT, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

    from tests.support.service_fixtures import Served

PATIENCE_MS = 20_000
QUIET_MS = 100
SERVER_FAILS = 500


@dataclass
class Tab:
    """A page of the dashboard. `wrong` fills with errors of scripts, CSP reports and dialogs."""

    page: Page
    base: str
    wrong: list[str] = field(default_factory=list)
    loading: set[Request] = field(default_factory=set)

    def watch(self) -> None:
        """Follow the page's requests. A stream of events stays open for as long as a run plays: it does not count."""
        self.page.on("request", lambda one: self.loading.add(one) if one.resource_type != "eventsource" else None)
        self.page.on("requestfinished", lambda one: self.loading.discard(one))
        self.page.on("requestfailed", lambda one: self.loading.discard(one))

    def open(self, path: str) -> Page:
        """Go to a view, and wait until it shows more than that it loads."""
        self.page.goto(self.base + path)
        self.settled()
        return self.page

    def settled(self) -> None:
        """Waits until the view is drawn, and neither loads nor asks for more once it is."""
        self.page.wait_for_selector("main h1")
        ends = time.monotonic() + PATIENCE_MS / 1000
        quiet = False
        while not quiet:
            assert time.monotonic() < ends, f"still loading: {[one.url for one in self.loading]}"
            self.page.wait_for_selector(".waiting, [aria-busy=true]", state="detached")
            self.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
            quiet = not self.loading
            for _ in range(QUIET_MS // 20):
                self.page.wait_for_timeout(20)
                quiet = quiet and not self.loading

    def text(self, selector: str = "main") -> str:
        return self.page.inner_text(selector)

    def axe(self) -> list[str]:
        """What axe finds serious in the page as it is."""
        self.page.evaluate(AXE_SCRIPT.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None or not AXE_SCRIPT.exists():
        pytest.skip("there is no Chromium, or no axe: `make tools` installs them")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


def open_tab(browser: Browser, base: str, scheme: str = "light", width: int = 1440) -> Tab:
    """A fresh page of a fresh visitor."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(PATIENCE_MS)
    # reports of the CSP reach the console too, but only this names what was blocked
    context.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.blockedURI))")
    tab = Tab(context.new_page(), base)
    tab.watch()
    tab.page.on("pageerror", lambda error: tab.wrong.append(str(error)))
    tab.page.on("console", lambda said: tab.wrong.append(said.text) if said.type in ("error", "warning") else None)

    tab.page.on("response", lambda answer: tab.wrong.append(answer.url) if answer.status >= SERVER_FAILS else None)

    def refuse(dialog: Dialog) -> None:
        tab.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    tab.page.on("dialog", refuse)
    return tab


@pytest.fixture
def fresh(browser: Browser, served: Served) -> Iterator[Tab]:
    """A page over a service of its own, without runs; whatever went wrong in it fails the test."""
    shown = open_tab(browser, served.url)
    yield shown
    shown.page.context.close()
    assert not shown.wrong


@pytest.fixture
def tab(browser: Browser, played_service: Served) -> Iterator[Tab]:
    """A page over the finished run that all tests may look at; whatever went wrong in it fails the test."""
    shown = open_tab(browser, played_service.url)
    yield shown
    shown.page.context.close()
    assert not shown.wrong
