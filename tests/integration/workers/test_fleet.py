from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva.errors import CanaryError, ModelError
from eva.settings import Settings
from eva.types import Checkpoint, PromptResponses, Request, SamplingSettings
from tests.support import tiny_models
from tests.support.ray_fixtures import tiny_checkpoint, tiny_config
from workers.fleet.engine_actors import ActorEngines
from workers.fleet.fleet import Fleet, start_fleet
from workers.fleet.placement import EngineResources, engine_setup, start_engine
from workers.fleet.proof import mean_difference, refuse_opened, refuse_reloaded
from workers.fleet.serving_view import serving_view
from workers.models.model_folder import inspect_model
from workers.training.canary import Canary, measure, read_canary
from workers.training.checkpoints import seal

Policies = tuple[Checkpoint, Checkpoint]
WARM = SamplingSettings(1.0, 0.95, 24)


def requests_of(count: int, n: int = 4) -> list[Request]:
    return [Request(number, f"Tell me about {number * 37}", n, 1000 * number, WARM) for number in range(count)]


def texts(answered: list[PromptResponses]) -> dict[tuple[int, int], str]:
    return {(a.number, r.sample): r.text for a in answered for r in a.responses}


def engine_of(fleet: Fleet) -> ActorEngines:
    assert isinstance(fleet._engines, ActorEngines)
    return fleet._engines


def test_every_prompt_gets_all_its_responses(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[0])
    answered = {a.number: a for a in fleet.generate(iter(requests_of(80)))}
    assert sorted(answered) == list(range(80))
    for number, a in answered.items():
        assert a.failure is None and a.text == f"Tell me about {number * 37}" and a.prompt_tokens > 20
        assert [r.sample for r in a.responses] == [0, 1, 2, 3]
        assert [r.seed for r in a.responses] == [1000 * number + i for i in range(4)]
        assert all(r.tokens == 24 if r.finish == "length" else 1 <= r.tokens <= 24 for r in a.responses)
    assert {r.finish for a in answered.values() for r in a.responses} == {"stop", "length"}


def test_a_sample_depends_on_its_seed_alone(fleet: Fleet, policies: Policies) -> None:
    """Not on order, company, n, or on how a prompt's samples were split over requests."""
    fleet.load(policies[0])
    asked = requests_of(60)
    wanted = texts(list(fleet.generate(asked)))
    parts = [dataclasses.replace(r, n=n, first=first) for r in asked for first, n in ((0, 1), (1, 3))]
    random.Random(3).shuffle(parts)
    assert texts(list(fleet.generate(parts))) == wanted
    one = [Request(5, asked[5].text, 1, asked[5].seed + 2, WARM)]
    assert next(iter(fleet.generate(one))).responses[0].text == wanted[5, 2]
    assert len(set(wanted.values())) > 200


def test_greedy_responses_are_those_of_transformers(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[1])
    asked = Request(0, "Hello there", 2, 9, SamplingSettings(0.0, 1.0, 16))
    responses = next(iter(fleet.generate([asked]))).responses
    words = AutoTokenizer.from_pretrained(policies[1].path)
    model: Any = AutoModelForCausalLM.from_pretrained(policies[1].path)
    ids = words.apply_chat_template(
        [{"role": "user", "content": "Hello there"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(**ids, max_new_tokens=16, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert [r.text for r in responses] == [words.decode(made, skip_special_tokens=True)] * 2


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_the_recorded_log_probabilities_are_those_of_the_trainers_forward_pass(
    temperature: float, top_p: float, fleet: Fleet, policies: Policies
) -> None:
    """Of the distribution that was sampled from: after the temperature, and within the top_p of its mass."""
    fleet.load(policies[0])
    sampling = SamplingSettings(temperature, top_p, 24)
    asked = [dataclasses.replace(request, record=True, sampling=sampling) for request in requests_of(12)]
    answered = {a.number: a for a in fleet.generate(asked)}
    plain = fleet.generate([dataclasses.replace(request, record=False) for request in asked])
    assert texts(list(plain)) == texts(list(answered.values())), "recording changes nothing that is sampled"

    words = AutoTokenizer.from_pretrained(policies[0].path)
    model: Any = AutoModelForCausalLM.from_pretrained(policies[0].path)
    again = 0
    for a in answered.values():
        assert words.decode(a.prompt_ids) == f"<bos><user>{a.text}<assistant>"
        for r in a.responses:
            assert len(r.token_ids) == r.tokens and (r.token_ids[-1] == words.eos_token_id) == (r.finish == "stop")
            expected = processed_logprobs(model, a.prompt_ids, r.token_ids, temperature, top_p)
            assert r.logprobs == pytest.approx(expected, abs=1e-4)
            text_ids = [token for token in r.token_ids if token != words.eos_token_id]
            again += words.encode(r.text, add_special_tokens=False) == text_ids
    assert again < 12, "most texts are written with other tokens than those that were sampled"


def processed_logprobs(
    model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int], temperature: float, top_p: float
) -> list[float]:
    ids = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(prompt_ids) - 1 : -1].double() / temperature
    ranked, order = logits.sort(descending=True)
    before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
    logits = logits.masked_fill((before >= top_p).gather(-1, order.argsort(-1)), -torch.inf)
    return logits.log_softmax(-1).gather(1, ids[0, len(prompt_ids) :, None])[:, 0].tolist()


def test_a_prompt_that_does_not_fit_is_a_failure_of_its_own(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[0])
    asked = [Request(0, "x" * 500, 2, 0, WARM), Request(1, "fine", 2, 0, WARM), Request(2, "\ud800", 2, 0, WARM)]
    answered = {a.number: a for a in fleet.generate(asked)}
    assert "tokens" in (answered[0].failure or "") and "context" in (answered[0].failure or "")
    assert "cannot be encoded" in (answered[2].failure or "")
    assert answered[1].failure is None and len(answered[1].responses) == 2


def test_stopping_early_leaves_nothing_behind(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[0])
    answers = fleet.generate(requests_of(200))
    next(iter(answers))
    answers.close()
    assert {a.number for a in fleet.generate(requests_of(3))} == {0, 1, 2}


def test_a_reloaded_policy_answers_as_it_does_when_started_with(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[0])
    before = texts(list(fleet.generate(requests_of(20))))
    fleet.load(policies[1])
    assert texts(list(fleet.generate(requests_of(20)))) != before
    fleet.load(policies[0])
    assert texts(list(fleet.generate(requests_of(20)))) == before


def test_an_engine_that_serves_other_weights_after_a_reload_is_opened_anew(
    fleet: Fleet, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the view the reload mixes two policies: the fleet notices, and serves the right one."""
    fleet.load(policies[0])
    actor = engine_of(fleet)._slots[0].actor
    monkeypatch.setattr("workers.fleet.fleet.serving_view", lambda checkpoint, *_: Path(checkpoint))
    ray.get(actor.open.remote(policies[0].path))
    fleet.load(policies[1])
    assert engine_of(fleet)._slots[0].fresh and engine_of(fleet)._slots[0].actor == actor
    mixed = texts(list(fleet.generate(requests_of(10))))
    monkeypatch.undo()
    fleet._policy = None
    fleet.load(policies[1])
    assert texts(list(fleet.generate(requests_of(10)))) == mixed


def test_a_checkpoint_of_an_earlier_version_is_served(fleet: Fleet, policies: Policies, tmp_path: Path) -> None:
    """Its canary has four sequences of 16 drawn tokens, which no newer checkpoint can be compared with."""
    fleet.load(policies[0])
    folder = tiny_models.llama(tmp_path / "old", seed=0)
    (folder / "canary.json").write_text(
        json.dumps({"dtype": "float32", "tolerance": 2e-3, "sequences": earlier_sequences(folder)})
    )
    fleet.load(Checkpoint(7, 7, str(folder), seal(folder)))
    assert engine_of(fleet)._slots[0].fresh
    assert len(texts(list(fleet.generate(requests_of(2))))) == 8
    fleet.load(policies[0])


def earlier_sequences(folder: Path) -> list[dict[str, list[float] | list[int]]]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    rows = [random.Random(number).choices(range(3, 259), k=16) for number in range(4)]
    return [{"token_ids": ids, "logprobs": measure(model, ids)} for ids in rows]


def test_a_killed_engine_is_replaced_and_nothing_is_lost(fleet: Fleet, policies: Policies) -> None:
    fleet.load(policies[0])
    wanted = texts(list(fleet.generate(requests_of(150))))
    answers = fleet.generate(requests_of(150))
    got = [next(iter(answers))]
    ray.kill(engine_of(fleet)._slots[0].actor)
    got += list(answers)
    assert len(got) == 150 and texts(got) == wanted


def test_weights_that_differ_from_their_canary_are_never_served(
    fleet: Fleet, policies: Policies, tmp_path: Path
) -> None:
    wrong = tiny_checkpoint(tiny_models.llama(tmp_path / "wrong", seed=5), 7)
    path = tmp_path / "wrong" / "canary.json"
    canary = json.loads(path.read_text())
    canary["sequences"][0]["logprobs"][0] += 0.1
    path.write_text(json.dumps(canary))
    wrong = dataclasses.replace(wrong, digest=seal(tmp_path / "wrong"))
    with pytest.raises(CanaryError, match=r"0\.1.*0\.002.*allowed"):
        fleet.load(wrong)
    fleet.load(policies[0])


@pytest.fixture(scope="module")
def bare_engine(ray_cluster: Settings, policies: Policies) -> Iterator[Any]:
    """An engine without a fleet, which opens one model after another."""
    setup = engine_setup(tiny_config(policies[0].path), inspect_model(Path(policies[0].path)))
    actor = start_engine(setup, EngineResources(0, 0, 1))
    yield actor
    ray.kill(actor)


def measured_after(engine: Any, method: str, folder: Path | str, canary: Canary) -> list[list[float]]:
    """Log-probabilities (nats) of the canary's tokens after `open` or `reload` of a folder."""
    ray.get(getattr(engine, method).remote(str(folder)))
    return ray.get(engine.measure.remote(canary.tokens))


# How far 50 steps of Adam move a weight at learning rates of 5e-7 (the paper's), 5e-6 and 1e-4.
MOVES = (2.5e-5, 2.5e-4, 5e-3)


def refusals(engine: Any, old: Checkpoint, folder: Path, view_of: Callable[[str | Path, str], Path]) -> list[bool]:
    """Whether a reload in place is refused, for a policy that training moved by each of `MOVES`."""
    before = read_canary(Path(old.path))
    opened = measured_after(engine, "open", view_of(old.path, "old"), before)
    assert refuse_opened(before, None, opened, half=False) is None
    refused: list[bool] = []
    for number, step in enumerate(MOVES):
        new = tiny_checkpoint(tiny_models.nudge(Path(old.path), folder / f"new{number}", step))
        canary = read_canary(Path(new.path))
        measured = measured_after(engine, "reload", view_of(new.path, f"new{number}"), canary)
        noise = mean_difference(before.values, opened)
        refused.append(refuse_reloaded(canary, before, measured, noise=noise) is not None)
    return refused


def test_a_naive_reload_of_tied_embeddings_is_refused_at_every_learning_rate(
    bare_engine: Any, policies: Policies, tmp_path: Path
) -> None:
    """vLLM 0.32 (CPU) keeps the old head of a tied model: the trap that the canary exists for."""
    assert refusals(bare_engine, policies[0], tmp_path, lambda folder, _: Path(folder)) == [True] * 3


@pytest.mark.parametrize(
    ("make", "tied", "stale"),
    [
        (tiny_models.llama, True, False),
        (tiny_models.llama, False, False),
        (tiny_models.qwen2, True, False),
        (tiny_models.qwen3, True, False),
        (tiny_models.gemma2, True, False),
        (tiny_models.gemma3, True, True),
        (tiny_models.gpt2, True, True),
    ],
)
def test_a_reload_in_place_is_refused_if_and_only_if_weights_are_stale(
    bare_engine: Any, tmp_path: Path, make: tiny_models.Maker, tied: bool, stale: bool
) -> None:
    """No view unties Gemma 3 and GPT-2, so that their head stays behind; those that are refused are opened anew."""
    old = tiny_checkpoint(make(tmp_path / "old", tied=tied))
    refused = refusals(bare_engine, old, tmp_path, lambda folder, name: serving_view(folder, tmp_path / "views" / name))
    assert refused == [stale] * 3


def test_a_model_that_vllm_cannot_load_is_reported_in_vllms_words(bare_engine: Any, tmp_path: Path) -> None:
    untied = tiny_models.gemma2(tmp_path / "model", tied=False)
    with pytest.raises(ModelError, match=r"vLLM could not load.*lm_head.*Gemma2ForCausalLM"):
        ray.get(bare_engine.open.remote(str(untied)))


def test_too_little_memory_says_what_to_change(ray_cluster: Settings, policies: Policies, tmp_path: Path) -> None:
    config = tiny_config(policies[0].path, cpu_cache_gb=1e-5)
    small = start_fleet(config, policies[0].path, logs_dir=tmp_path, views_dir=tmp_path / "views")
    with small, pytest.raises(ModelError, match=r"too little memory.*fleet\.cpu_cache_gb"):
        small.load(policies[0])
    assert (tmp_path / "engine-0.log").stat().st_size > 0


def test_ray_does_not_make_engines_yield_to_other_processes(ray_cluster: Settings) -> None:
    """Ray's own default is nice 15."""
    assert ray.is_initialized() and ray_cluster.ray_address is None
    assert ray.get(ray.remote(lambda: os.nice(0)).options(num_cpus=0).remote()) == os.nice(0)


def test_an_engine_on_a_cpu_compiles_nothing(fleet: Fleet, policies: Policies) -> None:
    """It starts seconds sooner, and on a machine without a C++ compiler."""
    fleet.load(policies[1])
    asked = engine_of(fleet).actor(0).__ray_call__.remote(lambda _: dict(torch._dynamo.utils.counters["stats"]))
    assert ray.get(asked) == {}


def test_ray_leaves_the_drivers_signal_handler_alone(ray_cluster: Settings) -> None:
    assert ray_cluster.ray_address is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert os.environ["RAY_ENABLE_AUTO_CONNECT"] == "0"
