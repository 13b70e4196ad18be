"""The run's own fleet as a writer: many threads send messages, one thread feeds the engines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue

from eva.errors import ConfigError
from eva.roles import Generator
from eva.types import PromptResponses, Reply, Request, SamplingSettings
from workers.evolvers.replies import answer_of, strip_quotes

GATHER_S = 0.01
"""A wave includes requests that arrive within this time after the last one: chains send theirs together."""

UNANSWERED = "unanswered"
"""`Reply.finish` if the engines could not answer, for example an instruction longer than their context."""


class FleetWriter:
    """Answers messages with the weights that the fleet serves. Load them first.

    Requests wait in a queue. One thread passes them to `generator.generate` in waves: a wave ends when the queue is
    empty. Each reply is returned as soon as it is finished. It depends only on its message and seed, not on the wave.
    """

    def __init__(self, sampling: SamplingSettings, generator: Generator, *, record: bool = False) -> None:
        """`record`: replies carry their tokens, with log-probabilities."""
        self._generator, self._sampling, self._record = generator, sampling, record
        self._waiting: SimpleQueue[tuple[Request, Future[PromptResponses]]] = SimpleQueue()
        self._tickets = itertools.count()
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="self-evolver")

    def ask(self, message: str, seed: int) -> Reply:
        """Returns the policy's reply. Raises what the generator raises."""
        future: Future[PromptResponses] = Future()
        # Engines take seeds of 63 bits and add the sample's index.
        request = Request(next(self._tickets), message, 1, seed >> 1, self._sampling, record=self._record)
        self._waiting.put((request, future))
        self._feeder.submit(self._wave)
        return _reply(future.result())  # bounded: the fleet answers or raises by its own time-outs

    def _wave(self) -> None:
        """Answers the queue. Every request starts a wave, so that none is left over; most waves find an empty queue."""
        if self._waiting.empty():
            return
        futures: dict[int, Future[PromptResponses]] = {}
        try:
            for result in self._generator.generate(self._gather(futures)):
                futures.pop(result.number).set_result(result)
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting threads
            for future in futures.values():
                future.set_exception(error)

    def _gather(self, futures: dict[int, Future[PromptResponses]]) -> Iterator[Request]:
        while True:
            try:
                request, future = self._waiting.get(timeout=GATHER_S)
            except Empty:
                return
            futures[request.number] = future
            yield request


def fleet_writer(sampling: SamplingSettings, generator: Generator | None, *, record: bool = False) -> FleetWriter:
    """Returns a writer on the fleet. Raises ConfigError without a fleet."""
    if generator is None:
        raise ConfigError(
            "an evolver that uses the run's own fleet was built without one",
            expected="the run's generator",
            next_move="Pass it to build_evolver",
        )
    return FleetWriter(sampling, generator, record=record)


def _reply(result: PromptResponses) -> Reply:
    if result.failure is not None or not result.responses:
        return Reply("", finish=UNANSWERED)
    response = result.responses[0]
    return Reply(
        strip_quotes(answer_of(response.text)),
        result.prompt_tokens,
        response.tokens,
        finish=response.finish,
        prompt_ids=result.prompt_ids,
        token_ids=response.token_ids,
        logprobs=response.logprobs,
    )
