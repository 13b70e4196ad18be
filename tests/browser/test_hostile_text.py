"""Text from models is hostile: whatever it says is shown as text, and does nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import update

from eva.settings import Settings
from eva.types import Mutation, Reply, Request, Response
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.schema.tables import prompts, runs
from store.session import Store
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.fakes import FakeEvolver, FakeGenerator, always, fake_config, fake_roles
from tests.support.service_fixtures import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)><animate onbegin=alert(4) attributeName=x dur=1s>",
    "\"><iframe srcdoc='<script>parent.alert(5)</script>'></iframe>",
    '\'-alert(6)-\'" onmouseover=alert(7) style="background:url(javascript:alert(8))"',
    "javascript:alert(9)//",
    "${alert(10)} {{constructor.constructor('alert(11)')()}}",
    "</textarea></title><body onload=alert(12)><base href=//evil.example/>",
    "<a href=data:text/html,<script>alert(13)</script> autofocus onfocus=alert(14)>x</a>",
    "\u202e<b>\u0007\ufeffright to left\u2066 " + "wide" * 400,
    '{"__proto__": {"innerHTML": "<img src=x onerror=alert(15)>"}} --><!--<!]]>',
    "<link rel=stylesheet href=//evil.example/x.css><meta http-equiv=refresh content=0;url=//evil.example>",
)

HIDDEN = r"[\u0000-\u0008\u200b\u202a-\u202e\u2066-\u2069\ufeff]"
UNSEEN = """hidden => {
  const raw = new RegExp(hidden), found = [];
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement;
      if (raw.test(node.data) && !parent.matches(".hidden-character")) found.push(parent.outerHTML);
    } else for (const name of ["title", "aria-label"]) if (raw.test(node.getAttribute(name) ?? "")) found.push(name);
  }
  return found;
}"""
"""The texts of a page with a character that hides something and is not marked."""

MAKEABLE = "script, img, iframe, base, meta, link, body, animate, textarea"


class HostileGenerator(FakeGenerator):
    def _response(self, request: Request, sample: int, chance: float) -> Response:
        fair = super()._response(request, sample, chance)
        return replace(fair, text=f"{fair.text} {PAYLOADS[(request.number + sample) % len(PAYLOADS)]}")


class HostileEvolver(FakeEvolver):
    operators = tuple(PAYLOADS[:4])

    def evolve(self, mutation: Mutation) -> Reply:
        return Reply(f"{mutation.text} {PAYLOADS[mutation.seed % len(PAYLOADS)]} {mutation.seed % 997}", 1, 1, 0.0)


def test_it_gives_no_dialog_no_csp_report_and_no_element(
    browser: Browser, served: Served, store: Store, store_settings: Settings, tmp_path: Path
) -> None:
    run = register_run(store, fake_config(iterations=2))
    with store.transaction() as conn:
        for number, payload in enumerate(PAYLOADS):
            conn.execute(
                update(prompts)
                .where(prompts.c.run_id == run.id, prompts.c.number == number)
                .values(text=payload, topic=payload)
            )
        conn.execute(
            update(runs).where(runs.c.id == run.id).values(note=PAYLOADS[1], tags=[*PAYLOADS[:5], PAYLOADS[9]])
        )
    roles = fake_roles(generator=HostileGenerator(), evolver=HostileEvolver())
    drive(store, store_settings, run, NoListener(), build=always(roles))

    tab = open_tab(browser, served.url)
    base = f"/runs/{run.name}"
    made = served.client.get(f"/v1{base}/prompts", params={"born": 1, "limit": 4}).json()["items"]
    assert {one["operator"] for one in made} & set(PAYLOADS)
    asked = [*range(len(PAYLOADS)), *(one["number"] for one in made)]
    for path in [
        "/",
        base,
        f"{base}/prompts",
        f"{base}/prompts?operator=%3Cscript%3E&text=%22onload%3D",
        f"{base}/lineage?prompt={made[0]['number']}",
        f"{base}/map?by=operator",
        *(f"{base}/prompts/{number}" for number in asked),
    ]:
        page = tab.open(path)
        assert not page.locator(f"main :is({MAKEABLE})").count(), path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        assert page.evaluate(UNSEEN, HIDDEN) == [], path
    assert tab.page.locator(".hidden-character").count() or tab.open("/").locator(".hidden-character").count() > 1
    shown = tab.open(f"{base}/prompts/0").locator(".asked pre").inner_text()
    assert shown == PAYLOADS[0]
    _check_report(tab, served, run.name, tmp_path / "report.html")
    assert not tab.wrong
    tab.page.context.close()


def _check_report(tab: Tab, served: Served, run: str, file: Path) -> None:
    """The page that opens from disk: the same texts, in a policy of its own."""
    file.write_bytes(served.client.get(f"/v1/runs/{run}/report").content)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.goto(file.as_uri())
    tab.settled()
    assert asked == [file.as_uri()]
    # its own style sheet stands in its head, and a link that saves the config is no link
    assert not tab.page.locator(f"main :is({MAKEABLE})").count()
    texts = tab.page.locator(".asked > pre, .asked ins").all_inner_texts()
    assert any(payload in text for text in texts for payload in PAYLOADS)
    tab.page.get_by_text("The whole config").click()
    assert PAYLOADS[1] in tab.text()
