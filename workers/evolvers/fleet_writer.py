"""The run's own fleet as a writer: many threads ask, one feeds the engines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue

from eva.config import SelfEvolver
from eva.errors import ConfigError
from eva.roles import Generator
from eva.types import PromptResponses, Reply, Request, SamplingSettings
from workers.evolvers.completions import strip_quotes

GATHER_S = 0.01
"""A wave takes in what is asked within so long after the last request: chains ask their next slots together."""

UNANSWERED = "unanswered"
"""`Reply.finish` of an instruction that the engines could not answer, such as one longer than their context."""


class FleetWriter:
    """Answers messages with the policy that the fleet serves: load it first.

    Requests wait in a queue. One thread hands them to `generator.generate`, which pulls lazily, in waves: a wave
    ends when nothing waits, and each reply goes to its caller as it finishes. A reply depends on its message
    and seed alone, whatever wave it was in.
    """

    def __init__(self, config: SelfEvolver, generator: Generator) -> None:
        self._generator = generator
        self._sampling = SamplingSettings(config.temperature, config.top_p, config.max_tokens)
        self._waiting: SimpleQueue[tuple[Request, Future[PromptResponses]]] = SimpleQueue()
        self._tickets = itertools.count()
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="self-evolver")

    def ask(self, message: str, seed: int) -> Reply:
        """The policy's reply. Raises what the generator raises."""
        answer: Future[PromptResponses] = Future()
        # Engines take seeds of 63 bits and count samples on from them.
        self._waiting.put((Request(next(self._tickets), message, 1, seed >> 1, self._sampling), answer))
        self._feeder.submit(self._wave)
        return _reply(answer.result())  # bounded: the fleet answers or raises by its own time-outs

    def _wave(self) -> None:
        """Answer what waits. Each request brings a wave, so that none is left behind; most find nothing to do."""
        if self._waiting.empty():
            return
        asked: dict[int, Future[PromptResponses]] = {}
        try:
            for answered in self._generator.generate(self._gathered(asked)):
                asked.pop(answered.number).set_result(answered)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the threads that asked
            for answer in asked.values():
                answer.set_exception(error)

    def _gathered(self, asked: dict[int, Future[PromptResponses]]) -> Iterator[Request]:
        while True:
            try:
                request, answer = self._waiting.get(timeout=GATHER_S)
            except Empty:
                return
            asked[request.number] = answer
            yield request


def fleet_writer(config: SelfEvolver, generator: Generator | None) -> FleetWriter:
    """The writer. Raises ConfigError where there is no fleet to ask."""
    if generator is None:
        raise ConfigError(
            "an evolver that asks the run's own fleet was built without one",
            expected="the run's generator",
            next_move="Pass it to build_evolver",
        )
    return FleetWriter(config, generator)


def _reply(answered: PromptResponses) -> Reply:
    if answered.failure is not None or not answered.responses:
        return Reply("", finish=UNANSWERED)
    response = answered.responses[0]
    return Reply(strip_quotes(response.text), answered.prompt_tokens, response.tokens, finish=response.finish)
