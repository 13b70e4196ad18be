"""Compares an iteration in chunks of 32 prompts (semi-online training) with the same iteration as a whole.

    python -m benchmarks.online [--json] [--prompts N]

Both are the warm-up of the playground with every real part: engine, rewarder, TRL, Postgres. They judge, pair and train
in turns, with workers that stay up. What counts is sampled tokens per second of the iteration. The hand-overs, which
only the chunks have (weights written, measured, loaded and proven), are measured apart: the ratio leaves them out, and
they are printed beside it. It takes some minutes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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

PROMPTS, CHUNK, REPEATS, TARGET = 128, 32, 2, 0.95
STAGES = ("judge_batch", "pair", "train")


@dataclass
class HandOvers:
    """The seconds of each hand-over: writing (weights and canary) in the trainer, loading in the engines."""

    writing_s: list[float] = field(default_factory=list[float])
    loading_s: list[float] = field(default_factory=list[float])

    @property
    def total_s(self) -> float:
        return sum(self.writing_s) + sum(self.loading_s)


@dataclass
class TimedFleet:
    """A fleet that measures how long policies inside an iteration take to load."""

    fleet: Fleet
    times: HandOvers

    def load(self, policy: Checkpoint) -> None:
        started = time.perf_counter()
        self.fleet.load(policy)
        if policy.step:
            self.times.loading_s.append(time.perf_counter() - started)

    def rest(self) -> None:
        self.fleet.rest()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        return self.fleet.generate(requests)


@dataclass
class TimedTrainer:
    """A trainer that measures the time from a job's last step to its result, where that hands weights over."""

    trainer: Trainer
    times: HandOvers

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return self.trainer.publish_initial(folder, player)

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        last_s = time.perf_counter()

        def reported(step: TrainingStep, total: int) -> None:
            nonlocal last_s
            last_s = time.perf_counter()
            report(step, total)

        result = self.trainer.train(job, reported)
        if job.hand_over is not None:
            self.times.writing_s.append(time.perf_counter() - last_s)
        return result


@dataclass(frozen=True)
class Iteration:
    """One iteration: the seconds of judging, pairing and training, its sampled tokens, and its hand-overs."""

    seconds: float
    tokens: int
    hand_overs: HandOvers

    @property
    def per_token_s(self) -> float:
        """Seconds per sampled token, the hand-overs left out."""
        return (self.seconds - self.hand_overs.total_s) / self.tokens


def play(store: Store, settings: Settings, warm: WarmWorkers, prompts: int, *, cut: bool) -> Iteration:
    """Plays the warm-up with or without chunks."""
    changes = [f"prompts.playground={prompts}", "iterations=1", "evaluation.when=never"]
    whole = load_config("playground", changes)
    sync_every = int(whole.training.epochs) * CHUNK // whole.training.batch
    config = load_config("playground", [*changes, f"training.sync_every={sync_every}"]) if cut else whole
    times = HandOvers()
    run = register_run(store, config)
    drive(store, settings, run, NoListener(), build=_timed(times, warm))
    with store.transaction() as conn:
        rows = {row.name: row for row in stages.read_stages(conn, run.id)}
    return Iteration(sum(rows[name].seconds for name in STAGES), int(rows["judge_batch"].counts["tokens"]), times)


def _timed(times: HandOvers, warm: WarmWorkers) -> RolesBuilder:
    @contextmanager
    def build(config: RunConfig, folder: Path, settings: Settings, overseer: Overseer) -> Generator[Roles]:
        with build_roles(config, folder, settings, overseer, fence=1, warm=warm) as roles:
            yield dataclasses.replace(
                roles, generator=TimedFleet(roles.generator, times), trainer=TimedTrainer(roles.trainer, times)
            )

    return build


def compare(prompts: int) -> tuple[Timings, dict[str, float]]:
    """Returns seconds per thousand sampled tokens without the hand-overs, and what the hand-overs took."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder), None, None)
        store = open_store(settings)
        with WarmWorkers(settings) as warm:
            play(store, settings, warm, CHUNK * 2, cut=True)  # imports and starts everything
            pairs = [
                tuple(play(store, settings, warm, prompts, cut=cut) for cut in (True, False)) for _ in range(REPEATS)
            ]
        store.close()
    timings = Timings(
        f"semi-online training in chunks of {CHUNK} prompts, of {prompts}: seconds per 1,000 sampled tokens",
        "chunks",
        "whole",
        tuple(1000 * cut.per_token_s for cut, _ in pairs),
        tuple(1000 * whole.per_token_s for _, whole in pairs),
        TARGET,
    )
    cuts = [cut for cut, _ in pairs]
    return timings, {
        "hand_overs": len(cuts[0].hand_overs.loading_s),
        "writing_s": median(second for cut in cuts for second in cut.hand_overs.writing_s),
        "loading_s": median(second for cut in cuts for second in cut.hand_overs.loading_s),
        "ratio_with_hand_overs": median(
            (whole.seconds / whole.tokens) / (cut.seconds / cut.tokens) for cut, whole in pairs
        ),
    }


def main() -> None:
    asked = parser(__doc__, prompts=PROMPTS).parse_args()
    timings, hand_overs = compare(asked.prompts)
    show(timings, as_json=asked.json)
    if asked.json:
        print(json.dumps(hand_overs))
        return
    writing_s, loading_s = hand_overs["writing_s"], hand_overs["loading_s"]
    print(
        f"  hand-overs: {hand_overs['hand_overs']:.0f}, each {writing_s:.2f} s to write and measure, "
        f"{loading_s:.2f} s to load and prove; with them the ratio is {hand_overs['ratio_with_hand_overs']:.2f}"
    )


if __name__ == "__main__":
    main()
