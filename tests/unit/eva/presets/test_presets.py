"""The presets have the paper's settings, listed here as literals; every preset loads and says what it needs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands.presets import presets as command
from cli.commands.presets import read_preset
from eva.config import RewardNetwork
from eva.config.files import load_config, presets
from eva.config.rewards import gives_win_rates

PAPER = {
    "dpo": {
        "learning_rate": 5e-7,
        "schedule": "cosine",
        "beta": 0.05,
        "epochs": 2,
        "warmup_ratio": 0.1,
        "batch": 8,
        "max_length": 2048,
        "max_prompt_length": 1024,
        "optimiser": "adamw",
    },
    "orpo": {
        "learning_rate": 5e-7,
        "schedule": "cosine",
        "beta": 0.5,
        "epochs": 1,
        "warmup_ratio": 0.1,
        "batch": 8,
        "max_length": 2048,
        "max_prompt_length": 1024,
        "optimiser": "adamw",
    },
    "simpo": {
        "learning_rate": 8e-7,
        "schedule": "cosine",
        "beta": 10,
        "gamma": 5,
        "epochs": 1,
        "warmup_ratio": 0.1,
        "batch": 32,
        "max_length": 2048,
        "max_prompt_length": 1024,
        "optimiser": "adamw",
    },
    "sppo": {
        "learning_rate": 5e-7,
        "schedule": "linear",
        "beta": 0.001,
        "epochs": 6,
        "warmup_ratio": 0.1,
        "batch": 8,
        "max_length": 1024,
        "max_prompt_length": 512,
        "optimiser": "rmsprop",
    },
}
GAME = {
    "seed": 42,
    "prompts.limit": 10_000,
    "model.path": "google/gemma-2-9b-it",
    "generation.n": 6,
    "generation.temperature": 0.7,
    "generation.top_p": 0.9,
    "generation.max_tokens": 2048,
    "evolving.evolver.kind": "evol_instruct",
    "evolving.evolver.temperature": 0.88,
    "evolving.evolver.max_tokens": 666,
    "evolving.per_prompt": 4,
    "evolving.mode": "chain",
    "informativeness.metric": "a_min",
    "sampling.fraction": 0.25,
    "mixing.children": 0.8,
    "pairs.choice": "best_vs_worst",
    "training.reference": "previous",
    "training.mode": "incremental",
    "info_from": "fresh",
    "warm_start": True,
}


@pytest.mark.parametrize("loss", PAPER)
def test_a_preset_of_the_paper_has_the_settings_of_its_table(loss: str) -> None:
    training = load_config(f"paper-{loss}").training.model_dump()
    assert training["loss"] == loss
    assert {key: training[key] for key in PAPER[loss]} == PAPER[loss]
    assert training["lora"] is None


@pytest.mark.parametrize("loss", PAPER)
@pytest.mark.parametrize(("key", "value"), GAME.items())
def test_a_preset_of_the_paper_has_its_common_settings(loss: str, key: str, value: object) -> None:
    found: object = load_config(f"paper-{loss}")
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize("loss", PAPER)
def test_a_preset_of_the_paper_has_the_rewarder_of_its_row(loss: str) -> None:
    reward = load_config(f"paper-{loss}").reward
    expected = (
        ("pairwise", "llm-blender/PairRM-hf") if loss == "sppo" else ("pointwise", "RLHFlow/ArmoRM-Llama3-8B-v0.1")
    )
    assert (reward.kind, getattr(reward, "model", None)) == expected


def test_sppo_of_the_paper_learns_the_win_rates_of_its_rewarder() -> None:
    config = load_config("paper-sppo")
    assert config.training.win_rates == "given" and gives_win_rates(config.reward)


@pytest.mark.parametrize("name", presets())
def test_a_preset_says_what_it_is_and_needs(name: str) -> None:
    preset, config = read_preset(name), load_config(name)
    assert preset.summary.endswith(".") and len(preset.summary) > 20
    assert ("GPU" in preset.needs) == (config.fleet.gpus_per_engine > 0)
    assert ("GB" in preset.needs) == (config.fleet.gpus_per_engine > 0)
    key = getattr(config.evolving.evolver, "api_key_env", None)
    assert key is None or key in preset.needs
    assert (config.prompts.path is None) == ("prompts.jsonl" not in preset.needs)


@pytest.mark.parametrize("loss", PAPER)
def test_engines_and_rewarder_of_the_paper_have_eight_devices_and_then_the_training(loss: str) -> None:
    config = load_config(f"paper-{loss}")
    assert isinstance(config.reward, RewardNetwork)
    rewarders = config.reward.gpus * config.reward.replicas
    assert config.fleet.engines * config.fleet.gpus_per_engine + rewarders == 8
    assert config.training.devices == 8 and config.training.sharding_on(gpu=True) == "fsdp2"
    assert "8 GPUs" in read_preset(f"paper-{loss}").needs


@pytest.mark.parametrize("loss", PAPER)
def test_a_preset_of_the_paper_evaluates_each_policy_against_the_initial_model(loss: str) -> None:
    evaluation = load_config(f"paper-{loss}").evaluation
    assert (evaluation.when, evaluation.baseline) == ("each", "initial")
    assert all(Path(file).name in read_preset(f"paper-{loss}").needs for file in evaluation.sets.values())


def test_the_command_lists_every_preset() -> None:
    told = CliRunner().invoke(command).output
    assert all(f"{name}\n" in told for name in presets())
    assert "model google/gemma-2-9b-it, loss sppo" in told
    listed = json.loads(CliRunner().invoke(command, ["--json"]).output)
    assert [preset["name"] for preset in listed] == presets()
