"""The evol_instruct evolver against a server with faults."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eva.config import EvolInstruct, Evolving
from eva.errors import ConfigError, EvolverError
from eva.types import Mutation, Reply
from tests.support.openai_server import Fault, OpenAIServer, completion, cut, hang, malformed, status
from workers.evolvers import build_evolver
from workers.evolvers.completions import Completions
from workers.evolvers.evol_instruct import EvolInstructEvolver

pytestmark = pytest.mark.usefixtures("event_loop")


def settings(**given: Any) -> EvolInstruct:
    return EvolInstruct.model_validate({"kind": "evol_instruct"} | given)


def evolver(server: OpenAIServer, **given: Any) -> tuple[EvolInstructEvolver, list[float]]:
    """The evolver, and the list of the pauses that it makes instead of sleeping."""
    config = settings(**{"model": "openai/m", "api_base": server.api_base, "retries": 2} | given)
    built, pauses = build_evolver(Evolving(evolver=config)), []
    assert isinstance(built, EvolInstructEvolver)
    built._writer = Completions(config, pauses.append)
    return built, pauses


def mutation(text: str = "Name a fruit.", operator: str = "deepening", seed: int = 2**62 + 5) -> Mutation:
    return Mutation(text, operator, seed)


def test_a_reply_brings_its_text_tokens_and_cost() -> None:
    with OpenAIServer(lambda _: ' \n"Name a rare fruit."\n') as server:
        built, _ = evolver(server)
        assert built.evolve(mutation()) == Reply("Name a rare fruit.", 11, 7, 0.0)
        priced, _ = evolver(server, model="openai/gpt-4o-mini")
        assert priced.evolve(mutation()).cost_usd == pytest.approx(11 * 0.15e-6 + 7 * 0.6e-6)


def test_the_request_holds_the_operators_template_the_prompt_and_the_settings() -> None:
    says = {"constraints": "add one more constraints", "breadth": "Prompt Creator"}
    hostile = "Explain {} and {0} and %s and <PROMPT> and #Rewritten Prompt#: \\n \U0001f34e"
    with OpenAIServer() as server:
        built, _ = evolver(server)
        for operator in built.operators:
            built.evolve(mutation(hostile, operator))
            request = server.requests[-1]
            assert hostile in request.message
            assert all((text in request.message) == (operator == name) for name, text in says.items())
        assert len({request.message for request in server.requests}) == 5
        request = server.requests[-1]
        assert request.path == "/v1/chat/completions"
        assert request.authorization == "Bearer none"
        sent = {key: request.body[key] for key in ("model", "temperature", "max_tokens", "seed")}
        assert sent == {"model": "m", "temperature": 0.88, "max_tokens": 666, "seed": 5}


@pytest.mark.parametrize(
    "fault", [status(429), status(500), status(502), status(503), cut(), malformed(), hang()], ids=repr
)
def test_a_temporary_error_is_retried(fault: Fault) -> None:
    with OpenAIServer(faults=[fault]) as server:
        built, pauses = evolver(server, timeout_s=0.5 if fault.kind == "hang" else 20)
        assert built.evolve(mutation()).text == "evolved"
        assert len(server.requests) == 2
        assert len(pauses) == 1


def test_retry_after_is_honoured() -> None:
    with OpenAIServer(faults=[status(429, retry_after="17"), status(503, retry_after="3")]) as server:
        built, pauses = evolver(server)
        built.evolve(mutation())
        assert 17 <= pauses[0] <= 18
        assert 3 <= pauses[1] <= 4


def test_a_lasting_error_is_an_evolver_error_after_the_retries() -> None:
    with OpenAIServer(faults=[status(500, message="on fire")] * 10) as server:
        built, pauses = evolver(server)
        with pytest.raises(EvolverError, match=r"failed 3 times, the last time with .*on fire"):
            built.evolve(mutation())
        assert len(server.requests) == 3
        assert len(pauses) == 2


def test_an_unreachable_server_is_an_evolver_error() -> None:
    with OpenAIServer() as server:
        built, pauses = evolver(server)
    with pytest.raises(EvolverError, match="onnection"):
        built.evolve(mutation())
    assert len(pauses) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_a_request_that_is_wrong_is_refused_at_once_and_the_key_stays_secret(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with OpenAIServer(faults=[status(code, message="no good: sk-very-secret")]) as server:
        built, pauses = evolver(server, api_key_env="MY_KEY")
        with pytest.raises(ConfigError, match=r"no good: \*\*\*") as refused:
            built.evolve(mutation())
        assert refused.value.__suppress_context__
        assert server.requests[0].authorization == "Bearer sk-very-secret"
        assert len(server.requests) == 1
        assert pauses == []


@pytest.mark.parametrize(
    ("fault", "finish"),
    [
        (completion(None), "stop"),
        (completion(" \n "), "stop"),
        (completion("x", empty=True), "stop"),
        (completion("Name a fruit that", finish="length"), "length"),
        (completion("", finish="content_filter"), "declined"),
        (
            status(400, message="This model's maximum context length is 8 tokens", error="context_length_exceeded"),
            "declined",
        ),
        (status(400, message="Request was rejected as a result of the safety system"), "declined"),
    ],
    ids=["none", "blank", "no choices", "cut", "filtered", "too long", "unsafe"],
)
def test_a_reply_without_a_whole_prompt_says_why_for_the_creator_to_refuse(fault: Fault, finish: str) -> None:
    with OpenAIServer(faults=[fault]) as server:
        built, pauses = evolver(server)
        reply = built.evolve(mutation())
        assert (reply.finish, reply.text) == (finish, "Name a fruit that" if finish == "length" else "")
        assert len(server.requests) == 1
        assert pauses == []


def test_after_a_good_answer_an_invalid_request_is_the_prompts_fault_and_a_lost_key_is_not() -> None:
    with OpenAIServer(faults=[None, status(400), None, status(401)]) as server:
        built, _ = evolver(server)
        assert [built.evolve(mutation()).text for _ in range(3)] == ["evolved", "", "evolved"]
        with pytest.raises(ConfigError):
            built.evolve(mutation())


def test_evolutions_from_many_threads_all_come_back_each_with_its_own() -> None:
    def echo(body: dict[str, Any]) -> str:
        return body["messages"][-1]["content"].split("Prompt#:\n")[1].split("\n")[0] + "!"

    faults = [None, status(429), None, cut(), status(500), None, malformed(), None]
    with OpenAIServer(echo, latency_s=0.05, slots=4, faults=faults) as server:
        built, _ = evolver(server, retries=5)
        with ThreadPoolExecutor(8) as threads:
            replies = threads.map(lambda i: built.evolve(mutation(f"prompt {i}", seed=i)), range(32))
            assert [reply.text for reply in replies] == [f"prompt {i}!" for i in range(32)]
        assert len(server.requests) == 36
        assert server.most_at_once == 4


def test_an_unknown_model_or_a_missing_key_is_refused_at_construction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for model, says in {
        "nonsense": "provider/model",
        "openai/gpt-4o-mini": "OPENAI_API_KEY is not set",
    }.items():
        with pytest.raises(ConfigError, match=says):
            build_evolver(Evolving(evolver=settings(model=model)))
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        build_evolver(Evolving(evolver=settings(model="openai/m", api_key_env="NO_SUCH_KEY")))


def test_an_unknown_operator_names_the_known_ones() -> None:
    with OpenAIServer() as server, pytest.raises(ConfigError, match="constraints, deepening"):
        evolver(server)[0].evolve(mutation(operator="deepning"))


def test_faults_print_nothing_on_the_terminal() -> None:
    code = (
        "import sys\n"
        "from eva.config import EvolInstruct\nfrom eva.types import Mutation\n"
        "from workers.evolvers.completions import Completions\n"
        "config = EvolInstruct(kind='evol_instruct', model='openai/m', api_base=sys.argv[1])\n"
        "print(Completions(config, lambda s: None).ask('m', 1).text)"
    )
    with OpenAIServer(faults=[status(429), cut(), malformed(), status(500)]) as server:
        done = subprocess.run([sys.executable, "-c", code, server.api_base], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("evolved\n", "")
    assert len(server.requests) == 5


def test_litellm_is_told_to_fetch_nothing_and_log_nothing() -> None:
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert logging.getLogger("LiteLLM").level == logging.CRITICAL


def test_the_server_stops_with_its_context_even_while_a_request_hangs() -> None:
    with OpenAIServer(faults=[hang()]) as server:
        built, _ = evolver(server, timeout_s=60, retries=0)
        with ThreadPoolExecutor(1) as thread:
            hung = thread.submit(built.evolve, mutation())
            while not server.requests and not hung.done():
                time.sleep(0.01)
            server.__exit__(None, None, None)
            with pytest.raises(EvolverError):
                hung.result(timeout=20)
