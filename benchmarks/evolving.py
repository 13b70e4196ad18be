"""Compares evolving with distilabel's EvolInstruct and with the ideal N L / C, on a service of latency L with C slots.

    python -m benchmarks.evolving [--json]

The service is tests/support/openai_server.py in a separate process, so that neither side pays for it. Both sides write
chains of four children from the same prompts with the same templates and settings; EvolInstruct uses its own OpenAI
client. The first call of each, which imports its libraries, does not count. It takes about a minute.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

from benchmarks.measuring import Timings, parser, seconds, show
from eva.config import Evolving
from eva.creator.evolution import EvolutionPlan, evolve_all
from eva.roles import Evolver
from eva.types import Prompt
from tests.support.openai_server import Body, OpenAIServer
from workers.evolvers import build_evolver

LATENCY_S, SLOTS, SOURCES, PER_PROMPT, REPEATS, TARGET = 0.5, 16, 64, 4, 3, 0.9
EVOLUTIONS = SOURCES * PER_PROMPT
IDEAL_S = EVOLUTIONS * LATENCY_S / SLOTS


def _written(body: Body) -> str:
    """Returns a child unlike any other, from the prompt in the request and its seed."""
    return f"Describe river {abs(hash(body['messages'][-1]['content'])) % 10**9} and its {body.get('seed', 0)} bridges."


def _serve(address: Connection, done: Event) -> None:
    with OpenAIServer(_written, latency_s=LATENCY_S, slots=SLOTS) as server:
        address.send(server.api_base)
        done.wait()


@contextmanager
def service() -> Generator[str]:
    """Runs the service inside the context, and yields its address."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    done = context.Event()
    process = context.Process(target=_serve, args=(there, done))
    process.start()
    try:
        yield here.recv()
    finally:
        done.set()
        process.join()


def prompts(count: int) -> list[Prompt]:
    return [Prompt(number, f"Describe river number {number}.") for number in range(count)]


def ours(evolver: Evolver, sources: int) -> None:
    """Evolves with eva. Raises SystemExit if a child is missing."""
    plan = EvolutionPlan(
        seed=1,
        iteration=1,
        per_prompt=PER_PROMPT,
        attempts=1,
        mode="chain",
        max_chars=8000,
        similarity=1.0,
        known=frozenset(),
        protected=frozenset(),
    )
    chains = list(evolve_all(prompts(sources), evolver, plan, SLOTS))
    written = sum(len(chain.accepted) for chain in chains)
    if written != sources * PER_PROMPT:
        raise SystemExit(f"eva wrote {written} children of {sources * PER_PROMPT}: the times cannot be compared")


def distilabels(api_base: str) -> Any:
    """Returns distilabel's task, loaded, with its own OpenAI client."""
    from distilabel.models import OpenAILLM
    from distilabel.steps.tasks import EvolInstruct

    llm = OpenAILLM(
        model="m",
        base_url=api_base,
        api_key="none",  # pyright: ignore[reportArgumentType] - it becomes a secret
        generation_kwargs={"temperature": 0.88, "max_new_tokens": 666},
    )
    task = EvolInstruct(llm=llm, num_evolutions=PER_PROMPT, store_evolutions=True)
    task.load()
    return task


def theirs(task: Any, sources: int) -> None:
    """Evolves with distilabel. Raises SystemExit if a child is missing."""
    rows = [{"instruction": prompt.text} for prompt in prompts(sources)]
    done = next(iter(task.process(rows)))
    written = sum(bool(text) for row in done for text in row["evolved_instructions"])
    if written != sources * PER_PROMPT:
        raise SystemExit(f"distilabel wrote {written} children of {sources * PER_PROMPT}: the times cannot be compared")


def compare() -> tuple[Timings, Timings]:
    """Compares eva with the ideal and with distilabel, in turns."""
    with service() as api_base:
        evolver = build_evolver(
            Evolving.model_validate({"evolver": {"kind": "evol_instruct", "model": "openai/m", "api_base": api_base}})
        )
        task = distilabels(api_base)
        ours(evolver, 1)
        theirs(task, 1)
        times = [
            (seconds(lambda: ours(evolver, SOURCES)), seconds(lambda: theirs(task, SOURCES))) for _ in range(REPEATS)
        ]
        task.unload()
    eva, distilabel = zip(*times, strict=True)
    what = f"{EVOLUTIONS} evolutions in chains of {PER_PROMPT}, latency {LATENCY_S:g} s, {SLOTS} slots"
    return (
        Timings(f"{what}: against the ideal N L / C", "eva", "ideal", eva, (IDEAL_S,) * REPEATS, TARGET),
        Timings(f"{what}: against EvolInstruct.process", "eva", "distilabel", eva, distilabel, 1.0),
    )


if __name__ == "__main__":
    asked = parser(__doc__).parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    asyncio.set_event_loop(asyncio.new_event_loop())
    for comparison in compare():
        show(comparison, as_json=asked.json)
