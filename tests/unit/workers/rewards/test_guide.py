"""The guide: a judge's rating or a user's number says how sensible a task a child is."""

from __future__ import annotations

import re

import pytest

from eva.config import Guidance
from eva.config.files import load_config
from eva.errors import ConfigError, InputError
from eva.types import Message, Reply
from workers.rewards.guide import FunctionGuide, JudgeGuide, build_guide


def judge(verdict: str, finish: str = "stop") -> tuple[JudgeGuide, list[str]]:
    asked: list[str] = []

    def ask(message: str, seed: int) -> Reply:
        asked.append(message)
        mark = re.findall(r"^VERDICT (#\w+):", message, re.MULTILINE)[-1]
        return Reply(f"Fine.\nVERDICT {mark}: {verdict}", 30, 5, 0.01, finish)

    return JudgeGuide(Guidance(model="openai/m"), ask), asked


@pytest.mark.parametrize(("verdict", "score"), [("1", 0.0), ("10", 1.0), ("7", 6 / 9), ("eleven", None)])
def test_a_rating_from_1_to_10_becomes_a_score_from_0_to_1_with_its_cost(verdict: str, score: float | None) -> None:
    guide, asked = judge(verdict)
    found = guide.score("What is 2 and 2?", (Message("user", "Hello"), Message("assistant", "Hi")), 5)
    assert found.score == score and (found.prompt_tokens, found.reply_tokens, found.cost_usd) == (30, 5, 0.01)
    assert "What is 2 and 2?" in asked[0] and "Assistant: Hi" in asked[0]


def test_an_opinion_that_was_cut_does_not_count() -> None:
    assert judge("1", "length")[0].score("p", (), 1).score is None


def length(text: str) -> float:
    return len(text) / 10


def test_a_users_function_gives_the_score_and_no_other_number() -> None:
    guide = build_guide(Guidance(function=f"{__name__}:length"))
    assert isinstance(guide, FunctionGuide) and guide.score("12345", (), 1).score == 0.5
    with pytest.raises(InputError, match=r"gave 1\.1.*a number from 0 to 1"):
        guide.score("12345678901", (), 1)
    with pytest.raises(ConfigError, match="no function 'lenght'"):
        build_guide(Guidance(function=f"{__name__}:lenght"))


@pytest.mark.parametrize("guide", ["{}", "{model: openai/m, function: 'm:f'}"])
def test_a_guide_is_a_judge_or_a_function(guide: str) -> None:
    with pytest.raises(ConfigError, match="exactly one of `model`"):
        load_config("playground", [f"evolving.guide={guide}"])
