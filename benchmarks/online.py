"""Compares an iteration in chunks of 32 prompts (semi-online training) with the same iteration as a whole.

    python -m benchmarks.online [--json] [--prompts N]

Both are the warm-up of the playground with every real part: engine, rewarder, TRL, Postgres. They judge, pair and train
in turns, with workers that stay up. What counts is sampled tokens per second of the iteration, training included, not
of its generation alone. The hand-overs, which only the chunks have (weights written, measured, loaded and proven), are
measured apart: the ratio leaves them out, and they are printed beside it.

Engines run empty at the end of each chunk: they wait for its few longest responses, and the next chunk is answered by
the policy that these train. The ratio counts that against the chunks. What it costs is printed as well: the same
engines answer the same requests once more, in as many parts and at once, without anything in between.

Each side's seconds are printed by part. `generating`: from the first request of a batch or chunk to its last response.
`stepping`: optimiser steps. `starting`: from asking for a training to its first step,
i.e. reading pairs, building the trainer, scoring the reference, for every chunk that takes a step. `publishing`: the
checkpoint. `rest`: rewarding after the last response, files of pairs, the database, the loop. It takes some minutes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.measuring import Timings, parser, show
from eva.config import RunConfig
from eva.config.files import load_config
from eva.roles import Generator as Fleet
from eva.roles import Roles, Trainer
from eva.settings import Settings
from eva.types import Checkpoint, Player, PromptResponses, Request, TrainingJob, TrainingResult, TrainingStep
from orchestrator.driver import RolesBuilder, build_roles, drive
from orchestrator.hold.overseer import Overseer
from orchestrator.launch.registration import register_run
from orchestrator.warm_workers import WarmWorkers
from orchestrator.watch.listener import NoListener
from store.runs import stages
from store.session import Store, open_store

PROMPTS, CHUNK, REPEATS, TARGET = 128, 32, 3, 0.95
STAGES = ("judge_batch", "pair", "train")
PARTS = ("generating", "starting", "stepping", "publishing")


@dataclass
class Times:
    """The seconds of an iteration's parts, and of each hand-over: writing (weights and canary), loading in engines.

    `emptying_s`: what the engines take longer in all if they run empty after each chunk. `intervals_s` are those
    between two optimiser steps of one training.
    """

    emptying_s: float = 0.0
    writing_s: list[float] = field(default_factory=list[float])
    loading_s: list[float] = field(default_factory=list[float])
    parts_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    intervals_s: list[float] = field(default_factory=list[float])
    trainings: int = 0

    @property
    def hand_overs_s(self) -> float:
        return sum(self.writing_s) + sum(self.loading_s)

    def parts(self, seconds: float) -> dict[str, float]:
        """Returns the parts of an iteration of so many seconds. Each training's first step counts as a median one."""
        first_s = self.trainings * median(self.intervals_s)
        moved = {"starting": -first_s, "stepping": first_s}
        parts = {name: value + moved.get(name, 0.0) for name, value in self.parts_s.items()}
        return parts | {"rest": seconds - sum(parts.values()) - self.hand_overs_s}


@dataclass
class TimedFleet:
    """A fleet that measures how long it generates, and how long policies inside an iteration take to load."""

    fleet: Fleet
    times: Times
    asked: list[Request] = field(default_factory=list[Request])

    def load(self, policy: Checkpoint) -> None:
        started = time.perf_counter()
        self.fleet.load(policy)
        if policy.step:
            self.times.loading_s.append(time.perf_counter() - started)

    def rest(self) -> None:
        self.fleet.rest()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        asked = list(requests)
        self.asked += asked
        started = time.perf_counter()
        yield from self.fleet.generate(asked)
        self.times.parts_s["generating"] += time.perf_counter() - started

    def measure_emptying(self) -> None:
        """Answers all requests so far in chunks and at once, two times each, and notes the difference of the faster."""
        chunks = [self.asked[start : start + CHUNK] for start in range(0, len(self.asked), CHUNK)]
        seconds: dict[int, list[float]] = {1: [], len(chunks): []}
        for parts in ([self.asked], chunks) * 2:
            started = time.perf_counter()
            for part in parts:
                for _ in self.fleet.generate(part):
                    pass
            seconds[len(parts)].append(time.perf_counter() - started)
        self.times.emptying_s = min(seconds[len(chunks)]) - min(seconds[1])


@dataclass
class TimedTrainer:
    """A trainer that measures its start, its steps, and the time from the last step to the result.

    The latter is a hand-over's where the job hands weights over.
    """

    trainer: Trainer
    times: Times

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return self.trainer.publish_initial(folder, player)

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        times, parts = self.times, self.times.parts_s
        steps_s: list[float] = []
        started = time.perf_counter()

        def reported(step: TrainingStep, total: int) -> None:
            steps_s.append(time.perf_counter())
            report(step, total)

        result = self.trainer.train(job, reported)
        ended = time.perf_counter()
        if not steps_s:
            parts["starting"] += ended - started
            return result
        times.trainings += 1
        times.intervals_s += [later - earlier for earlier, later in pairwise(steps_s)]
        parts["starting"] += steps_s[0] - started
        parts["stepping"] += steps_s[-1] - steps_s[0]
        if job.hand_over is None:
            parts["publishing"] += ended - steps_s[-1]
        else:
            times.writing_s.append(ended - steps_s[-1])
        return result


@dataclass(frozen=True)
class Iteration:
    """One iteration: the seconds of judging, pairing and training, its sampled tokens, and its parts."""

    seconds: float
    tokens: int
    times: Times

    @property
    def per_token_s(self) -> float:
        """Seconds per sampled token, the hand-overs left out."""
        return (self.seconds - self.times.hand_overs_s) / self.tokens


def play(store: Store, settings: Settings, warm: WarmWorkers, prompts: int, *, cut: bool) -> Iteration:
    """Plays the warm-up with or without chunks."""
    changes = [f"prompts.playground={prompts}", "iterations=1", "evaluation.when=never"]
    whole = load_config("playground", changes)
    sync_every = int(whole.training.epochs) * CHUNK // whole.training.batch
    config = load_config("playground", [*changes, f"training.sync_every={sync_every}"]) if cut else whole
    times = Times()
    run = register_run(store, config)
    drive(store, settings, run, NoListener(), build=_timed(times, warm))
    with store.transaction() as conn:
        rows = {row.name: row for row in stages.read_stages(conn, run.id)}
    return Iteration(sum(rows[name].seconds for name in STAGES), int(rows["judge_batch"].counts["tokens"]), times)


def _timed(times: Times, warm: WarmWorkers) -> RolesBuilder:
    @contextmanager
    def build(config: RunConfig, folder: Path, settings: Settings, overseer: Overseer) -> Generator[Roles]:
        with build_roles(config, folder, settings, overseer, fence=1, warm=warm) as roles:
            fleet = TimedFleet(roles.generator, times)
            yield dataclasses.replace(roles, generator=fleet, trainer=TimedTrainer(roles.trainer, times))
            if config.training.sync_every is None:
                fleet.measure_emptying()

    return build


def compare(prompts: int) -> tuple[Timings, dict[str, float], dict[str, dict[str, float]]]:
    """Returns seconds per thousand sampled tokens without the hand-overs, what these took, and the parts of each side.

    The parts are seconds per iteration: medians.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), None, None)
        store = open_store(settings)
        with WarmWorkers(settings) as warm:
            play(store, settings, warm, CHUNK * 2, cut=True)  # imports and starts everything
            turns = [
                tuple(play(store, settings, warm, prompts, cut=cut) for cut in (True, False)) for _ in range(REPEATS)
            ]
        store.close()
    cuts, wholes = zip(*turns, strict=True)
    timings = Timings(
        f"semi-online training in chunks of {CHUNK} prompts, of {prompts}: seconds per 1,000 sampled tokens",
        "chunks",
        "whole",
        tuple(1000 * cut.per_token_s for cut in cuts),
        tuple(1000 * whole.per_token_s for whole in wholes),
        TARGET,
    )
    hand_overs = {
        "hand_overs": len(cuts[0].times.loading_s),
        "writing_s": median(second for cut in cuts for second in cut.times.writing_s),
        "loading_s": median(second for cut in cuts for second in cut.times.loading_s),
        "emptying_s": median(whole.times.emptying_s for whole in wholes),
        "ratio_with_hand_overs": median(
            (whole.seconds / whole.tokens) / (cut.seconds / cut.tokens) for cut, whole in turns
        ),
    }
    return timings, hand_overs, {"chunks": _median_parts(cuts), "whole": _median_parts(wholes)}


def _median_parts(turns: Iterable[Iteration]) -> dict[str, float]:
    parts = [turn.times.parts(turn.seconds) for turn in turns]
    return {name: median(part[name] for part in parts) for name in parts[0]}


def main() -> None:
    asked = parser(__doc__, prompts=PROMPTS).parse_args()
    timings, hand_overs, parts = compare(asked.prompts)
    show(timings, as_json=asked.json)
    if asked.json:
        print(json.dumps(hand_overs | {"parts_s": parts}))
        return
    for side, seconds in parts.items():
        print(f"  {side:<9} " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
    writing_s, loading_s = hand_overs["writing_s"], hand_overs["loading_s"]
    print(f"  of generating the chunks, the engines running empty takes {hand_overs['emptying_s']:.2f} s")
    print(
        f"  hand-overs: {hand_overs['hand_overs']:.0f}, each {writing_s:.2f} s to write and measure, "
        f"{loading_s:.2f} s to load and prove; with them the ratio is {hand_overs['ratio_with_hand_overs']:.2f}"
    )


if __name__ == "__main__":
    main()
