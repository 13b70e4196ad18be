"""Pointwise reward models against direct forward passes, and what is refused before any is loaded."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from eva.config import PointwiseReward
from eva.errors import ConfigError, ModelError
from tests.support import reward_models, tiny_models
from workers.rewards.model import RewardRequest
from workers.rewards.networks.logits import without_padding
from workers.rewards.networks.pointwise import PointwiseModel
from workers.rewards.networks.weights import batches

ASKED = [
    ("What is the capital of France?", ("Paris.", "It is Paris, a city on the Seine.", "")),
    ("Say something", ("日本語", "a" * 60)),
    ("Nothing was answered", ()),
]


def config(folder: Path, **settings: object) -> PointwiseReward:
    return PointwiseReward.model_validate({"kind": "pointwise", "model": str(folder)} | settings)


def values(model: PointwiseModel, asked: list[tuple[str, tuple[str, ...]]]) -> list[list[float | None]]:
    rewarded = model.reward_many([RewardRequest(*one) for one in asked], lambda: None)
    return [[reward.value for reward in rewards] for rewards in rewarded]


@cache
def _loaded(folder: Path) -> tuple[Any, Any]:
    return AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()


def directly(folder: Path, prompt: str, response: str) -> list[float]:
    """The logits as a model card's example computes them: one text, no padding."""
    tokenizer, model = _loaded(folder)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    inputs = tokenizer.apply_chat_template(messages, tokenize=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        return model(input_ids=inputs["input_ids"]).logits[0].tolist()


def test_a_soft_capped_model_rewards_with_its_caps(tmp_path: Path) -> None:
    made = reward_models.soft_capped(tmp_path)
    (got,) = values(PointwiseModel(config(made)), [("Say something", ("Paris.", "a" * 60))])
    ids = AutoTokenizer.from_pretrained(made).apply_chat_template(
        [{"role": "user", "content": "Say something"}, {"role": "assistant", "content": "a" * 60}],
        tokenize=True,
        return_tensors="pt",
        return_dict=True,
    )["input_ids"]
    expected: dict[str, float] = {}
    for attention in ("eager", "sdpa"):
        model = AutoModelForSequenceClassification.from_pretrained(made, attn_implementation=attention).eval()
        with torch.no_grad():
            expected[attention] = model(ids).logits.item()
    assert got[1] == pytest.approx(expected["eager"], abs=1e-4)
    assert abs(expected["sdpa"] - expected["eager"]) > 5e-3, "the fused attention leaves the caps out"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_models.classifier(tmp_path_factory.mktemp("classifier"))


@pytest.mark.parametrize("pad", [tiny_models.PAD, ".", None])
@pytest.mark.parametrize("batch_tokens", [1, 200, 16384])
def test_rewards_are_the_logits_of_a_direct_forward_pass(tmp_path: Path, pad: str | None, batch_tokens: int) -> None:
    made = reward_models.classifier(tmp_path, pad=pad)
    got = values(PointwiseModel(config(made, batch_tokens=batch_tokens)), ASKED)
    expected = [[directly(made, prompt, response)[0] for response in responses] for prompt, responses in ASKED]
    for row, wanted in zip(got, expected, strict=True):
        assert row == pytest.approx(wanted, abs=2e-5)
    assert len({value for row in got for value in row}) == 5


@pytest.mark.parametrize(
    ("ids", "read"), [([5, 6, 7], [5, 6, 7]), ([5, 9, 7, 9, 9], [5, 9, 7]), ([9, 9], [9]), ([7], [7])]
)
def test_what_vllm_reads_ends_where_transformers_ends_a_text(ids: list[int], read: list[int]) -> None:
    assert without_padding(ids, 9) == read
    assert without_padding(ids, None) == ids


def test_a_label_or_weights_make_one_reward_of_several_logits(tmp_path: Path) -> None:
    made = reward_models.classifier(tmp_path, labels=3)
    logits = directly(made, "p", "r")
    (one,) = values(PointwiseModel(config(made, label=2)), [("p", ("r",))])
    (sum_,) = values(PointwiseModel(config(made, weights=[1, -2, 0.5])), [("p", ("r",))])
    assert one == pytest.approx([logits[2]], abs=2e-5)
    assert sum_ == pytest.approx([logits[0] - 2 * logits[1] + 0.5 * logits[2]], abs=2e-5)


def test_an_encoder_reads_prompt_and_response_as_two_texts(tmp_path: Path) -> None:
    made = reward_models.encoder(tmp_path)
    (got,) = values(PointwiseModel(config(made, template="pair")), [("p", ("short", "somewhat longer"))])
    tokenizer, model = AutoTokenizer.from_pretrained(made), AutoModelForSequenceClassification.from_pretrained(made)
    with torch.no_grad():
        expected = [
            model(**tokenizer("p", one, return_tensors="pt")).logits.item() for one in ("short", "somewhat longer")
        ]
    assert got == pytest.approx(expected, abs=2e-5)


def test_a_text_begins_with_one_bos_in_every_template(folder: Path) -> None:
    for template in ("chat", "none"):
        text = PointwiseModel(config(folder, template=template))._texts.encode("p", "r")
        assert text.ids[:2].count(1) == 1
        assert text.ids[0] == 1


def test_the_system_prompt_is_part_of_the_text(folder: Path) -> None:
    plain, told = (PointwiseModel(config(folder, **more)) for more in ({}, {"system_prompt": "Judge."}))
    assert len(told._texts.encode("p", "r").ids) == len(plain._texts.encode("p", "r").ids) + len("[Judge.]")


def test_a_response_that_is_too_long_is_reported_and_not_cut(folder: Path) -> None:
    asked = [RewardRequest("p", ("fine", "x" * 400, "also fine"))]
    (rewards,) = PointwiseModel(config(folder)).reward_many(asked, lambda: None)
    assert [reward.value is None for reward in rewards] == [False, True, False]
    assert rewards[1].reason == "too long for the reward model: 419 tokens, at most 256"
    (bounded,) = PointwiseModel(config(folder, max_length=22)).reward_many(asked, lambda: None)
    assert [reward.value is None for reward in bounded] == [True, True, True]


def test_a_logit_that_is_not_finite_gives_no_reward(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PointwiseModel(config(folder))
    monkeypatch.setattr(model._logits, "of", lambda texts, alive: [[math.nan], [1.0]])
    (rewards,) = model.reward_many([RewardRequest("p", ("a", "b"))], lambda: None)
    assert (rewards[0].value, rewards[0].reason) == (None, "the reward model gave nan")
    assert rewards[1].value == 1.0


def test_every_batch_reports_progress_to_the_watchdog(folder: Path) -> None:
    calls: list[None] = []
    asked = [RewardRequest(*one) for one in ASKED]
    PointwiseModel(config(folder, batch_tokens=1)).reward_many(asked, lambda: calls.append(None))
    assert len(calls) == 1 + 5


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


def test_the_name_holds_the_model_and_every_setting_that_changes_rewards(folder: Path) -> None:
    assert PointwiseModel.name_of(config(folder)) == f"pointwise:{folder}"
    fast = config(folder, gpus=1, batch_tokens=7, backend="vllm", memory_fraction=0.5)
    assert PointwiseModel.name_of(fast) == f"pointwise:{folder}"
    other = config(folder, revision="v1", label=0, max_length=9)
    assert PointwiseModel.name_of(other) == f"pointwise:{folder}@v1:max_length=9:label=0"


def test_the_check_passes_a_good_folder_and_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys\nfrom eva.config import PointwiseReward\n"
        "from workers.rewards.networks.pointwise import PointwiseModel\n"
        f"PointwiseModel.check(PointwiseReward(kind='pointwise', model={str(folder)!r}))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "./no-such-folder/x/y"}, "no model folder"),
        ({"label": 1}, "label is 1"),
        ({"weights": [1, 2]}, "has 2 numbers"),
        ({"architecture": "armorm", "template": "none"}, "mixes its heads itself"),
        ({"model": "some/model", "trust_remote_code": True}, "at revision None"),
        ({"model": "some/model", "trust_remote_code": True, "revision": "main"}, "commit hash"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_anything_starts(
    folder: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        PointwiseModel.check(config(folder, **settings))


def test_a_language_model_is_not_a_reward_model(tmp_path: Path) -> None:
    made = tiny_models.llama(tmp_path)
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM.*sequence classification"):
        PointwiseModel.check(config(made))


def test_several_logits_need_a_choice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 4 logits.*reward.label \(0 to 3\)"):
        PointwiseModel.check(config(reward_models.classifier(tmp_path, labels=4)))


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    made = tiny_models.llama(tmp_path)
    facts = json.loads((made / "config.json").read_text())
    facts |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (made / "config.json").write_text(json.dumps(facts))
    PointwiseModel.check(config(made))
    with pytest.raises(ModelError, match=r"lacks 1 weights, for example score.weight"):
        PointwiseModel(config(made))


def test_pickled_weights_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name.replace("model.safetensors", "pytorch_model.bin")).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match=r"pytorch_model.bin.*model.safetensors"):
        PointwiseModel.check(config(tmp_path))


def test_code_from_another_repository_is_not_run(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    facts = json.loads((folder / "config.json").read_text())
    facts["auto_map"] = {"AutoModelForSequenceClassification": "other/repo--code.Model"}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    PointwiseModel.check(config(tmp_path))
    with pytest.raises(ConfigError, match=r"other/repo--code\.Model"):
        PointwiseModel.check(config(tmp_path, trust_remote_code=True))


def test_a_missing_gpu_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        PointwiseModel(config(folder, gpus=1))


@pytest.mark.parametrize(
    "settings",
    [
        {"label": 0, "weights": [1]},
        {"architecture": "armorm", "backend": "vllm"},
        {"template": "pair", "backend": "vllm"},
    ],
)
def test_contradictory_settings_are_refused(folder: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(folder, **settings)
