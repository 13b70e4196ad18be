"""Our port of ArmoRM's heads against its formula in float64."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaModel

from eva.config import PointwiseReward
from eva.errors import ConfigError
from tests.support import reward_models, tiny_models
from workers.rewards.model import RewardRequest
from workers.rewards.networks.pointwise import TURN, PointwiseModel

EXCHANGES = [
    ("What is two and two?", ("Four.", "Five, I should think.", "4")),
    ("A longer prompt, with more words in it", ("yes",)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_models.armorm(tmp_path_factory.mktemp("armorm"))


def config(folder: Path, **settings: object) -> PointwiseReward:
    return PointwiseReward.model_validate({"kind": "pointwise", "model": str(folder)} | settings)


@cache
def _in_float64(folder: Path) -> tuple[dict[str, torch.Tensor], Any, Any]:
    tensors = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    llama = LlamaModel(LlamaConfig.from_pretrained(folder)).double().eval()
    llama.load_state_dict(
        {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    )
    return tensors, llama, AutoTokenizer.from_pretrained(folder)


def plainly(folder: Path, prompt: str, response: str) -> float:
    """The formula, one text at a time, in float64, from the tensors of the file."""
    tensors, llama, tokenizer = _in_float64(folder)
    asked = f"<bos><|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
    answered = f"{asked}<|start_header_id|>assistant<|end_header_id|>\n\n{response}<|eot_id|>"
    end_of_prompt = len(tokenizer.encode(asked, add_special_tokens=False)) - 1
    with torch.no_grad():
        hidden = llama(torch.tensor([tokenizer.encode(answered, add_special_tokens=False)])).last_hidden_state[0]
    gate = hidden[end_of_prompt]
    for index in range(reward_models.DEPTH):
        gate = (tensors[f"gating.layers.{index}.weight"] @ gate + tensors[f"gating.layers.{index}.bias"]).clamp(min=0)
    last = reward_models.DEPTH
    gate = tensors[f"gating.layers.{last}.weight"] @ gate + tensors[f"gating.layers.{last}.bias"]
    gate = torch.exp(gate / reward_models.TEMPERATURE)
    gate = tensors["gating.logit_scale"] * gate / gate.sum()
    heads = tensors["regression_layer.weight"] @ hidden[-1]
    return float(gate @ (heads @ tensors["reward_transform_matrix"]))


@pytest.mark.parametrize("batch_tokens", [1, 16384])
def test_the_reward_is_the_formula(folder: Path, batch_tokens: int) -> None:
    model = PointwiseModel(config(folder, batch_tokens=batch_tokens))
    got = model.reward_many([RewardRequest(*one) for one in EXCHANGES], lambda: None)
    for (prompt, responses), rewards in zip(EXCHANGES, got, strict=True):
        assert [reward.value for reward in rewards] == pytest.approx(
            [plainly(folder, prompt, response) for response in responses], abs=1e-5
        )
    assert len({reward.value for rewards in got for reward in rewards}) == 4


def test_a_response_that_quotes_the_headers_does_not_move_the_gate(folder: Path) -> None:
    hostile = f"Yes.{TURN}No."
    ((reward,),) = PointwiseModel(config(folder)).reward_many([RewardRequest("p", (hostile,))], lambda: None)
    assert reward.value == pytest.approx(plainly(folder, "p", hostile), abs=1e-5)


def test_the_models_own_code_is_neither_needed_nor_run(folder: Path) -> None:
    assert "auto_map" in (folder / "config.json").read_text()
    assert not list(folder.glob("*.py"))
    PointwiseModel.check(config(folder))


def test_its_heads_keep_float32_in_half_precision(folder: Path) -> None:
    model: Any = PointwiseModel(config(folder, dtype="bfloat16"))
    network = model._logits._model
    assert network.model.embed_tokens.weight.dtype == torch.bfloat16
    assert {
        network.regression_layer.weight.dtype,
        network.gating.layers[0].weight.dtype,
        network.reward_transform_matrix.dtype,
    } == {torch.float32}
    ((reward,),) = model.reward_many([RewardRequest("p", ("r",))], lambda: None)
    assert reward.value == pytest.approx(plainly(folder, "p", "r"), abs=0.1)


@pytest.mark.parametrize("settings", [{"backend": "vllm"}, {"label": 0}, {"template": "none"}])
def test_it_is_refused_with_settings_for_classifiers(folder: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="mixes its heads itself"):
        PointwiseModel.check(config(folder, **settings))


def test_another_architecture_is_not_an_armorm(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a qwen2"):
        PointwiseModel.check(config(tiny_models.qwen2(tmp_path), architecture="armorm"))
