"""Steering: a batch that crosses a bound raises the level, another lowers it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from eva.config.files import config_from_values, config_values, load_config
from eva.creator.steering import UNSTEERED, Steering, SteeringRule, steering_of
from eva.errors import ConfigError
from eva.measures.diversity import Breach
from workers.rewards.guide import build_guide

RULE = SteeringRule({"effective_roots": 10.0, "largest_topic": 0.5}, levels=2, buffer=0.1, temperature=2.0, breadth=0.2)
GOOD = {"effective_roots": 20.0, "largest_topic": 0.2}
BAD = {"effective_roots": 5.0, "largest_topic": 0.6}


@pytest.mark.parametrize(
    ("batches", "level"),
    [([], 0), ([GOOD], 0), ([BAD], 1), ([BAD, BAD, BAD], 2), ([BAD, BAD, BAD, GOOD], 1), ([BAD, GOOD, GOOD], 0)],
)
def test_the_level_follows_the_batches_within_its_limits(batches: list[dict[str, float]], level: int) -> None:
    steering = steering_of(RULE, batches)
    assert (steering.level, steering.temperature) == (level, 2.0**level)
    assert (steering.buffer, steering.breadth) == pytest.approx((0.1 * level, 0.2 * level))


def test_why_names_every_bound_that_the_last_batch_has_crossed() -> None:
    crossed = steering_of(RULE, [GOOD, BAD]).why
    assert crossed == (Breach("effective_roots", 5.0, 10.0), Breach("largest_topic", 0.6, 0.5))
    assert "effective_roots is 5, below 10, largest_topic is 0.6, above 0.5" in str(steering_of(RULE, [BAD]))
    assert steering_of(RULE, [BAD, BAD, GOOD]).why == ()
    assert steering_of(RULE, [GOOD]) == UNSTEERED == Steering()


def test_the_docs_example_is_a_config_and_its_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[4] / "docs/reference/guards.md").read_text("utf-8")
    (code,), (settings,) = (re.findall(rf"```{name}\n(.*?)```", page, re.DOTALL) for name in ("python", "yaml"))
    (tmp_path / "my_guide.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    values = config_values("playground")
    for section, keys in yaml.safe_load(settings).items():
        values[section] = {**values.get(section, {}), **keys}
    config = config_from_values(values, [])
    assert config.evolving.guide is not None and config.collapse.rule is not None
    guide = build_guide(config.evolving.guide)
    assert guide is not None
    assert (guide.score("short", (), 1).score, guide.score("long " * 200, (), 1).score) == (1.0, 0.5)


def test_a_figure_without_data_steers_nothing() -> None:
    assert steering_of(RULE, [{"effective_roots": None, "largest_topic": None}]).level == 0


@pytest.mark.parametrize(
    ("collapse", "message"),
    [
        ("{steer: {effective_roots: 10}, pause: {effective_roots: 20}}", "would pause before it is steered"),
        ("{steer: {largest_topic: 0.5}, pause: {largest_topic: 0.4}}", "raise the bound of pause"),
        ("{steer: {efective_roots: 10}}", "did you mean 'effective_roots'"),
    ],
)
def test_bounds_that_cannot_steer_are_refused(collapse: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("playground", [f"collapse={collapse}"])
