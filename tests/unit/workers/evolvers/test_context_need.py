"""The engines' context holds the longest instruction that an evolver asks the fleet, and its reply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.config.files import validate
from eva.creator.operators import FAMILIES
from eva.errors import ModelError
from eva.types import Checkpoint, Feedback, Message, Mutation, PromptResponses, Request, Response
from store.game.contexts import ROLE_TOKENS
from workers.evolvers import build_evolver
from workers.evolvers.context_need import fleet_needs
from workers.fleet.placement import TEMPLATE_TOKENS, context_length
from workers.models.model_folder import ModelFacts

PROMPT, ANSWER = "p" * 900, "a" * 5000
SEEN = Feedback(PROMPT, ANSWER, -0.123456789, ANSWER, -1.23456e-7)
SELF = {"kind": "self", "max_tokens": 300}


class Fleet:
    """Writes as much as it may, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def load(self, policy: Checkpoint) -> None: ...

    def rest(self) -> None: ...

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for request in requests:
            self.asked.append(request)
            text = "c" * request.sampling.max_tokens
            yield PromptResponses(request.number, request.text, (Response(0, text, "stop", len(text), 0),))


def config(evolver: dict[str, Any], **given: Any) -> RunConfig:
    return validate(
        {
            "prompts": {"playground": 8},
            "model": {"path": "playground"},
            "reward": {"kind": "mock"},
            "generation": {"max_tokens": 64},
            "evolving": {"evolver": evolver, "max_chars": 900} | given,
        }
    )


def facts(positions: int | None) -> ModelFacts:
    return ModelFacts(
        Path(),
        "LlamaForCausalLM",
        "llama",
        "float32",
        parameters=1000,
        bytes=4000,
        tied=False,
        max_positions=positions,
        vocab_size=300,
        has_chat_template=True,
        weight_files=(),
    )


@pytest.mark.parametrize(
    "evolver", [SELF, {"kind": "feedback", "writer": SELF}, {"kind": "feedback", "writer": SELF, "critique": "written"}]
)
@pytest.mark.parametrize("operators", [None, [*FAMILIES], ["abstract"]])
def test_every_instruction_fits_beside_its_reply(evolver: dict[str, Any], operators: list[str] | None) -> None:
    run, fleet = config(evolver, operators=operators), Fleet()
    writer = build_evolver(run.evolving, fleet)
    for operator in operators or writer.operators:
        writer.evolve(Mutation(PROMPT, operator, 1, partner=PROMPT, feedback=SEEN))
    longest = max(len(request.text) for request in fleet.asked)
    room = context_length(run, facts(None)) - 300
    assert longest + TEMPLATE_TOKENS <= room
    # the bound is tight: a few characters for rewards that are written longer
    assert fleet_needs(run.evolving)[0] - longest < 20
    # the model's own context still bounds it
    assert context_length(run, facts(700)) == 700


@pytest.mark.parametrize("chars", [300, 20_000])
def test_the_conversation_before_a_prompt_counts_with_its_instruction(chars: int) -> None:
    run, fleet = config(SELF), Fleet()
    writer = build_evolver(run.evolving, fleet)
    for operator in writer.operators:
        writer.evolve(Mutation(PROMPT, operator, 1, conversation=(Message("assistant", "c" * chars),)))
    longest = max(len(request.text) for request in fleet.asked)
    conversation = chars + ROLE_TOKENS
    assert 0 <= fleet_needs(run.evolving, conversation)[0] - longest < 20
    assert context_length(run, facts(None), conversation) >= longest + 300 + TEMPLATE_TOKENS
    # a response follows the whole conversation, of which the instruction shows the end
    assert context_length(run, facts(None), conversation) >= conversation + 900 + 64 + TEMPLATE_TOKENS


def test_evolvers_that_do_not_use_the_fleet_need_no_context() -> None:
    service = {"kind": "evol_instruct", "model": "openai/m"}
    for evolver in ({"kind": "playground"}, service, {"kind": "feedback", "writer": service}):
        assert fleet_needs(config(evolver).evolving) == (0, 0)
        assert context_length(config(evolver), facts(None)) == 64 + 900 + TEMPLATE_TOKENS


def test_a_context_too_short_for_the_evolvers_reply_is_refused() -> None:
    with pytest.raises(ModelError, match="max_tokens of the evolver that uses the fleet 300 leaves no room"):
        context_length(config(SELF), facts(256))
    with pytest.raises(ModelError, match=r"generation\.max_tokens 64 leaves no room"):
        context_length(config({"kind": "playground"}), facts(60))
