"""Launching from the dashboard: the form and the YAML are one config, checked before it starts, started once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.test_hostile_text import MAKEABLE, PAYLOADS
from tests.support.browser_fixtures import Tab, open_tab
from tests.support.cli_fixtures import Played
from tests.support.service_fixtures import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OWN = """# mine
prompts: {playground: 16}
model: {path: playground}
reward: {kind: mock}
generation: {max_tokens: 64}
evolving:
  evolver: {kind: playground}   # offline
evaluation: {playground: 4}
"""


def checked(page: Page) -> None:
    page.locator("[aria-busy=false]", has_text="Checked").wait_for()


def runs_of(served: Served) -> list[Any]:
    return served.client.get("/v1/runs").json()["items"]


def test_a_preset_is_edited_checked_and_launched_once(fresh: Tab, served: Served) -> None:
    page = fresh.open("/launch")
    first = page.locator(".preset").first
    assert first.get_by_role("heading").inner_text().split() == ["playground", "start", "here"]
    lacking = page.locator(".preset", has_text="paper-dpo").first.locator(".lacks")
    gpus = next(one for one in served.client.get("/v1/presets").json()["items"] if one["name"] == "paper-dpo")
    assert lacking.all_inner_texts() == ([f"{gpus['lacks']}."] if gpus["lacks"] else [])
    assert fresh.axe() == []
    page.get_by_role("link", name=re.compile(r"^playground\b(?!-)")).click()
    assert page.url.endswith("/launch?preset=playground")
    checked(page)
    assert "responses to held-out prompts, in total" in fresh.text("aside")
    assert re.search(r"About \d+ (s|min) in all, \d+ s an iteration, on this machine", fresh.text(".plan"))
    page.get_by_text("Arithmetic", exact=True).click()
    page.get_by_text("time, train:").wait_for()
    assert page.locator(".entry").count() > 30
    assert fresh.axe() == []
    beta = page.get_by_label("training.beta")
    assert beta.input_value() == "0.1"
    beta.fill("-1")
    page.locator("[aria-invalid=true]").wait_for()
    assert "Input should be greater than 0" in fresh.text("#config-training\\.beta-hint")
    launch = page.get_by_role("button", name="Launch")
    launch.press("Enter")
    assert runs_of(served) == [] and "Fix the problems first" in fresh.text(".start")
    assert fresh.axe() == []
    beta.fill("0.2")
    page.get_by_label("prompts.playground").fill("16")
    page.get_by_label("evaluation.playground").fill("4")
    page.get_by_label("Note").fill("by hand")
    checked(page)
    assert "16 seed prompts" in fresh.text("aside")
    launch.dblclick()
    page.wait_for_url(re.compile(r"/runs/playground-\w+$"))
    page.locator(".status.queued").wait_for()
    (run,) = runs_of(served)
    assert run["note"] == "by hand" and run["prompts"] == 16
    assert served.client.get(f"/v1/runs/{run['name']}").json()["config"]["training"]["beta"] == 0.2
    assert [one for one in fresh.wrong if "422" not in one] == []
    fresh.wrong.clear()


def test_yaml_and_form_are_one_config_and_survive_a_reload(fresh: Tab, tmp_path: Path) -> None:
    page = fresh.open("/launch?own=1")
    (tmp_path / "mine.yaml").write_text(OWN)
    page.get_by_label("Open a config").set_input_files(tmp_path / "mine.yaml")
    checked(page)
    page.get_by_role("button", name="Form").click()
    page.get_by_label("iterations", exact=False).first.fill("7")
    page.get_by_label("reward.kind").select_option("verifier")
    page.get_by_text("missing", exact=True).first.wait_for()
    page.get_by_label("reward.function").fill("os:system")
    page.get_by_text("EVA_FUNCTIONS allows none yet").first.wait_for()
    page.get_by_role("button", name="reward.function").click()
    # the page moves the focus with its next frame
    page.wait_for_function("() => document.activeElement.id === 'config-reward.function'")
    page.reload()
    page.get_by_label("reward.function").wait_for()
    assert page.get_by_label("reward.function").input_value() == "os:system"
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_label("The whole config as YAML")
    assert "# mine" in text.input_value() and "# offline" in text.input_value()
    assert "iterations: 7" in text.input_value()
    text.fill("reward: [")
    page.locator("#config-yaml[aria-invalid=true]").wait_for()
    assert "is not valid YAML" in fresh.text("#config-yaml-hint")
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("button", name="Discard").click()
    page.get_by_text("Nothing to check yet").wait_for()
    assert [one for one in fresh.wrong if "422" not in one and "403" not in one] == []
    fresh.wrong.clear()


def test_a_file_of_prompts_is_sent_and_named_in_the_config(fresh: Tab, served: Served, tmp_path: Path) -> None:
    page = fresh.open("/launch?own=1&as=form")
    (tmp_path / "mine.yaml").write_text(OWN)
    page.get_by_label("Open a config").set_input_files(tmp_path / "mine.yaml")
    checked(page)
    (tmp_path / "bad.jsonl").write_text('{"q": "x"}\n')
    page.get_by_label("Upload prompts").set_input_files(tmp_path / "bad.jsonl")
    page.get_by_text("Set prompts.field to the key of the prompt").wait_for()
    page.get_by_role("button", name="Done").click()
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "one"}\n{"prompt": "two"}\n{"prompt": "<b>three"}\n{"prompt": "one"}\n'
    )
    page.get_by_label("Upload prompts").set_input_files(tmp_path / "rows.jsonl")
    page.get_by_text("1 repeated rows left out").wait_for()
    assert fresh.axe() == []
    page.keyboard.press("Escape")
    page.locator("[aria-busy=false]", has_text="3 seed prompts").wait_for()
    assert page.get_by_label("prompts.path").input_value().startswith("upload:")
    assert page.get_by_label("prompts.playground").input_value() == ""
    page.get_by_label("prompts.path").press("Control+Enter")
    page.wait_for_url(re.compile(r"/runs/\w+-\w+$"))
    (run,) = runs_of(served)
    assert run["prompts"] == 3
    fresh.settled()
    assert [one for one in fresh.wrong if "422" not in one] == []
    fresh.wrong.clear()


def test_a_page_recovers_by_itself_when_the_service_is_back(fresh: Tab) -> None:
    page = fresh.open("/launch?own=1")
    page.context.set_offline(True)
    page.get_by_role("link", name="Start from something else").click()
    page.get_by_text("The service is not reachable").wait_for()
    page.context.set_offline(False)
    page.get_by_role("link", name=re.compile(r"^playground\b(?!-)")).wait_for()
    page.context.set_offline(True)
    page.get_by_role("link", name=re.compile(r"^playground\b(?!-)")).click()
    page.get_by_text("No response from the service").first.wait_for()
    page.context.set_offline(False)
    checked(page)
    assert fresh.axe() == []
    assert [one for one in fresh.wrong if "ERR_INTERNET_DISCONNECTED" not in one] == []
    fresh.wrong.clear()


def test_hostile_text_in_the_forms_is_text(fresh: Tab) -> None:
    page = fresh.open("/launch?preset=playground")
    checked(page)
    for field, payload in zip(("name", "prompts.path", "training.loss", "model.path"), PAYLOADS, strict=False):
        page.locator(f"[id='config-{field}']").fill(payload)
    page.get_by_label("Note").fill("\n".join(PAYLOADS))
    page.get_by_label("Tags").fill("\n".join(PAYLOADS[:6]))
    page.locator("[id='config-name'][aria-invalid=true]").wait_for()
    assert not page.locator(f"main :is({MAKEABLE}):not(textarea)").count()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert [one for one in fresh.wrong if "422" not in one and "403" not in one] == []
    fresh.wrong.clear()


def test_a_fork_tells_what_differs_before_it_starts(browser: Browser, played_service: Served, played: Played) -> None:
    tab = open_tab(browser, played_service.url, "dark", 900)
    page = tab.open(f"/runs/{played.name}")
    page.get_by_role("button", name="Fork").click()
    checked(page)
    assert page.get_by_label("First iteration").input_value() == "2"
    assert "it would continue the same way" in tab.text("aside")
    page.get_by_label("First iteration").select_option("1")
    page.get_by_label("sampling.fraction").fill("0.5")
    page.locator(".estimate ins", has_text="0.5").wait_for()
    assert page.url.endswith("at=1") and "0.25" in tab.text(".estimate del")
    page.get_by_label("seed", exact=False).first.fill("8")
    page.get_by_text("cannot change seed").wait_for()
    assert tab.axe() == []
    assert [one for one in tab.wrong if "409" not in one] == []
    tab.page.context.close()
