"""A config as text is parsed like JSON, changed without losing comments, and written without default values."""

from __future__ import annotations

import pytest

from eva.config.files import load_config, preset_text, presets, validate
from eva.config.yaml_text import edit_yaml, non_default_values, parse_yaml, to_yaml
from eva.errors import ConfigError

TEXT = "# mine\ntraining:\n  beta: 0.05   # mild\n  epochs: 2\nreward: {kind: mock}\n"


def test_changes_leave_comments_and_all_other_lines_as_they_are() -> None:
    changed = edit_yaml(TEXT, {"training.beta": 0.1, "reward": {"kind": "judge"}, "fleet.engines": 2, "pairs.x": None})
    assert changed.startswith("# mine\ntraining:\n  beta: 0.1    # mild\n  epochs: 2\n")
    assert parse_yaml(changed) == {
        "training": {"beta": 0.1, "epochs": 2},
        "reward": {"kind": "judge"},
        "fleet": {"engines": 2},
    }
    assert parse_yaml(edit_yaml(TEXT, {"training.epochs": None}))["training"] == {"beta": 0.05}
    assert parse_yaml(edit_yaml("", {"seed": 7})) == {"seed": 7}


@pytest.mark.parametrize("name", presets())
def test_the_non_default_values_of_a_config_give_the_same_config(name: str) -> None:
    config = load_config(name)
    text = to_yaml(non_default_values(config))
    assert validate(parse_yaml(text)) == config
    assert len(text.splitlines()) < 60, "what is default is left out"
    assert parse_yaml(edit_yaml(preset_text(name), {"seed": 7})) == parse_yaml(preset_text(name)) | {"seed": 7}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\nb: *x", "line 2 of the config has an alias"),
        ("[" * 2000, "nested deeper than 32"),
        ("- 1", "contains list"),
        ("a: .nan", "JSON"),
        ('a: "\\ud800"', "surrogates"),
        ("a: [", "line 1"),
        ("a: !!python/object:os.system x", "tag"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("a: 5", "a is '5'"),
        ("a: 1\na: {}", "duplicate"),
    ],
)
def test_a_text_that_is_no_config_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_yaml(edit_yaml(text, {"a.b": 1}))


def test_each_problem_of_a_config_names_its_key() -> None:
    with pytest.raises(ConfigError) as refused:
        validate(
            {
                "reward": {"kind": "pointwise", "modl": 1},
                "training": {"beta": -1},
                "prompts": {},
                "model": {"path": "m"},
                "evolving": {"evolver": {"kind": "x"}},
            }
        )
    assert {place.key for place in refused.value.places} == {
        "prompts",
        "reward.model",
        "reward.modl",
        "training.beta",
        "evolving.evolver",
    }
    assert "reward.pointwise.modl: unknown key; did you mean 'model'?" in str(refused.value)
