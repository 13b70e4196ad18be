"""Categories of prompts on fakes: each prompt is classified once, also after an interruption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.errors import ConfigError, InputError
from eva.settings import Settings
from eva.types import PromptCategory
from orchestrator.driver import drive
from orchestrator.launch.forks import fork_run
from orchestrator.launch.preflight import check_run
from orchestrator.launch.registration import register_run
from store.game.prompts import read_categories
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from store.views import statistics
from store.views.exports import iter_prompts
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, Recorder, always, fake_config, fake_roles
from workers.models.classifier import build_classifier

SPEC = f"{__name__}:by_length"


def by_length(text: str, names: Sequence[str]) -> str:
    return names[len(text.split()) % len(names)]


def unknown(text: str, names: Sequence[str]) -> str:
    return f"neither of {len(names)} fits {text}"


@dataclass
class Counting:
    """Counts what it is asked; dies after so many texts."""

    left: int = 10**9
    asked: Counter[str] = field(default_factory=Counter[str])

    def classify(self, texts: Sequence[str]) -> list[PromptCategory]:
        for text in texts:
            if self.left == 0:
                raise Died
            self.left -= 1
            self.asked[text] += 1
        return [PromptCategory(by_length(text, ("math", "coding", "stem")), 0.5) for text in texts]


@pytest.fixture
def config() -> RunConfig:
    return fake_config(categories={"kind": "function", "function": SPEC, "names": ["math", "coding", "stem"]})


def play(store: Store, folder: Path, run: RunRow, classifier: Any) -> Recorder:
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    recorder = Recorder()
    settings = Settings(data_dir=folder, database_url=None, ray_address=None)
    drive(store, settings, run, recorder, build=always(fake_roles(classifier=classifier)), ttl_s=60.0)
    return recorder


def test_every_batch_has_figures_by_category_and_each_prompt_is_asked_about_once(
    store: Store, tmp_path: Path, config: RunConfig
) -> None:
    run, classifier = register_run(store, config), Counting()
    recorder = play(store, tmp_path, run, classifier)
    with store.transaction() as conn:
        by_iteration = statistics.get_statistics(conn, run.id, "categories")
        exported = {row["number"]: row["category"] for row in iter_prompts(conn, run.id)}
        stored = read_categories(conn, run.id, [*exported])
    assert sorted(by_iteration) == [0, 1, 2]
    for iteration, figures in by_iteration.items():
        assert sum(row["prompts"] for row in figures) == 24 and {row["category"] for row in figures} <= {
            *config.categories.names  # pyright: ignore[reportOptionalMemberAccess]
        }
        assert all(row["gap"] >= 0 and row["gap_interval"][0] < row["gap"] for row in figures if row["informative"] > 2)
        assert recorder.counts[iteration, "categorise"] == {
            "categories": {row["category"]: row["prompts"] for row in figures}
        }
    assert set(classifier.asked.values()) == {1} and len(classifier.asked) == len(stored)
    assert {number: category for number, category in exported.items() if category} == stored


@pytest.mark.parametrize("asked", [5, 16, 30])
def test_a_run_killed_while_it_classifies_ends_as_if_nothing_had_happened(
    store: Store, tmp_path: Path, config: RunConfig, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.stages.stage.FLUSH_RESULTS", 1)
    monkeypatch.setattr("orchestrator.stages.diversity.TOGETHER", 4)
    undisturbed, killed = register_run(store, config), register_run(store, config)
    whole, before, after = Counting(), Counting(asked), Counting()
    play(store, tmp_path, undisturbed, whole)
    with pytest.raises(Died):
        play(store, tmp_path, killed, before)
    play(store, tmp_path, killed, after)
    kept = asked // 4 * 4
    assert sum(after.asked.values()) == sum(whole.asked.values()) - kept, "what was stored is not asked again"
    assert fingerprint_of(store, killed) == fingerprint_of(store, undisturbed)


def test_a_fork_keeps_the_categories_of_the_iterations_that_it_shares(
    store: Store, tmp_path: Path, config: RunConfig
) -> None:
    run = register_run(store, config)
    play(store, tmp_path, run, Counting())
    with store.transaction() as conn:
        parent = runs.get_run(conn, run.id)
    fork = fork_run(store, parent, 1, config)
    with store.transaction() as conn:
        parents = read_categories(conn, run.id, range(24))
        assert read_categories(conn, fork.id, range(24)) == parents and len(parents) == 24


def test_a_function_is_checked_before_the_run_and_its_answers_during_it(config: RunConfig) -> None:
    assert f"3 categories by {SPEC}" in check_run(config).checks
    missing = {"kind": "function", "function": "tests.nowhere:topic"}
    with pytest.raises(ConfigError, match=r"importing 'tests\.nowhere' failed"):
        check_run(fake_config(categories=missing))
    section = fake_config(categories={"kind": "function", "function": f"{__name__}:unknown"}).categories
    assert section is not None
    with pytest.raises(InputError, match="neither of 8 fits Why"):
        build_classifier(section).classify(["Why?"])


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"kind": "nli"}, "set model, and leave function unset"),
        ({"kind": "function", "function": "a:b", "model": "m"}, "set function, and leave model unset"),
        ({"model": "m", "names": ["math", "math"]}, "distinct"),
        ({"model": "m", "hypothesis": "about it"}, "needs {} where the category's name belongs"),
    ],
)
def test_a_section_that_cannot_work_is_refused(section: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        fake_config(categories=section)
