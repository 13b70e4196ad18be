"""A config as text is parsed like JSON, changed without losing comments, and written without default values."""

from __future__ import annotations

import pytest

from eva.config.files import load_config, preset_text, presets, validate
from eva.config.yaml_text import edit_yaml, load_yaml, non_default_values, parse_yaml, to_yaml
from eva.errors import ConfigError
from eva.runtime.redaction import redact

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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "duplicate key 'a', first given in line 1"),
        ("a: {b: 1, b: 2}", "duplicate key 'b'"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
            "when its aliases are",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)),
            "when its aliases",
        ),
    ],
)
def test_a_file_that_grows_when_it_is_read_or_has_a_key_twice_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_yaml(text, "mine.yaml", aliases=True)


def test_a_file_may_use_aliases_and_merge_keys_that_its_own_keys_replace() -> None:
    text = "base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3"
    assert load_yaml(text, "mine.yaml", aliases=True)["mine"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("value", ["[1, ", "!!python/object:os.system x", "{a: &x 1, b: *x}", "'"])
def test_an_override_that_is_not_yaml_is_refused_with_its_key(value: str) -> None:
    with pytest.raises(ConfigError, match=r"--set training\.beta"):
        load_config("playground", [f"training.beta={value}"])


def test_the_problems_of_a_config_are_told_in_bounded_space() -> None:
    unknown = {f"{'x' * 1000}{number}": "y" * 1000 for number in range(300)}
    with pytest.raises(ConfigError) as refused:
        validate({"name": "a", **unknown})
    assert "more problems" in str(refused.value)
    assert len(str(refused.value)) < 20_000 and len(refused.value.places) == 20
    assert max(len(place.key) for place in refused.value.places) <= 200


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
    assert "reward.pointwise.modl: no such key; did you mean 'model'?" in str(refused.value)


def test_the_hint_for_a_secret_in_the_config_is_not_redacted_away_and_the_secret_is() -> None:
    evolver = {"kind": "evol_instruct", "model": "openai/m", "api_key": "sk-0123456789abcdef0123"}
    with pytest.raises(ConfigError) as refused:
        validate({"evolving": {"evolver": evolver}})
    shown = redact(str(refused.value))
    assert "evolving.evolver.evol_instruct.api_key: no such key; did you mean 'api_key_env'?" in shown
    assert "0123456789abcdef" not in shown
