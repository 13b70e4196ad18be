"""The creator's guards and reference answers on the pages: steering, likeness, a guide's scores, a vote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from eva.config import AgreementReward
from eva.seeds import generator
from eva.settings import Settings
from eva.types import Context, GuideScore, Mutation, Reply, Request, Response
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.browser_fixtures import open_tab
from tests.support.fakes import FakeEvolver, FakeGenerator, Recorder, always, fake_config, fake_roles
from tests.support.service_fixtures import Served
from workers.rewards import build_rewarder

if TYPE_CHECKING:
    from playwright.sync_api import Browser


class Voter(FakeGenerator):
    def _response(self, request: Request, sample: int, chance: float) -> Response:
        return Response(sample, f"it is {generator(request.seed + sample).randrange(3)}", "stop", 3, request.seed)


class Knowing(FakeEvolver):
    def evolve(self, mutation: Mutation) -> Reply:
        reply = super().evolve(mutation)
        return Reply(reply.text, reference="4 or <b>five</b>")


class Opinion:
    def score(self, text: str, context: Context, seed: int) -> GuideScore:
        return GuideScore(len(text) % 11 / 10)


@pytest.fixture
def guarded(store: Store, store_settings: Settings, tmp_path: Path) -> str:
    rows = [{"prompt": f"What is {n} and {n}, if all of it is counted twice?", "answer": 4 * n} for n in range(24)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings: dict[str, Any] = {
        "iterations": 4,
        "prompts": {"path": str(tmp_path / "sums.jsonl"), "reference_field": "answer"},
        "evaluation": {"sets": {"sums": str(tmp_path / "sums.jsonl")}, "reference_field": "answer"},
        "novelty": {"pull": 0.9},
        "evolving": {"evolver": {"kind": "playground"}, "guide": {"function": "os.path:basename"}},
        "collapse": {"steer": {"effective_roots": 23.0}},
    }
    (tmp_path / "held.jsonl").write_text('{"prompt": "What is left?", "answer": "nothing"}\n')
    settings["evaluation"]["sets"] = {"left": str(tmp_path / "held.jsonl")}
    run = register_run(store, fake_config(**settings))
    reward = build_rewarder(AgreementReward(kind="agreement"), local=True)
    roles = fake_roles(generator=Voter(), rewarder=reward, evolver=Knowing(), guide=Opinion())
    drive(store, store_settings, run, Recorder(), build=always(roles))
    return run.name


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_guards_and_references_are_shown(
    browser: Browser, served: Served, guarded: str, scheme: str, width: int
) -> None:
    tab = open_tab(browser, served.url, scheme, width)
    shown = {
        "evolution": ["Steering", "effective_roots", "bound 23"],
        "prompts?sort=-likeness": ["Likeness", "Guide", "Vote"],
        "prompts/5": ["reference answer, from the prompt file", "20", "answer 1"],
        "prompts/30": ["reference answer, from the creator", "4 or <b>five</b>"],
        "samples": ["reference answer, from the prompt file", "nothing"],
    }
    for view, texts in shown.items():
        page = tab.open(f"/runs/{guarded}/{view}")
        said = tab.text().casefold()
        for text in texts:
            assert text.casefold() in said, (view, text)
        assert tab.axe() == [], view
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{view} is wider than its window"
        if folder := os.environ.get("EVA_SHOTS"):
            page.screenshot(path=f"{folder}/{view.partition('?')[0].replace('/', '-')}-{scheme}.png", full_page=True)
    assert not tab.wrong
    tab.page.context.close()
