"""Pauses, quotes, keys: what needs no server."""

from __future__ import annotations

import email.utils
import sys
import time
from types import SimpleNamespace

import pytest

from eva.config import EvolInstruct, Evolving, PlaygroundEvolver
from eva.errors import ConfigError
from eva.types import Mutation
from workers.evolvers import build_evolver
from workers.evolvers.completions import _is_passing, _key, _pause_s, _retry_after_s, price_of
from workers.playground.tasks import seed_prompts


class FailureError(Exception):
    """An exception as LiteLLM raises it."""

    def __init__(self, status_code: int = 500, headers: dict[str, str] | None = None) -> None:
        super().__init__("x")
        self.status_code, self.response = status_code, SimpleNamespace(headers=headers or {})


def failure(**headers: str) -> FailureError:
    return FailureError(headers=headers)


def settings(**given: str) -> EvolInstruct:
    return EvolInstruct.model_validate({"kind": "evol_instruct"} | given)


def test_pauses_grow_exponentially_with_a_jitter_derived_from_the_seed() -> None:
    for attempt in range(5):
        pauses = [_pause_s(failure(), attempt, seed) for seed in range(50)]
        assert pauses == [_pause_s(failure(), attempt, seed) for seed in range(50)]
        assert all(0.5 * 2**attempt <= pause <= 1.5 * 2**attempt for pause in pauses)
        assert max(pauses) - min(pauses) > 0.5 * 2**attempt
    assert _pause_s(failure(), 30, 1) <= 90


def test_retry_after_is_honoured_as_a_number_and_as_a_date_and_bounded() -> None:
    assert 7 <= _pause_s(failure(**{"retry-after": "7"}), 0, 1) <= 8
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < (_retry_after_s(failure(**{"retry-after": in_a_minute})) or 0) <= 60
    assert _pause_s(failure(**{"retry-after": "86400"}), 0, 1) <= 301
    assert _retry_after_s(failure(**{"retry-after": "soon"})) is None
    assert _retry_after_s(Exception("no response")) is None


@pytest.mark.parametrize(("code", "passing"), [(429, True), (503, True), (408, True), (401, False), (404, False)])
def test_only_what_may_pass_is_retried(code: int, passing: bool) -> None:
    assert _is_passing(FailureError(code)) is passing


def test_the_key_comes_from_the_variable_that_the_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(model="openai/m", api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "secret")
    assert _key(config) == "secret"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY"):
        _key(config)


def test_the_real_openais_key_is_not_sent_to_somebodys_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert _key(settings(model="openai/m", api_base="http://x/v1")) == "none"
    assert _key(settings(model="openai/m")) is None


def test_the_playgrounds_operators_evolve_through_the_same_protocol() -> None:
    evolver = build_evolver(Evolving(evolver=PlaygroundEvolver(kind="playground")))
    assert set(evolver.operators) == {"constraints", "deepening", "concretizing", "reasoning", "breadth"}
    (parent,) = seed_prompts(1, seed=3)
    replies = [evolver.evolve(Mutation(parent, "reasoning", seed)) for seed in (1, 1, 2, 3, 4)]
    assert replies[0] == replies[1]
    assert len({reply.text for reply in replies}) > 1
    assert parent not in {reply.text for reply in replies}
    assert evolver.evolve(Mutation("no prompt of this world", "breadth", 1)).text == ""


def test_a_model_of_the_price_map_is_found_with_and_without_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    # a price needs neither LiteLLM's import nor what calls have left in its own map
    monkeypatch.setitem(sys.modules, "litellm", SimpleNamespace(model_cost={}))
    found = price_of("openai/gpt-4o-mini")
    assert found is not None and 0 < found.prompt < found.reply < 1e-4
    assert price_of("gpt-4o-mini") == found


def test_an_unlisted_model_has_no_price() -> None:
    assert price_of("openai/my-own-model") is None and price_of(None) is None
