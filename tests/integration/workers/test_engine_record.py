"""What an engine returns of the tokens that it sampled. vLLM is a stand-in here; its real one: test_fleet.py."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eva.errors import InfrastructureError
from eva.types import PromptResponses, Request, Response, SamplingSettings
from tests.support import tiny_models
from tests.support.ray_fixtures import tiny_config
from workers.fleet.engine import Engine
from workers.fleet.placement import engine_setup
from workers.models.chat_template import PromptEncoder, Prompting
from workers.models.model_folder import inspect_model
from workers.playground import MODEL_DIR

REQUEST = Request(5, "count", 2, 100, SamplingSettings(1.0, 1.0, 8), first=1)


class SampledTokens:
    """Stands for vLLM: answers every request with the same sampled tokens, and remembers what was asked."""

    def __init__(self, *samples: list[int], logprobs: int | None = None) -> None:
        self._samples, self._logprobs = samples, logprobs
        self.asked: list[Any] = []
        self._waiting: list[str] = []

    def add_request(self, name: str, ids: Any, asked: Any, lora_request: None) -> None:
        self.asked.append(asked)
        self._waiting.append(name)

    def has_unfinished_requests(self) -> bool:
        return bool(self._waiting)

    def abort_request(self, names: list[str]) -> None:
        self._waiting = [name for name in self._waiting if name not in names]

    def step(self) -> list[Any]:
        return [SimpleNamespace(request_id=self._waiting.pop(), outputs=[*map(self._completion, self._samples)])]

    def _completion(self, token_ids: list[int]) -> Any:
        logprobs = None
        if self.asked[-1].logprobs is not None:
            made = [-(token % 16) / 4 for token in token_ids][: self._logprobs]
            logprobs = SimpleNamespace(token_ids=token_ids, logprobs=made)
        return SimpleNamespace(token_ids=token_ids, finish_reason="stop", logprobs=logprobs)


def engine_over(folder: Path, llm: SampledTokens) -> Engine:
    setup = engine_setup(tiny_config(MODEL_DIR), inspect_model(MODEL_DIR))
    engine = Engine(replace(setup, max_model_len=100))
    engine._encoder, engine._llm = PromptEncoder(str(folder), Prompting()), llm
    return engine


def answer_of(engine: Engine, request: Request) -> PromptResponses:
    engine.submit([(0, request)])
    ((_, answered),) = engine.poll()
    return answered


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that writes `th`, `he` and `the` as one token each."""
    folder = tmp_path_factory.mktemp("merging")
    tiny_models.tokenizer(merges=(("t", "h"), ("th", "e"), ("h", "e"))).save_pretrained(folder)
    return folder


def test_the_record_holds_the_tokens_that_were_sampled_where_the_text_is_written_with_others(merging: Path) -> None:
    words = PromptEncoder(str(merging), Prompting()).tokenizer
    end = words.eos_token_id
    samples = [[*words.convert_tokens_to_ids(list(pieces)), end] for pieces in (("t", "he"), ("t", "h", "e"))]
    answered = answer_of(engine_over(merging, SampledTokens(*samples)), replace(REQUEST, record=True))
    assert [r.text for r in answered.responses] == ["the", "the"]
    assert [list(r.token_ids) for r in answered.responses] == samples
    assert [r.logprobs for r in answered.responses] == [tuple(-(token % 16) / 4 for token in ids) for ids in samples]
    again = [words.encode(r.text, add_special_tokens=False) for r in answered.responses]
    assert again == [words.convert_tokens_to_ids(["the"])] * 2, "the text says nothing of how it was sampled"
    assert words.decode(answered.prompt_ids) == "<bos><user>count<assistant>"
    assert answered.prompt_tokens == len(answered.prompt_ids)


def test_without_a_request_for_it_nothing_is_asked_of_vllm_and_nothing_returned(merging: Path) -> None:
    llm = SampledTokens([70, 71, 2], [72, 2])
    answered = answer_of(engine_over(merging, llm), REQUEST)
    assert llm.asked[0].logprobs is None and not llm.asked[0].flat_logprobs
    assert answered.prompt_ids == () and answered.prompt_tokens > 0
    assert answered.responses == (
        Response(1, answered.responses[0].text, "stop", 3, 101),
        Response(2, answered.responses[1].text, "stop", 2, 102),
    )


def test_tokens_without_a_log_probability_are_an_error(merging: Path) -> None:
    engine = engine_over(merging, SampledTokens([70, 71, 2], [72, 73, 2], logprobs=2))
    with pytest.raises(InfrastructureError, match="2 log-probabilities for the 3 tokens of a response to prompt 5"):
        answer_of(engine, replace(REQUEST, record=True))


def test_an_engine_works_on_while_nobody_polls_it(merging: Path) -> None:
    llm = SampledTokens([72, 2], [72, 2])
    engine = engine_over(merging, llm)
    for ticket in range(20):
        engine.submit([(ticket, REQUEST)])
    deadline = time.monotonic() + 10
    while len(llm.asked) < 20 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(llm.asked) == 20, "only a poll has let the engine step"
    taken: list[int] = []
    while len(taken) < 20:
        taken += [ticket for ticket, _ in engine.poll()]
    assert sorted(taken) == [*range(20)] and engine.poll() == [], "an engine without work answers at once"


def test_an_engine_that_was_told_to_forget_has_no_result_left(merging: Path) -> None:
    engine = engine_over(merging, SampledTokens([72, 2], [72, 2]))
    engine.submit([(ticket, REQUEST) for ticket in range(5)])
    engine.forget()
    assert engine.poll() == []
    engine.submit([(7, REQUEST)])
    assert [ticket for ticket, _ in engine.poll()] == [7]
