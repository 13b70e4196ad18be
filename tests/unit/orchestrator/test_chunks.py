"""Semi-online training on fakes: which policy answers, what is stored, and that kills change nothing."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from eva.errors import InputError
from eva.roles import Roles
from eva.settings import Settings
from eva.solver.chunks import cut_batch
from eva.types import (
    Checkpoint,
    PromptResponses,
    Reward,
    RewardedResponses,
    TrainingJob,
    TrainingResult,
    TrainingStep,
)
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import pairs
from store.rows import RunRow, StageRow
from store.runs import events, stages
from store.schema.tables import responses as response_table
from store.session import Store
from store.views import training_metrics
from store.views.fingerprint import Fingerprint
from store.views.training_metrics import ChunkFigures
from tests.support.decisions import fingerprint_of
from tests.support.fakes import (
    Died,
    FakeGenerator,
    FakeRewarder,
    FakeTrainer,
    Recorder,
    always,
    fake_config,
    fake_roles,
    skill_of,
)

SYNCED = {"batch": 4, "epochs": 2, "sync_every": 4}
"""Chunks of 8 prompts: 3 in a batch of 24."""


@dataclass
class SteppingGenerator(FakeGenerator):
    """Notes which policies were loaded, by checkpoint, step and skill."""

    loaded: list[tuple[int, int, int]] = field(default_factory=list)

    def load(self, policy: Checkpoint) -> None:
        if policy != self.policy:
            self.loaded.append((policy.number, policy.step, skill_of(policy)))
        super().load(policy)


@dataclass
class Game:
    store: Store
    settings: Settings
    run: RunRow

    def play(self, roles: Roles, listener: Recorder | None = None) -> Recorder:
        listener = listener or Recorder()
        drive(self.store, self.settings, self.run, listener, build=always(roles), ttl_s=2.0)
        return listener

    def read(self, query: Callable[..., Any]) -> Any:
        with self.store.transaction() as conn:
            return query(conn)

    def fingerprint(self) -> Fingerprint:
        return fingerprint_of(self.store, self.run)

    def figures(self) -> list[ChunkFigures]:
        return self.read(lambda conn: training_metrics.chunk_figures(conn, self.run.id))

    def stages(self) -> list[StageRow]:
        return self.read(lambda conn: stages.read_stages(conn, self.run.id))

    def steps(self, iteration: int) -> Counter[int]:
        """How many responses of an iteration's policies were sampled after so many steps."""
        rows = self.read(
            lambda conn: conn.execute(
                select(response_table.c.step).where(
                    response_table.c.run_id == self.run.id, response_table.c.checkpoint == iteration
                )
            ).all()
        )
        return Counter(row.step for row in rows)


@pytest.fixture
def new_game(store: Store, tmp_path: Path) -> Callable[..., Game]:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    return lambda **changes: Game(
        store, settings, register_run(store, fake_config(**{"training": SYNCED, "iterations": 2} | changes))
    )


@dataclass
class Undisturbed:
    game: Game
    heard: Recorder
    generator: SteppingGenerator
    trainer: FakeTrainer
    fingerprint: Fingerprint
    figures: list[ChunkFigures]
    stages: list[StageRow]
    steps: list[Counter[int]]


_undisturbed: list[Undisturbed] = []


@pytest.fixture
def undisturbed(new_game: Callable[..., Game]) -> Undisturbed:
    """The cut game, played once for all tests."""
    if not _undisturbed:
        game, generator, trainer = new_game(), SteppingGenerator(), FakeTrainer()
        heard = game.play(fake_roles(generator=generator, trainer=trainer))
        _undisturbed.append(
            Undisturbed(
                game,
                heard,
                generator,
                trainer,
                game.fingerprint(),
                game.figures(),
                game.stages(),
                [game.steps(iteration) for iteration in (0, 1)],
            )
        )
    return _undisturbed[0]


def test_every_chunk_is_answered_by_the_newest_policy(undisturbed: Undisturbed) -> None:
    # the warm-up: 24 seed prompts in 3 chunks; the policy of chunk k has taken the steps of those before
    starts = [row.start or 0 for row in undisturbed.figures if row.iteration == 0]
    assert starts[0] == 0 and starts == sorted({start for start in starts if start is not None})
    assert undisturbed.steps[0] == dict.fromkeys(starts, 8 * 4)
    inside = [(number, step) for number, step, _ in undisturbed.generator.loaded if step]
    assert [step for number, step in inside if number == 0] == starts[1:]
    assert [skill for number, _, skill in undisturbed.generator.loaded if number == 0] == [1, 2, 3]


def test_prompts_that_the_pool_has_judged_keep_their_responses_and_their_staleness_is_told(
    undisturbed: Undisturbed,
) -> None:
    later = [row for row in undisturbed.figures if row.iteration == 1]
    assert sum(row.kept for row in later) >= 5
    assert all(value == 1 for value in undisturbed.generator.asked.values()), "a stored response was generated twice"
    stale = [row for row in later if row.chunk > 0]
    assert all(0 < row.staleness < (row.start or 0) for row in stale if row.staleness is not None and row.kept)
    assert later[0].staleness == 0


def test_the_stages_of_a_cut_iteration_are_those_of_an_uncut_one(undisturbed: Undisturbed) -> None:
    names = [row.name for row in undisturbed.stages if row.iteration == 0]
    assert names == ["evaluate_initial", "judge_batch", "pair", "train", "audit", "evaluate"]
    assert all(row.status == "done" and row.attempts == 1 for row in undisturbed.stages)
    judged, paired, trained = (next(row for row in undisturbed.stages if row.name == name) for name in names[1:4])
    assert (judged.done, judged.total, paired.done, paired.total) == (24, 24, 24, 24)
    assert judged.counts["responses"] == 24 * 4
    assert paired.counts["chunks"] == trained.counts["chunks"] == 3
    figures = [row for row in undisturbed.figures if row.iteration == 0]
    assert paired.counts["pairs"] == sum(row.pairs for row in figures)
    assert trained.counts["steps"] == sum(row.steps or 0 for row in figures)


def test_jobs_hold_all_chunks_so_far_and_only_the_last_one_publishes_a_checkpoint(undisturbed: Undisturbed) -> None:
    jobs = undisturbed.trainer.jobs
    assert [(job.number, len(job.chunks), job.hand_over is None) for job in jobs] == [
        (1, 1, False),
        (1, 2, False),
        (1, 3, True),
        (2, 1, False),
        (2, 2, False),
        (2, 3, True),
    ]
    assert all(job.policy.step == 0 and job.planned_steps == 12 for job in jobs)


def test_a_run_without_sync_every_is_what_it_was(new_game: Callable[..., Game]) -> None:
    game, trainer = new_game(training={}), FakeTrainer()
    game.play(fake_roles(trainer=trainer))
    assert game.figures() == [] and game.steps(0).keys() == {0}
    assert all(job.chunks == () and job.hand_over is None for job in trainer.jobs)
    assert not {"chunks", "steps"} & {part.part for part in game.fingerprint().parts}


@dataclass
class PartlyIndifferent(FakeRewarder):
    """Gives equal rewards to all responses to some prompts."""

    equal: frozenset[int]

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            if one.number in self.equal:
                yield RewardedResponses(one, tuple(Reward(0.5) for _ in one.responses))
            else:
                yield from super().reward([one])


def test_a_chunk_without_a_pair_takes_no_step_and_is_counted(new_game: Callable[..., Game]) -> None:
    game, generator = new_game(iterations=1), SteppingGenerator()
    config = fake_config(training=SYNCED)
    second = cut_batch(range(24), 8, config.steps_on, seed=config.seed, iteration=0)[1].prompts
    heard = game.play(fake_roles(generator=generator, rewarder=PartlyIndifferent(frozenset(second))))
    first, blank, third = game.figures()
    assert (blank.pairs, blank.steps, sum(blank.skipped.values())) == (0, 0, 8)
    assert (first.start, third.start) == (0, first.steps)
    assert heard.counts[0, "pair"] == {"pairs": first.pairs + third.pairs, "skipped": {**blank.skipped}, "chunks": 3}


def test_the_trainer_is_not_asked_before_there_are_pairs_for_a_step(new_game: Callable[..., Game]) -> None:
    game, trainer, config = new_game(iterations=1), FakeTrainer(), fake_config(training=SYNCED)
    first = cut_batch(range(24), 8, config.steps_on, seed=config.seed, iteration=0)[0].prompts
    game.play(fake_roles(trainer=trainer, rewarder=PartlyIndifferent(frozenset(first[3:]))))
    assert 0 < game.figures()[0].pairs < SYNCED["batch"]
    assert [len(job.chunks) for job in trainer.jobs] == [2, 3]


def test_a_first_batch_without_any_pair_stops_the_run_after_its_last_chunk(new_game: Callable[..., Game]) -> None:
    game, trainer = new_game(iterations=1), FakeTrainer()
    with pytest.raises(InputError, match="none of the 24 prompts of the first batch gave a preference pair"):
        game.play(fake_roles(trainer=trainer, rewarder=PartlyIndifferent(frozenset(range(24)))))
    assert trainer.jobs == []


@pytest.mark.parametrize("asked", [14, 22, 30, 38, 60, 75, 90, 100])
def test_a_run_killed_while_answering_a_chunk_ends_as_if_nothing_had_happened(
    new_game: Callable[..., Game], undisturbed: Undisturbed, asked: int
) -> None:
    game = new_game()
    with pytest.raises(Died):
        game.play(fake_roles(generator=FakeGenerator(die_after=asked)))
    game.play(fake_roles())
    assert game.fingerprint() == undisturbed.fingerprint
    assert game.figures() == undisturbed.figures


@dataclass
class MortalTrainer(FakeTrainer):
    """Dies in the report of a step of its `job`-th job."""

    job: int = 0

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        if len(self.jobs) == self.job:
            raise Died
        return super().train(job, report)


@pytest.mark.parametrize("job", range(6))
def test_a_run_killed_while_training_on_a_chunk_trains_the_stored_ones_again(
    new_game: Callable[..., Game], undisturbed: Undisturbed, job: int
) -> None:
    game = new_game()
    with pytest.raises(Died):
        game.play(fake_roles(trainer=MortalTrainer(job=job)))
    generator, trainer = SteppingGenerator(), FakeTrainer()
    game.play(fake_roles(generator=generator, trainer=trainer))
    assert game.fingerprint() == undisturbed.fingerprint
    assert len(trainer.jobs[0].chunks) == job % 3 + 1, "the first job of the new driver has all stored chunks"
    assert len(trainer.jobs) == 6 - job


def test_events_tell_of_every_chunk_once(new_game: Callable[..., Game]) -> None:
    game = new_game()
    with pytest.raises(Died):
        game.play(fake_roles(trainer=MortalTrainer(job=2)))
    game.play(fake_roles())
    told = game.read(lambda conn: events.events_after(conn, game.run.id))
    parts = [(row.iteration, row.data["chunk"], row.data["of"]) for row in told if row.kind == "chunk_paired"]
    assert parts == [(iteration, chunk, 3) for iteration in (0, 1) for chunk in (1, 2, 3)]


def test_the_pairs_of_a_chunk_are_those_of_its_prompts(new_game: Callable[..., Game]) -> None:
    game, trainer = new_game(iterations=1), FakeTrainer()
    game.play(fake_roles(trainer=trainer))
    files = [Path(chunk.pairs_path) for chunk in trainer.jobs[-1].chunks]
    in_files = [{json.loads(line)["number"] for line in file.read_text().splitlines()} for file in files]
    sampled = game.read(lambda conn: pairs.sampled_pairs(conn, game.run.id, 0))
    assert set().union(*in_files) == {row.prompt for row in sampled}
    starts = [row.start for row in game.figures()]
    for numbers, start in zip(in_files, starts, strict=True):
        assert {(row.chosen_step, row.rejected_step) for row in sampled if row.prompt in numbers} == {(start, start)}
