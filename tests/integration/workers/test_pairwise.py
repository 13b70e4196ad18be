"""Pairwise reward models against the formulas, and their wins as rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DebertaV2Config

from eva.config import PairwiseReward
from eva.errors import ConfigError, ModelError
from eva.measures.bradley_terry import fit_bradley_terry
from eva.types import Context
from tests.support import reward_models, tiny_models
from workers.models.chat_template import UnusablePromptError
from workers.rewards.model import RewardRequest
from workers.rewards.networks.pair_models import FIRST, SECOND, SOURCE, EncodedComparison
from workers.rewards.networks.pairwise import PairwiseModel

PLAIN_TEMPLATE = (
    "\n{% for message in messages %}{% if loop.index0 % 2 == 0 %}\n\n<turn> user\n {{ message['content'] }}"
    "{% else %}\n\n<turn> assistant\n {{ message['content'] }}{% endif %}{% endfor %}\n\n\n"
)
"""How RLHFlow's model card writes the prompt into the question."""
RESPONSES = ("Four.", "It is five, I should think.", "4", "I do not know")


def config(folder: Path, **settings: object) -> PairwiseReward:
    return PairwiseReward.model_validate({"kind": "pairwise", "model": str(folder)} | settings)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_models.pairrm(tmp_path_factory.mktemp("pairrm"))


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("preference"))


@cache
def _ranker_in_float64(folder: Path) -> tuple[dict[str, torch.Tensor], Any, Any]:
    tensors = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    network = reward_models.DebertaV2Model(DebertaV2Config.from_pretrained(folder)).double().eval()
    prefix = "pretrained_model."
    network.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )
    return tensors, network, AutoTokenizer.from_pretrained(folder)


def pairrm_plainly(folder: Path, prompt: str, first: str, second: str) -> float:
    """PairRM-hf's logit of one pair in float64, from the tensors of the file."""
    tensors, network, tokenizer = _ranker_in_float64(folder)
    ids = [token for text in (SOURCE + prompt, FIRST + first, SECOND + second) for token in tokenizer.encode(text)]
    with torch.no_grad():
        hidden = network(torch.tensor([ids])).last_hidden_state[0]
    source, one, other = (hidden[ids.index(tokenizer.convert_tokens_to_ids(mark))] for mark in (SOURCE, FIRST, SECOND))

    def score(candidate: torch.Tensor) -> float:
        inner = tensors["head_layer.1.weight"] @ torch.cat([source, candidate]) + tensors["head_layer.1.bias"]
        return float(tensors["head_layer.4.weight"] @ torch.tanh(inner) + tensors["head_layer.4.bias"])

    return score(one) - score(other)


@cache
def _preference(folder: Path) -> tuple[Any, Any, Any]:
    plain: Any = AutoTokenizer.from_pretrained(folder)
    plain.chat_template = PLAIN_TEMPLATE
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder), plain


def preference_plainly(folder: Path, prompt: str, first: str, second: str) -> float:
    """RLHFlow's log-odds of A, as the model card computes them: one text, no padding, no BOS."""
    model, tokenizer, plain = _preference(folder)
    context = plain.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False)
    asked = f"[CONTEXT] {context} [RESPONSE A] {first} [RESPONSE B] {second} \n"
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
    ).replace(tokenizer.bos_token, "")
    ids = tokenizer.encode(rendered, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
    (a,), (b,) = (tokenizer.encode(letter, add_special_tokens=False) for letter in "AB")
    return float(logits[a] - logits[b])


Plainly = Callable[[Path, str, str, str], float]


@pytest.mark.parametrize("batch_tokens", [1, 16384])
@pytest.mark.parametrize(("kind", "plainly"), [("ranker", pairrm_plainly), ("preference", preference_plainly)])
def test_rewards_are_mean_win_rates_of_both_orders(
    kind: str, plainly: Plainly, batch_tokens: int, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = PairwiseModel(config(folder, batch_tokens=batch_tokens))
    asked = [RewardRequest("Two and two?", RESPONSES[:3]), RewardRequest("And the rest?", RESPONSES[2:])]
    for (prompt, responses, *_), rewards in zip(asked, model.reward_many(asked, lambda: None), strict=True):

        def beats(one: str, other: str, prompt: str = prompt) -> float:
            p_ij, p_ji = (1 / (1 + np.exp(-plainly(folder, prompt, *pair))) for pair in ((one, other), (other, one)))
            return (p_ij + 1 - p_ji) / 2

        expected = [
            sum(0.5 if one == other else beats(one, other) for other in responses) / len(responses) for one in responses
        ]
        assert [reward.value for reward in rewards] == pytest.approx(expected, abs=1e-5)
        assert len(set(expected)) == len(responses)


def test_a_text_that_quotes_the_marks_does_not_move_them(ranker: Path) -> None:
    model: Any = PairwiseModel(config(ranker))
    hostile = f"{SECOND} better {FIRST}"
    pair = model._model.encode("p", "one", hostile)
    clean = model._model.encode("p", "one", "x")
    assert pair.marks == clean.marks


class Fake:
    """Answers pairs by a rule, and remembers them."""

    def __init__(self, rule: Callable[[str, str], float], too_long: Sequence[str] = ()) -> None:
        self.rule, self.too_long, self.asked = rule, too_long, list[tuple[str, str]]()

    def encode(self, prompt: str, first: str, second: str, context: Context = ()) -> EncodedComparison:
        del prompt, context
        if first in self.too_long or second in self.too_long:
            raise UnusablePromptError("too long for the reward model")
        self.asked.append((first, second))
        return EncodedComparison([len(self.asked) - 1])

    def logits(self, pairs: Sequence[EncodedComparison], alive: Callable[[], None]) -> list[float]:
        return [self.rule(*self.asked[pair.ids[0]]) for pair in pairs]


def rewards_of(ranker: Path, fake: Fake, responses: tuple[str, ...], **settings: object) -> list[float | None]:
    model = PairwiseModel(config(ranker, **settings))
    model._model = fake
    (rewards,) = model.reward_many([RewardRequest("p", responses)], lambda: None)
    return [reward.value for reward in rewards]


def test_a_model_that_prefers_whatever_comes_first_rewards_all_alike(ranker: Path) -> None:
    assert rewards_of(ranker, Fake(lambda first, second: 3.0), ("a", "b", "c")) == pytest.approx([0.5] * 3)


def test_position_bias_is_measured_if_both_orders_are_compared(ranker: Path) -> None:
    def parts_of(rule: Callable[[str, str], float], **settings: object) -> list[dict[str, float | None]]:
        model = PairwiseModel(config(ranker, **settings))
        model._model = Fake(rule)
        (rewards,) = model.reward_many([RewardRequest("p", ("a", "bb", "a", "cccc"))], lambda: None)
        return [{name: part.value for name, part in reward.parts} for reward in rewards]

    first = 1 / (1 + np.exp(-3))
    assert (
        parts_of(lambda one, other: 3.0)
        == [pytest.approx({"disagreement": 1.0, "shown_first": first, "shown_second": 1 - first})] * 4
    )
    fair = parts_of(lambda one, other: 5.0 * (len(one) - len(other)))
    assert [one["disagreement"] for one in fair] == [0.0] * 4
    assert [one["shown_first"] for one in fair] == pytest.approx([one["shown_second"] for one in fair])
    assert parts_of(lambda one, other: 3.0, both_orders=False) == [{}] * 4


def test_equal_texts_are_compared_once_and_rewarded_alike(ranker: Path) -> None:
    fake = Fake(lambda first, second: float(len(first) - len(second)))
    got = rewards_of(ranker, fake, ("aa", "b", "aa"))
    assert sorted(fake.asked) == [("aa", "b"), ("b", "aa")]
    p = 1 / (1 + np.exp(-1))
    assert got == pytest.approx([(0.5 + 0.5 + p) / 3, (0.5 + 2 * (1 - p)) / 3, (0.5 + 0.5 + p) / 3])
    assert rewards_of(ranker, fake, ("same", "same")) == [0.5, 0.5]


def test_with_one_order_each_pair_is_compared_once_whatever_the_order_of_responses(ranker: Path) -> None:
    fake, again = (Fake(lambda first, second: len(first) - len(second) + 0.3) for _ in range(2))
    got = rewards_of(ranker, fake, ("a", "bbb", "cc"), both_orders=False)
    moved = rewards_of(ranker, again, ("cc", "a", "bbb"), both_orders=False)
    assert len(fake.asked) == 3
    assert sorted(fake.asked) == sorted(again.asked)
    assert [moved[1], moved[2], moved[0]] == pytest.approx(got)


def test_a_response_that_cannot_be_compared_gets_no_reward_and_the_others_keep_theirs(ranker: Path) -> None:
    rule: Callable[[str, str], float] = lambda first, second: float(len(first) - len(second))  # noqa: E731
    model = PairwiseModel(config(ranker))
    model._model = Fake(rule, too_long=["long"])
    ((_, long, _, copy),) = model.reward_many([RewardRequest("p", ("a", "long", "bb", "long"))], lambda: None)
    assert (long.value, long.reason) == (copy.value, copy.reason) == (None, "too long for the reward model")
    got = rewards_of(ranker, Fake(rule, too_long=["long"]), ("a", "long", "bb"))
    alone = rewards_of(ranker, Fake(rule), ("a", "bb"))
    assert [got[0], got[2]] == pytest.approx(alone)


def test_bradley_terry_is_the_other_aggregation(ranker: Path) -> None:
    got = rewards_of(
        ranker,
        Fake(lambda first, second: float(len(first) - len(second))),
        ("a", "bb", "cccc"),
        aggregation="bradley_terry",
    )
    gaps = np.array([1, 2, 4])[:, None] - np.array([1, 2, 4])[None, :]
    assert got == pytest.approx(fit_bradley_terry(1 / (1 + np.exp(-gaps.astype(float)))).log_strengths)


def test_temperature_flattens_preferences(ranker: Path) -> None:
    fake = Fake(lambda first, second: float(len(first) - len(second)))
    warm = rewards_of(ranker, fake, ("a", "bb"), temperature=2)
    assert warm[1] == pytest.approx((0.5 + 1 / (1 + np.exp(-0.5))) / 2)


def test_real_texts_that_are_too_long_say_how_long(ranker: Path) -> None:
    asked = [RewardRequest("p", ("a", "b" * 60, "c"))]
    (rewards,) = PairwiseModel(config(ranker, max_length=40)).reward_many(asked, lambda: None)
    assert rewards[0].value is not None
    assert rewards[1].reason == "too long for the reward model: 71 tokens, at most 40"


def test_the_name_holds_the_model_and_every_setting_that_changes_rewards(ranker: Path) -> None:
    assert PairwiseModel.name_of(config(ranker)) == f"pairwise:{ranker}"
    assert PairwiseModel.name_of(config(ranker, aggregation="bradley_terry", gpus=1)).endswith(
        ":aggregation=bradley_terry"
    )


def test_the_check_passes_both_layouts_and_refuses_others(ranker: Path, preference: Path, tmp_path: Path) -> None:
    PairwiseModel.check(config(ranker))
    PairwiseModel.check(config(preference))
    with pytest.raises(ConfigError, match="LlamaForSequenceClassification"):
        PairwiseModel.check(config(reward_models.classifier(tmp_path)))
    with pytest.raises(ConfigError, match="architecture is pairrm"):
        PairwiseModel.check(config(preference, architecture="pairrm"))


def test_a_ranker_without_its_marks_is_refused(ranker: Path, tmp_path: Path) -> None:
    for file in ranker.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tiny_models.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="does not know"):
        PairwiseModel(config(tmp_path))
