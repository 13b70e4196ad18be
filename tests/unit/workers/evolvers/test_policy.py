"""Evolvers that ask the run's own fleet, are shown responses, or are the user's."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import pytest

from eva.config import CustomEvolver, Evolving, SelfEvolver
from eva.errors import ConfigError, EngineDiedError, EvolverError
from eva.roles import Evolver
from eva.types import Checkpoint, Feedback, Mutation, PromptResponses, Reply, Request, Response
from workers.evolvers import build_evolver
from workers.evolvers.fleet_writer import FleetWriter

CONTEXT = Feedback("Name a fruit.", "An apple. " * 9, 0.75, "A stone. " * 9, -1.5)


class Echo:
    """Answers with a message's last line and the seed, newest first; keeps what it was asked, and in how many waves."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.waves, self.at_once = 0, 0

    def load(self, policy: Checkpoint) -> None:
        """It serves one policy only."""

    def rest(self) -> None:
        """It has no device."""

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        self.waves += 1
        waiting = iter(requests)
        while window := list(islice(waiting, 4)):
            self.asked += window
            yield from map(self.answer, reversed(window))

    def answer(self, request: Request) -> PromptResponses:
        if "too long" in request.text:
            return PromptResponses(request.number, request.text, (), failure="the prompt is too long")
        text = f'"{request.text} seen with {request.seed}"'
        return PromptResponses(
            request.number, request.text, (Response(0, text, "stop", 5, request.seed),), prompt_tokens=9
        )


class Dead(Echo):
    def answer(self, request: Request) -> PromptResponses:
        raise EngineDiedError("all engines died")


def section() -> SelfEvolver:
    return SelfEvolver(kind="self", temperature=0.5, max_tokens=40)


def built(generator: Echo | None = None, **evolver: object) -> Evolver:
    return build_evolver(Evolving.model_validate({"evolver": evolver, "mode": "fan_out"}), generator)


def test_many_threads_each_get_their_own_reply_in_few_waves() -> None:
    echo = Echo()
    writer = FleetWriter(section().settings, echo)
    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(lambda place: writer.ask(f"message {place}", 2 * place), range(64)))
    assert [reply.text for reply in replies] == [f"message {place} seen with {place}" for place in range(64)]
    assert {(reply.prompt_tokens, reply.reply_tokens, reply.finish) for reply in replies} == {(9, 5, "stop")}
    assert len(echo.asked) == 64 and echo.waves < 32
    assert len({request.number for request in echo.asked}) == 64
    assert {(request.n, request.sampling.temperature, request.sampling.max_tokens) for request in echo.asked} == {
        (1, 0.5, 40)
    }


def test_a_reply_returns_before_its_wave_is_finished() -> None:
    first_is_back = threading.Event()

    class Slow(Echo):
        def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
            for request in requests:
                yield self.answer(request)
                assert first_is_back.wait(10)

    writer = FleetWriter(section().settings, Slow())
    writer.ask("first", 1)
    first_is_back.set()
    assert writer.ask("second", 2).text == "second seen with 1"


def test_an_instruction_that_cannot_be_answered_says_so_and_dead_engines_end_the_stage() -> None:
    assert FleetWriter(section().settings, Echo()).ask("too long", 1) == Reply("", finish="unanswered")
    dead = FleetWriter(section().settings, Dead())
    with ThreadPoolExecutor(8) as threads:
        for failed in [threads.submit(dead.ask, "m", place) for place in range(8)]:
            with pytest.raises(EngineDiedError, match="all engines died"):
                failed.result(timeout=10)


def test_self_sends_the_operators_template_to_the_fleet() -> None:
    echo = Echo()
    evolver = built(echo, kind="self")
    for operator in evolver.operators:
        evolver.evolve(Mutation("Name a fruit.", operator, 4))
        assert "Name a fruit." in echo.asked[-1].text
    assert len({request.text for request in echo.asked}) == len(evolver.operators) == 5
    assert evolver.evolve(Mutation("Name a fruit.", "mix", 4)) == Reply("", finish="no_partner")
    evolver.evolve(Mutation("Name a fruit.", "mix", 4, partner="Name a town."))
    assert "Name a town." in echo.asked[-1].text


def test_self_without_a_fleet_is_refused() -> None:
    with pytest.raises(ConfigError, match="built without one"):
        built(kind="self")


def test_feedback_shows_the_responses_their_rewards_and_the_operators_words_below_them() -> None:
    echo = Echo()
    evolver = built(echo, kind="feedback", writer={"kind": "self"}, response_chars=20)
    evolver.evolve(Mutation("Name a rare fruit.", "deepening", 4, feedback=CONTEXT))
    evolver.evolve(Mutation("Name a rare fruit.", "deepening", 4))
    shown, plain = (request.text for request in echo.asked)
    assert shown.endswith(plain) and "An apple. An apple.  […]" in shown and "A stone. A stone. A  […]" in shown
    assert "reward 0.75" in shown and "reward -1.5" in shown and "Name a fruit." in shown
    assert "without writing it down" in shown and "reward" not in plain


def test_a_written_critique_is_requested_first_then_shown_and_its_cost_is_counted() -> None:
    echo = Echo()
    evolver = built(echo, kind="feedback", writer={"kind": "self"}, critique="written")
    reply = evolver.evolve(Mutation("Name a rare fruit.", "deepening", 4, feedback=CONTEXT))
    critique, instruction = echo.asked
    assert "at most three sentences" in critique.text and critique.seed != instruction.seed
    assert f"#Critique#:\n{critique.text} seen with {critique.seed}" in instruction.text
    assert (reply.prompt_tokens, reply.reply_tokens) == (18, 10)


class Loud:
    operators = ("shout", "whisper")

    def __init__(self, mark: str = "!") -> None:
        self.mark = mark

    def evolve(self, mutation: Mutation) -> object:
        match mutation.operator:
            case "shout":
                return mutation.text.upper() + self.mark
            case "whisper":
                return Reply(mutation.text.lower(), 1, 2)
            case "fail":
                raise ZeroDivisionError
            case "stop":
                raise EvolverError("the service is away")
            case _:
                return 7


def test_a_users_evolver_may_return_a_text_or_a_reply_and_its_errors_refuse_one_child() -> None:
    evolver = built(kind="custom", path=f"{__name__}:Loud", options={"mark": "?"})
    assert evolver.operators == ("shout", "whisper")
    assert evolver.evolve(Mutation("Hi", "shout", 1)) == Reply("HI?")
    assert evolver.evolve(Mutation("Hi", "whisper", 1)) == Reply("hi", 1, 2)
    assert evolver.evolve(Mutation("Hi", "fail", 1)).finish == "error: ZeroDivisionError"
    assert evolver.evolve(Mutation("Hi", "odd", 1)).finish == "error: a int, no text"
    with pytest.raises(EvolverError, match="away"):
        evolver.evolve(Mutation("Hi", "stop", 1))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nocolon", "module:Class"),
        ("no.such.module:X", "ModuleNotFoundError"),
        ("json:Nothing", "has no class 'Nothing'"),
        ("decimal:Decimal", "without `operators`"),
    ],
)
def test_a_users_evolver_that_cannot_be_built_is_refused_before_anything_starts(path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        built(kind="custom", path=path)


def test_operators_that_a_users_evolver_lacks_are_refused() -> None:
    evolver = CustomEvolver(kind="custom", path=f"{__name__}:Loud")
    with pytest.raises(ConfigError, match=r"no operator 'sing'.*shout, whisper"):
        build_evolver(Evolving(evolver=evolver, operators=["shout", "sing"]))


class Recording(Echo):
    """Answers with tokens, where they are asked for."""

    def answer(self, request: Request) -> PromptResponses:
        bare = super().answer(request)
        if not request.record:
            return bare
        response = replace(bare.responses[0], token_ids=(4, 5), logprobs=(-0.1, -0.2))
        return replace(bare, responses=(response,), prompt_ids=(1, 2, 3))


def test_a_creator_with_weights_of_its_own_is_asked_by_operator_and_parent_and_gives_its_tokens() -> None:
    fleet = Recording()
    reply = built(fleet, kind="trained", temperature=0.5).evolve(Mutation("Name a river.", "deepening", 8))
    assert (reply.prompt_ids, reply.token_ids, reply.logprobs) == ((1, 2, 3), (4, 5), (-0.1, -0.2))
    (request,) = fleet.asked
    assert "Name a river." in request.text and request.record and request.sampling.top_p == 1
    assert "An apple." not in request.text
    frozen = Recording()
    built(frozen, kind="trained", frozen=True, temperature=0.5).evolve(Mutation("Name a river.", "deepening", 8))
    assert frozen.asked == [replace(request, record=False)], "a frozen one is asked the same"


def test_a_creator_sees_the_best_and_the_worst_response_if_it_is_to() -> None:
    fleet = Recording()
    mutation = Mutation("Name a river.", "deepening", 8, feedback=CONTEXT)
    built(fleet, kind="trained", feedback=True, response_chars=9).evolve(mutation)
    asked = fleet.asked[0].text
    assert asked.index("An apple.") < asked.index("A stone.") < asked.index("Name a river.") and "0.75" in asked


def test_the_playgrounds_creator_is_asked_in_the_words_of_its_world() -> None:
    class Writing(Recording):
        def answer(self, request: Request) -> PromptResponses:
            answered = super().answer(request)
            text = "Take k d : sort , then reverse ." if "k d" in request.text else "sort : d k"
            return replace(answered, responses=(replace(answered.responses[0], text=text),))

    fleet = Writing()
    creator = built(fleet, kind="trained", model="playground")
    written = creator.evolve(Mutation("Take k d: sort.", "reasoning", 8))
    assert (written.text, written.finish) == ("Take k d: sort, then reverse.", "stop") and written.token_ids == (4, 5)
    assert fleet.asked[0].text == "then ; Take k d: sort."
    refused = creator.evolve(Mutation("Take a b: sort.", "breadth", 8))
    assert refused.finish == "unreadable" and refused.token_ids == (4, 5), "a refusal is a lesson, too"
