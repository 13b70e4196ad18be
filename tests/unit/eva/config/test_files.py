from pathlib import Path

import pytest

from eva.config.files import config_hash, load_config, presets
from eva.errors import ConfigError

MINIMAL = """
prompts: {path: prompts.jsonl}
model: {path: some/model}
reward: {kind: verifier, function: "mine:grade"}
evolving: {evolver: {kind: evol_instruct, model: openai/gpt}}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def test_every_preset_loads() -> None:
    assert "playground" in presets()
    assert all(load_config(name).iterations >= 1 for name in presets())


def test_defaults_are_the_papers(config_file: Path) -> None:
    config = load_config(str(config_file))
    assert (config.generation.n, config.generation.temperature, config.generation.top_p) == (6, 0.7, 0.9)
    assert (config.training.beta, config.training.learning_rate, config.training.batch) == (0.05, 5e-7, 8)
    assert (config.sampling.fraction, config.evolving.per_prompt, config.mixing.children) == (0.25, 4, 0.8)


def test_paths_are_relative_to_the_file_and_hub_ids_are_unchanged(config_file: Path) -> None:
    config = load_config(str(config_file))
    assert config.prompts.path == str(config_file.parent / "prompts.jsonl")
    assert config.model.path == "some/model"
    embedding = load_config(str(config_file), ["novelty.embedding_model=encoders/mini"]).novelty.embedding_model
    assert embedding == str(config_file.parent / "encoders" / "mini")
    (config_file.parent / "some" / "model").mkdir(parents=True)
    assert load_config(str(config_file)).model.path == str(config_file.parent / "some" / "model")


def test_set_overrides_nested_keys_and_reads_numbers_as_people_write_them(config_file: Path) -> None:
    config = load_config(str(config_file), ["training.learning_rate=1e-4", "fleet.engines=2", "name=try-2"])
    assert (config.training.learning_rate, config.fleet.engines, config.name) == (1e-4, 2, "try-2")


def test_the_hash_depends_on_the_values_of_the_config(config_file: Path) -> None:
    one, other = load_config(str(config_file)), load_config(str(config_file), ["seed=1"])
    assert config_hash(one) == config_hash(load_config(str(config_file))) != config_hash(other)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainning.beta=1", "did you mean 'training'"),
        ("training.betta=1", "did you mean 'beta'"),
        ("reward.functoin=x", "did you mean 'function'"),
        ("informativeness.metric=amin", "did you mean 'a_min'"),
        ("evolving.evolver.kind=evol", "'playground', 'evol_instruct'"),
        ("fleet.engines=0", "greater than or equal to 1"),
        ("prompts.playground=64", "one of `path`"),
        ("seed", "expected key.path=value"),
    ],
)
def test_a_wrong_key_or_value_is_explained(config_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match="(?i)" + message):
        load_config(str(config_file), [override])


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {path: x}")
    with pytest.raises(ConfigError, match=r"prompts: missing\n.*reward: missing"):
        load_config(str(path))


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_a_file_that_is_not_a_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(str(path))


def test_an_unknown_preset_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'playground'\?"):
        load_config("plaground")
