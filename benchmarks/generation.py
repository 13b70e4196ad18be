"""Compares the generation stage (Ray, streaming, rewarding, storing) with `vllm.LLM.generate` for the same requests.

    python -m benchmarks.generation [--model FOLDER] [--prompts 512] [--repeats 5] [--pause 2] [--json FILE]

The stage is the loop's own `judge`: a fleet of one engine, the reward model in its actor, Postgres. It is measured
three times: as it is, with a pause in every write of a batch (`paused`), and with the token record (`recorded`: each
sampled token with its log-probability, in files of the run). Of the paused stage, `generated` is the time until the
engines had answered everything: pauses must not keep them waiting, but the stage ends when its last write has, which
nothing can hide. All sides get the same model, engine settings, environment, prompts, seeds and token limits. Each has
its own process, and one waits while the other works. The plain side only generates, and is measured twice: called in
the usual way, and without vLLM's token-by-token decoding, which eva's engines do not use either (they decode at the
end).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import machine
from benchmarks.plain_vllm import PlainSide
from eva.config import RunConfig
from eva.config.files import load_config
from eva.config.run import Rollouts
from eva.roles import Generator, Roles
from eva.runtime import failpoints
from eva.settings import Settings
from eva.types import Checkpoint, PromptResponses, Request
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.lease import claim
from orchestrator.journal import Journal
from orchestrator.launch.registration import register_run
from orchestrator.loop import judge
from orchestrator.stages.judging import JudgeStage
from orchestrator.watch.listener import NoListener
from store.game import checkpoints, responses
from store.session import Store, open_store
from tests.support import tiny_models
from tests.support.fakes import FakeEvolver, FakeTrainer
from workers.cluster.connection import ray_connection
from workers.cluster.environment import engine_environment
from workers.fleet import placement
from workers.fleet.engine import engine_arguments
from workers.fleet.fleet import start_fleet
from workers.fleet.serving_view import serving_view
from workers.models.chat_template import PromptEncoder
from workers.models.model_folder import inspect_model, resolve_model
from workers.rewards import build_rewarder, model_class
from workers.training.checkpoints import seal

TARGET = 1.05


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="playground", help="model folder; default: the playground's solver")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--window", default="auto", help="fleet.window")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that each write pauses in the paused stage")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class TimedFleet:
    """A fleet that remembers how long the engines took for the last requests."""

    def __init__(self, fleet: Generator) -> None:
        self._fleet = fleet
        self.seconds = 0.0

    def load(self, policy: Checkpoint) -> None:
        self._fleet.load(policy)

    def rest(self) -> None:
        self._fleet.rest()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        began = time.perf_counter()
        yield from self._fleet.generate(requests)
        self.seconds = time.perf_counter() - began


class StageSide:
    """The loop's judge, on a new run each time; its requests are always the same, since their seeds are derived.

    `folder` takes the token records of its runs. `generated_s`: how long the engines took in each paused run.
    """

    def __init__(self, store: Store, config: RunConfig, policy: Checkpoint, roles: Roles, folder: Path) -> None:
        self._fleet = TimedFleet(roles.generator)
        self._store, self._config, self._policy, self._folder = store, config, policy, folder
        self._roles = replace(roles, generator=self._fleet)
        self.generated_s: list[float] = []
        roles.generator.load(policy)

    def requests(self) -> list[Request]:
        """Returns the requests that the stage will send to the engines."""
        requests: list[Request] = []
        self._with_run(lambda journal, run: requests.extend(self._ask(journal, run)))
        return requests

    def run(self) -> tuple[float, int]:
        """Returns the seconds that the whole stage took, and the response tokens that it stored."""
        measured: list[tuple[float, int]] = []
        self._with_run(lambda journal, run: measured.append(self._judge(journal, run)))
        return measured[0]

    def run_paused(self, pause_s: float) -> tuple[float, int]:
        """As `run`, with a pause in every write of a batch."""
        failpoints.arm(f"stage.flush.before_commit=sleep:{pause_s:g}")
        try:
            measured = self.run()
        finally:
            failpoints.arm("")
        self.generated_s.append(self._fleet.seconds)
        return measured

    def recorded_bytes(self) -> float:
        """Returns the bytes of token records per run that wrote some."""
        sizes = [
            sum(file.stat().st_size for file in run.rglob("*.parquet"))
            for run in self._folder.iterdir()
            if run.is_dir()
        ]
        return sum(sizes) / len(sizes)

    def _with_run(self, use: Callable[[Journal, ClaimedRun], None]) -> None:
        row = register_run(self._store, self._config)
        name = model_class(self._config.reward).name_of(self._config.reward)
        with claim(self._store, row) as lease:
            run = ClaimedRun(
                row.id,
                row.name,
                self._config,
                self._folder / row.name,
                row.stored_name,
                name,
                self._store,
                lease,
                NoListener(),
            )
            run.write(lambda conn: checkpoints.insert_checkpoint(conn, row.id, self._policy))
            use(Journal(run), run)

    def _ask(self, journal: Journal, run: ClaimedRun) -> tuple[Request, ...]:
        with JudgeStage(run, 0, "judge_batch", journal.pool(0), self._policy) as stage:
            return stage.missing().requests

    def _judge(self, journal: Journal, run: ClaimedRun) -> tuple[float, int]:
        pool = journal.pool(0)
        began = time.perf_counter()
        judge(0, "judge_batch", pool, self._policy, self._roles, journal)
        seconds = time.perf_counter() - began
        return seconds, run.read(lambda conn: responses.sampling_cost(conn, run.id, 0, pool))["tokens"]


def measure(options: argparse.Namespace, scratch: Path, stack: ExitStack) -> tuple[dict[str, list[float]], float]:
    """Returns the seconds of each side per repeat, in turns, after one warm-up each; and a record's bytes per token."""
    folder = scratch / "model"
    folder.mkdir()
    for file in resolve_model(options.model).iterdir():
        (folder / file.name).symlink_to(file.resolve())
    tiny_models.record_canary(folder)
    config = load_config(
        "playground",
        [
            f"prompts.playground={options.prompts}",
            f"model.path={folder}",
            f"fleet.window={options.window}",
            "evaluation.playground=null",
        ],
    )
    settings = Settings(scratch, None, os.environ.get("RAY_ADDRESS"))
    stack.enter_context(ray_connection(settings))
    facts = inspect_model(folder)
    setup, place = placement.engine_setup(config, facts), placement.engine_resources(config, facts)
    store = stack.enter_context(closing(open_store(settings)))
    fleet = stack.enter_context(start_fleet(config, folder, logs_dir=scratch, views_dir=scratch / "views"))
    rewarder = stack.enter_context(closing(build_rewarder(config.reward)))
    roles = Roles(fleet, rewarder, FakeEvolver(), FakeTrainer(), rewarder)
    policy = Checkpoint(0, -1, str(folder), seal(folder))
    stage = StageSide(store, config, policy, roles, scratch / "runs")
    keeping = config.model_copy(update={"rollouts": Rollouts(keep="all")})
    recorded = StageSide(store, keeping, policy, roles, scratch / "recorded")
    asked = stage.requests()
    encoder = PromptEncoder(str(folder), setup.prompting)
    plain = stack.enter_context(
        closing(
            PlainSide(
                engine_arguments(setup, str(serving_view(folder, scratch / "view"))),
                [encoder.encode(request.text) for request in asked],
                asked,
                engine_environment(place.threads),
                scratch,
            )
        )
    )
    print(
        f"model {options.model}, {facts.parameters:,} parameters, {setup.dtype}; {len(asked)} prompts x "
        f"{config.generation.n}; window {options.window}, {place.threads} thread(s)"
    )

    seconds, tokens = take_turns(
        {
            "stage": stage.run,
            "paused": lambda: stage.run_paused(options.pause),
            "recorded": recorded.run,
            "plain": lambda: plain.run("plain"),
            "lean": lambda: plain.run("lean"),
        },
        options.repeats,
    )
    seconds["generated"] = stage.generated_s[-options.repeats :]
    return seconds, recorded.recorded_bytes() / tokens


def take_turns(sides: dict[str, Callable[[], tuple[float, int]]], repeats: int) -> tuple[dict[str, list[float]], int]:
    tokens = {name: run()[1] for name, run in sides.items()}
    assert len(set(tokens.values())) == 1, f"the sides did not do the same work: {tokens}"
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        # there and back, so that no side always follows another process's turn
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            seconds[name].append(sides[name]()[0])
    print(f"{tokens['stage']:,} tokens per run; {repeats} runs of each side, in turns")
    for name, runs in seconds.items():
        print(
            f"  {name:<8} median {median(runs):.2f} s  [{min(runs):.2f} .. {max(runs):.2f}]  "
            f"{tokens['stage'] / median(runs):,.0f} tokens/s"
        )
    return seconds, tokens["stage"]


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="eva-bench-") as scratch, ExitStack() as stack:
        Path(scratch).chmod(0o755)  # root's server runs as another user
        seconds, bytes_per_token = measure(options, Path(scratch), stack)
    report: dict[str, Any] = {"seconds": seconds, "recorded_bytes_per_token": bytes_per_token}
    for side, base, words in (
        ("stage", "plain", "vllm.LLM.generate as it is called"),
        ("stage", "lean", "the same, decoding at the end"),
        (
            "generated",
            "plain",
            f"vllm.LLM.generate, with {options.pause:g} s of pause at each write, to the last response",
        ),
        ("paused", "plain", "the same, to the end of the last pause"),
        ("recorded", "stage", f"the stage without the token record, which has {bytes_per_token:.1f} bytes per token"),
    ):
        ratios = sorted(one / other for one, other in zip(seconds[side], seconds[base], strict=True))
        report[f"{side}_over_{base}"] = {"median": median(ratios), "least": ratios[0], "most": ratios[-1]}
        print(
            f"{side} / {words}: {median(ratios):.3f} [{ratios[0]:.3f} .. {ratios[-1]:.3f}]  "
            f"(target: at most {TARGET:g})"
        )
    print(f"on {machine()}")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
