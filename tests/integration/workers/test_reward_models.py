"""Reward models in their Ray actors: vLLM's pooling and transformers give the same raw logits."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.config import PointwiseReward
from eva.errors import ConfigError
from eva.types import PromptResponses, Response
from tests.support import reward_models
from workers.rewards import build_rewarder

pytestmark = pytest.mark.usefixtures("ray_cluster")

RESPONSES = ("Paris.", "It is Paris, a city on the Seine.", "日本語", "x" * 400)
PROMPTS = [
    PromptResponses(
        number,
        f"What is the capital of country {number}?",
        tuple(Response(index, text, "stop", 1, 0) for index, text in enumerate(RESPONSES)),
    )
    for number in range(40)
]


def config(folder: Path, **settings: object) -> PointwiseReward:
    return PointwiseReward.model_validate({"kind": "pointwise", "model": str(folder)} | settings)


def rewards(asked: PointwiseReward, *, local: bool = False) -> dict[int, list[float | None]]:
    rewarder = build_rewarder(asked, local=local)
    try:
        return {one.prompt.number: [reward.value for reward in one.rewards] for one in rewarder.reward(PROMPTS)}
    finally:
        rewarder.close()


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_every_backend_in_its_actor_gives_the_raw_logits_of_a_forward_pass(tmp_path: Path, backend: str) -> None:
    # "Paris." ends in the model's own padding token: whoever takes it for the end of the text reads another one.
    folder = reward_models.classifier(tmp_path, pad=".")
    # One prompt at a time, without padding: the unit tests hold this to a direct forward pass.
    plain = rewards(config(folder, batch_tokens=1), local=True)
    got = rewards(config(folder, backend=backend))
    assert sorted(got) == sorted(plain)
    for number, row in got.items():
        assert row[3] is plain[number][3] is None
        assert row[:3] == pytest.approx(plain[number][:3], abs=1e-4)
    # A sigmoid would have kept them between 0 and 1.
    assert any(value is not None and not 0 <= value <= 1 for row in got.values() for value in row)


def test_too_many_gpus_are_refused_at_once(tmp_path: Path) -> None:
    rewarder = build_rewarder(config(reward_models.classifier(tmp_path), gpus=1000))
    with pytest.raises(ConfigError, match="asks for 1000 GPUs, and this machine has 0"):
        list(rewarder.reward(PROMPTS))
    rewarder.close()
