"""`evolving` in the config: operators, kinds, budget."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eva.config import Evolving
from eva.creator.operators import FAMILIES, FIRST_PACK

LLM = {"kind": "evol_instruct", "model": "openai/m"}


def evolving(**given: Any) -> Evolving:
    return Evolving.model_validate({"evolver": LLM} | given)


def test_operators_are_a_list_or_lists_by_family_and_survive_being_stored() -> None:
    by_family = evolving(operators={"in_depth": ["persona", "deepening"], "in_breadth": ["mix"]})
    assert by_family.operators == ["persona", "deepening", "mix"]
    assert Evolving.model_validate(by_family.model_dump(mode="json")) == by_family
    assert evolving(operators=[*FAMILIES]).operators == [*FAMILIES]
    assert evolving().operators is None


@pytest.mark.parametrize(
    ("operators", "says"),
    [
        (["deepning"], "did you mean 'deepening'"),
        ([], "at least one"),
        (["mix", "mix"], "each only once"),
        ({"in_dept": ["mix"]}, "in_depth, in_breadth"),
        ({"in_depth": ["mix"]}, "'mix' belongs to in_breadth"),
        ("mix", "list"),
    ],
)
def test_operators_that_cannot_be_drawn_are_refused(operators: object, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        evolving(operators=operators)


def test_the_playground_knows_only_the_first_pack_and_a_users_class_is_checked_later() -> None:
    playground = {"kind": "playground"}
    assert evolving(evolver=playground, operators=[*FIRST_PACK]).operators == [*FIRST_PACK]
    with pytest.raises(ValidationError, match="playground has no operator 'mix'"):
        evolving(evolver=playground, operators=["mix"])
    assert evolving(evolver={"kind": "custom", "path": "my:Evolver"}, operators=["sing"]).operators == ["sing"]


def test_only_evolvers_that_write_with_the_fleet_use_the_policy() -> None:
    kinds = {
        "self": {"kind": "self"},
        "llm": LLM,
        "fed": {"kind": "feedback", "writer": LLM},
        "fed by itself": {"kind": "feedback", "writer": {"kind": "self"}},
        "own": {"kind": "custom", "path": "a:B"},
    }
    assert {name for name, kind in kinds.items() if evolving(evolver=kind).asks_fleet} == {"self", "fed by itself"}
    assert creator().asks_fleet and not creator().shows_responses and creator(feedback=True).shows_responses


def creator(given: dict[str, Any] | None = None, **evolver: Any) -> Evolving:
    return evolving(**{"evolver": {"kind": "trained"} | evolver, "mode": "fan_out"} | (given or {}))


def test_a_trained_creator_learns_by_a_policy_gradient_unless_it_is_told_otherwise() -> None:
    section = creator(training={"learning_rate": 1e-4}).creator
    assert section is not None and section.training.loss == "rloo" and section.training.facts.online
    assert section.settings.top_p == 1.0, "ratios need every token"
    assert evolving().creator is None
    stored = creator(frozen=True).model_dump(mode="json")
    assert Evolving.model_validate(stored) == creator(frozen=True)


@pytest.mark.parametrize(
    ("given", "evolver", "says"),
    [
        ({"mode": "chain"}, {}, "compares the children of one parent: set mode to fan_out"),
        ({"per_prompt": 1}, {}, "what sets siblings apart"),
        ({}, {"training": {"loss": "dpo"}}, "use rloo, grpo or dr_grpo"),
        ({}, {"training": {"sync_every": 2}}, "updated once per iteration"),
        ({}, {"training": {"enabled": False}}, "set evolver.frozen to true"),
        ({}, {"model": "playground", "feedback": True}, "only taught operator and parent"),
        ({"operators": ["mix"]}, {"model": "playground"}, "trained has no operator 'mix'"),
    ],
)
def test_a_creator_that_could_not_learn_is_refused(given: dict[str, Any], evolver: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        creator(given, **evolver)


@pytest.mark.parametrize("budget", [{"max_attempts": 0}, {"max_cost_usd": -1}, {"max_euros": 3}])
def test_an_invalid_budget_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        evolving(budget=budget)
