import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from eva.errors import (
    EngineDiedError,
    EvolverError,
    InfrastructureError,
    InputError,
    LibraryError,
    NoRoomError,
    RayAwayError,
    RunStoppedError,
)
from eva.roles import Roles
from eva.settings import Settings
from eva.types import (
    Checkpoint,
    Mutation,
    PromptResponses,
    Reply,
    Reward,
    RewardedResponses,
    TrainingJob,
    TrainingResult,
    TrainingStep,
)
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import prepare
from store.game import responses
from store.rows import RunRow, StageRow
from store.runs import runs, stages
from store.session import Store
from store.views.fingerprint import Fingerprint
from store.views.report import heldout_scores
from tests.support.decisions import decisions, fingerprint_of
from tests.support.fakes import (
    Died,
    FakeEvolver,
    FakeGenerator,
    FakeRewarder,
    FakeTrainer,
    Recorder,
    always,
    fake_config,
    fake_roles,
    skill_of,
)

ITERATION = ["judge_pool", "estimate", "sample", "evolve", "mix", "judge_batch", "audit", "pair", "train", "evaluate"]


@dataclass
class Game:
    """A run on fakes, played as far as the roles let it."""

    store: Store
    settings: Settings
    run: RunRow

    def play(self, roles: Roles, listener: Recorder | None = None) -> Recorder:
        listener = listener or Recorder()
        run = self.read(lambda conn: runs.get_run(conn, self.run.id))
        drive(self.store, self.settings, run, listener, build=always(roles), ttl_s=2.0)
        return listener

    def read(self, query: Callable[..., Any]) -> Any:
        with self.store.transaction() as conn:
            return query(conn)

    def decisions(self) -> dict[str, Any]:
        return decisions(self.store, self.run)

    def fingerprint(self) -> Fingerprint:
        return fingerprint_of(self.store, self.run)


@pytest.fixture
def new_game(store: Store, tmp_path: Path) -> Callable[..., Game]:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    return lambda **changes: Game(store, settings, register_run(store, fake_config(**changes)))


@dataclass
class Undisturbed:
    """What the default game gives, and what its parts saw, when nothing happens to it."""

    row: RunRow
    stages: list[StageRow]
    decided: dict[str, Any]
    fingerprint: Fingerprint
    correct: list[int]
    heard: Recorder
    generator: FakeGenerator
    trainer: FakeTrainer


_undisturbed: list[Undisturbed] = []


@pytest.fixture
def undisturbed(new_game: Callable[..., Game]) -> Undisturbed:
    """The default game, played once for all tests."""
    if not _undisturbed:
        game, generator, trainer = new_game(), FakeGenerator(), FakeTrainer()
        heard = game.play(fake_roles(generator=generator, trainer=trainer))
        row = game.read(lambda conn: runs.get_run(conn, game.run.id))
        played = game.read(lambda conn: stages.read_stages(conn, game.run.id))
        _undisturbed.append(
            Undisturbed(row, played, game.decisions(), game.fingerprint(), correct(game), heard, generator, trainer)
        )
    return _undisturbed[0]


def correct(game: Game) -> list[int]:
    """How many held-out responses of each policy are correct."""
    rows = game.read(lambda conn: heldout_scores(conn, game.run.id, 0.9))
    return [sum(row.correct for row in rows if row.checkpoint == number) for number in range(4)]


def test_another_stream_gives_the_same_prompts_other_draws(new_game: Callable[..., Game]) -> None:
    def draws(stream: int) -> dict[tuple[int, int], int]:
        game = new_game(iterations=1, generation={"n": 4, "stream": stream})
        game.play(fake_roles())
        rows = game.read(lambda conn: responses.read_responses(conn, game.run.id, 0, range(24)))
        return {(row.number, response.sample): response.seed for row in rows for response in row.responses}

    first, second = draws(0), draws(1)
    assert first.keys() == second.keys() and len(first) == 24 * 4
    assert not set(first.values()) & set(second.values())


def test_a_run_plays_every_stage_in_order_and_ends_finished(undisturbed: Undisturbed) -> None:
    assert undisturbed.heard.stages == [
        (0, "evaluate_initial"),
        (0, "judge_batch"),
        (0, "audit"),
        (0, "pair"),
        (0, "train"),
        (0, "evaluate"),
        *((iteration, stage) for iteration in (1, 2) for stage in ITERATION),
    ]
    assert (undisturbed.row.status, undisturbed.row.iteration) == ("finished", 3)
    assert all(stage.status == "done" for stage in undisturbed.stages)


def test_each_iteration_keeps_its_data_and_trains_the_policy_before_it(undisturbed: Undisturbed) -> None:
    trainer, decided = undisturbed.trainer, undisturbed.decided
    assert [(job.policy.number, job.number, job.policy.path.rpartition("-")[2]) for job in trainer.jobs] == [
        (0, 1, "1"),
        (1, 2, "2"),
        (2, 3, "3"),
    ]
    assert all(job.reference == job.policy for job in trainer.jobs)
    assert len({job.seed for job in trainer.jobs}) == 3
    assert all(len(batch) == 24 for batch in decided["batches"]) and all(len(pairs) > 5 for pairs in decided["pairs"])
    assert len({row[:3] for row in decided["accuracy"]}) == 4 * 3 * 2


def test_children_remember_parent_operator_root_and_birth(undisturbed: Undisturbed) -> None:
    everyone = undisturbed.decided["prompts"]
    by_number = {prompt.number: prompt for prompt in everyone}
    assert [prompt.number for prompt in everyone] == list(range(len(everyone)))
    children = [prompt for prompt in everyone if prompt.born >= 0]
    assert {prompt.born for prompt in children} == {1, 2} and max(prompt.depth for prompt in children) > 4
    for child in children:
        parent = by_number[child.parent]
        assert (child.root, child.depth) == (parent.root, parent.depth + 1)
        assert child.text.startswith(f"{parent.text} and {child.operator}")


def test_buffer_prompts_are_not_asked_again_by_the_solver(undisturbed: Undisturbed) -> None:
    assert set(undisturbed.generator.asked.values()) == {1}
    buffered = [row for batch in undisturbed.decided["batches"][1:] for row in batch if row.buffer]
    assert len(buffered) >= 8


def test_the_same_seed_gives_the_same_decisions_and_another_does_not(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    games = [new_game(seed=seed) for seed in (7, 8)]
    for game in games:
        game.play(fake_roles())
    same, other = (game.decisions() for game in games)
    one = undisturbed.decided
    assert one == same and one["prompts"] != other["prompts"] and one["pairs"] != other["pairs"]
    assert undisturbed.fingerprint == games[0].fingerprint() != games[1].fingerprint()


def test_without_training_the_held_out_accuracy_stays_flat(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    untaught = new_game()
    untaught.play(fake_roles(trainer=FakeTrainer(learns=False)))
    assert len(set(correct(untaught))) == 1 and undisturbed.correct[-1] > undisturbed.correct[0]


@pytest.mark.parametrize("kills", [(0, 20, 41), (3, 60, 95), (130,), (170,)])
def test_a_run_killed_while_answering_ends_as_if_nothing_had_happened(
    new_game: Callable[..., Game], undisturbed: Undisturbed, kills: tuple[int, ...]
) -> None:
    killed = new_game()
    for asked in kills:
        with pytest.raises(Died):
            killed.play(fake_roles(generator=FakeGenerator(die_after=asked)))
    killed.play(fake_roles())
    assert killed.fingerprint() == undisturbed.fingerprint


def test_a_run_killed_after_each_of_its_stages_ends_as_if_nothing_had_happened(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    killed, generators, trainer = new_game(), list[FakeGenerator](), FakeTrainer()
    to_come = list(undisturbed.heard.stages)

    def die(iteration: int, stage: str) -> None:
        assert (iteration, stage) == to_come.pop(0), "a stage that was over was played again"
        raise Died

    while to_come:
        generators.append(FakeGenerator())
        with pytest.raises(Died):
            killed.play(fake_roles(generator=generators[-1], trainer=trainer), Recorder(on_close=die))
    killed.play(fake_roles(generator=FakeGenerator(die_after=0), trainer=trainer))
    assert killed.fingerprint() == undisturbed.fingerprint
    asked = sum((generator.asked for generator in generators), Counter())
    assert asked == undisturbed.generator.asked, "a finished response was generated twice"
    assert len(trainer.jobs) == 3, "a finished job was trained twice"


def test_a_run_that_is_paused_stops_at_the_next_batch_and_goes_on_later(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    paused = new_game()

    def wish(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "mix"):
            with paused.store.transaction() as conn:
                runs.set_desired(conn, paused.run.id, "pause")

    with pytest.raises(RunStoppedError, match="eva run --resume"):
        paused.play(fake_roles(), Recorder(on_close=wish))
    assert paused.read(lambda conn: runs.get_run(conn, paused.run.id)).status == "paused"
    with pytest.raises(RunStoppedError, match="was asked to pause"):
        paused.play(fake_roles())
    prepare(paused.store, paused.run)
    paused.play(fake_roles())
    assert paused.fingerprint() == undisturbed.fingerprint


def test_ctrl_c_leaves_the_run_paused_with_all_that_was_finished(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    class Interrupted(FakeEvolver):
        def evolve(self, mutation: Mutation) -> Reply:
            if mutation.text.count(" and ") > 3:
                raise KeyboardInterrupt
            return super().evolve(mutation)

    game = new_game()
    with pytest.raises(KeyboardInterrupt):
        game.play(fake_roles(evolver=Interrupted()))
    assert game.read(lambda conn: runs.get_run(conn, game.run.id)).status == "paused"
    game.play(fake_roles())
    assert game.fingerprint() == undisturbed.fingerprint


def test_a_failure_of_infrastructure_is_told_in_the_runs_row_and_can_be_resumed(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    class Broken(FakeEvolver):
        def evolve(self, mutation: Mutation) -> Reply:
            raise EvolverError("the evolver's service is away")

    game = new_game()
    with pytest.raises(EvolverError):
        game.play(fake_roles(evolver=Broken()))
    row = game.read(lambda conn: runs.get_run(conn, game.run.id))
    assert row.status == "failed" and "service is away" in (row.error or "")
    game.play(fake_roles())
    assert game.fingerprint() == undisturbed.fingerprint


@pytest.mark.parametrize(
    "lost",
    [
        EngineDiedError("engine 0, the last one, died"),
        NoRoomError("no machine has room"),
        RayAwayError("Ray did not start on this machine in 5 tries"),
    ],
)
def test_a_run_whose_last_engine_is_lost_is_paused_with_the_reason_and_goes_on_later(
    new_game: Callable[..., Game], undisturbed: Undisturbed, lost: InfrastructureError
) -> None:
    class Gone(FakeGenerator):
        def load(self, policy: Checkpoint) -> None:
            if skill_of(policy) > 0:
                raise lost
            super().load(policy)

    game = new_game()
    with pytest.raises(type(lost)):
        game.play(fake_roles(generator=Gone()))
    row = game.read(lambda conn: runs.get_run(conn, game.run.id))
    assert row.status == "paused" and str(lost) in (row.error or "")
    game.play(fake_roles())
    assert game.fingerprint() == undisturbed.fingerprint


def test_what_a_library_raises_is_told_in_a_sentence_and_its_traceback_is_in_the_log(
    new_game: Callable[..., Game], caplog: pytest.LogCaptureFixture
) -> None:
    class Careless(FakeTrainer):
        def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
            yaml.safe_load("{")
            return super().train(job, report)

    game = new_game()
    with pytest.raises(LibraryError, match="yaml failed with ParserError: while parsing"):
        game.play(fake_roles(trainer=Careless()))
    row = game.read(lambda conn: runs.get_run(conn, game.run.id))
    assert row.status == "failed" and (row.error or "").startswith("yaml failed with ParserError")
    assert any(record.exc_info and "yaml failed" in record.getMessage() for record in caplog.records)


def test_rewarders_rest_with_the_engines_before_every_training(new_game: Callable[..., Game]) -> None:
    rests: list[str] = []

    class Resting(FakeTrainer):
        def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
            rests.append("trains")
            return super().train(job, report)

    roles = dataclasses.replace(fake_roles(trainer=Resting()), rest_rewarders=(lambda: rests.append("rests"),))
    new_game(iterations=2).play(roles)
    assert rests[:2] == ["rests", "trains"] and rests.count("rests") == rests.count("trains") > 1


@pytest.mark.parametrize("info_from", ["fresh", "reuse"])
def test_a_prompt_that_cannot_be_answered_is_quarantined_and_the_run_goes_on(
    info_from: str, new_game: Callable[..., Game]
) -> None:
    game = new_game(iterations=2, info_from=info_from)
    game.play(fake_roles(generator=FakeGenerator(unanswerable=frozenset({3, 30}))))
    failed = game.read(lambda conn: responses.read_failures(conn, game.run.id, 0))
    assert failed == {3: "the prompt is too long"}
    first = {row.prompt: row for row in game.decisions()["batches"][0]}
    assert first[3].info is None and first[3].reason == "unanswered" and len(first) == 24
    assert 3 not in {choice.number for choice in game.decisions()["pairs"][0]}


class Indifferent(FakeRewarder):
    """Gives equal rewards to the responses of trained policies."""

    def __init__(self, generator: FakeGenerator) -> None:
        self._generator = generator

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            policy = self._generator.policy
            if policy is not None and policy.number:
                yield RewardedResponses(one, tuple(Reward(0.5) for _ in one.responses))
            else:
                yield from super().reward([one])


def test_a_later_batch_without_a_gap_trains_nothing_and_says_so(new_game: Callable[..., Game]) -> None:
    trainer, generator = FakeTrainer(), FakeGenerator()
    game = new_game(iterations=2)
    heard = game.play(fake_roles(trainer=trainer, generator=generator, rewarder=Indifferent(generator)))
    assert len(trainer.jobs) == 1 and heard.counts[1, "train"] == {"steps": 0, "dropped": {}}
    assert heard.counts[1, "pair"]["pairs"] == 0


def test_a_first_batch_without_a_pair_stops_the_run_with_the_reason(new_game: Callable[..., Game]) -> None:
    trainer = FakeTrainer()
    game = new_game(pairs={"min_margin": 100.0}, iterations=2)
    with pytest.raises(InputError, match=r"none of the 24 prompts .* rewards differ by pairs.min_margin"):
        game.play(fake_roles(trainer=trainer))
    assert trainer.jobs == []
    row = game.read(lambda conn: runs.get_run(conn, game.run.id))
    assert row.status == "failed" and "nothing to train on" in (row.error or "")


@dataclass
class Refusing:
    """A rewarder that gives no reward to a share of the prompts."""

    share: float = 1.0
    name: str = "refusing"

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            given = one.number % 10 >= 10 * self.share
            reward = Reward(0.0) if given else Reward(None, "the function returned a dict")
            rewards = tuple(
                replace(reward, value=index / 4) if given else reward for index in range(len(one.responses))
            )
            yield RewardedResponses(one, rewards)


def test_a_stage_in_which_nothing_is_usable_stops_the_run_with_the_reason_and_an_example(
    new_game: Callable[..., Game],
) -> None:
    game = new_game()
    said = (
        r"none of the 96 responses to 24 prompts .*96 responses have no reward: the function returned a dict.*prompt 0"
    )
    with pytest.raises(InputError, match=said):
        game.play(fake_roles(rewarder=Refusing()))
    # it is the same when it is played again, and nothing is generated twice
    generator = FakeGenerator()
    with pytest.raises(InputError, match=said):
        game.play(fake_roles(rewarder=Refusing(), generator=generator))
    assert not generator.asked
    assert game.read(lambda conn: runs.get_run(conn, game.run.id)).status == "failed"


def test_reasons_that_quote_different_texts_are_one_reason(new_game: Callable[..., Game]) -> None:
    class Quoting(FakeRewarder):
        def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
            for one in prompts:
                why = f"the judge's reply has no verdict; it ends \"I can't say of {one.text}\""
                yield RewardedResponses(one, (Reward(None, why if one.number > 4 else "died"),) * len(one.responses))

    with pytest.raises(InputError, match=r"76 responses have no reward: the judge's reply has no verdict.*prompt 5"):
        new_game().play(fake_roles(rewarder=Quoting()))


def test_an_evaluation_without_any_reward_warns(
    new_game: Callable[..., Game], caplog: pytest.LogCaptureFixture
) -> None:
    new_game(iterations=1).play(fake_roles(evaluator=Refusing()))
    told = {record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()}
    assert len(told) == 1 and "100% of" in told.pop()


def test_prompts_that_are_all_too_long_stop_the_run(new_game: Callable[..., Game]) -> None:
    game = new_game(evaluation={})
    with pytest.raises(InputError, match=r"24 prompts got no response: the prompt is too long.*prompt 0.*Shorten"):
        game.play(fake_roles(generator=FakeGenerator(unanswerable=frozenset(range(24)))))


def test_a_share_of_failures_warns(new_game: Callable[..., Game], caplog: pytest.LogCaptureFixture) -> None:
    game = new_game(iterations=1)
    game.play(fake_roles(rewarder=Refusing(0.3)))
    (warning,) = {record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()}
    assert warning.startswith("38% of 96 responses cannot be used; most often: 36 responses have no reward")


def test_without_a_warm_start_the_creator_plays_from_the_first_iteration(new_game: Callable[..., Game]) -> None:
    game = new_game(warm_start=False, iterations=1)
    heard = game.play(fake_roles())
    assert heard.stages[1:] == [(0, stage) for stage in ITERATION]
    batch = game.decisions()["batches"][0]
    assert len(batch) == 24 and sum(not row.buffer for row in batch) > 12


def test_the_archive_pool_is_every_prompt_so_far_and_the_batch_stays_as_large(new_game: Callable[..., Game]) -> None:
    game = new_game(pool="archive")
    game.play(fake_roles())
    decided = game.decisions()
    born_before = sum(prompt.born < 2 for prompt in decided["prompts"])
    assert len(decided["estimates"][2]) == born_before > 24 == len(decided["batches"][2])


def test_reused_informativeness_asks_the_creators_prompts_nothing_new(
    new_game: Callable[..., Game], undisturbed: Undisturbed
) -> None:
    reused = FakeGenerator()
    game = new_game(info_from="reuse")
    game.play(fake_roles(generator=reused))
    assert sum(reused.asked.values()) < 0.8 * sum(undisturbed.generator.asked.values())
    assert all(row.checkpoint < 2 for row in game.decisions()["estimates"][2])


def test_training_from_scratch_starts_at_the_given_model_with_all_pairs_so_far(new_game: Callable[..., Game]) -> None:
    trainer = FakeTrainer()
    game = new_game(training={"mode": "scratch"})
    game.play(fake_roles(trainer=trainer))
    counts = [len(Path(job.pairs_path).read_text().splitlines()) for job in trainer.jobs]
    pairs = [len(pairs) for pairs in game.decisions()["pairs"]]
    assert [job.policy.number for job in trainer.jobs] == [0, 0, 0]
    assert counts == [pairs[0], sum(pairs[:2]), sum(pairs)]


def test_the_pairs_of_a_job_are_texts_with_their_rewards(new_game: Callable[..., Game]) -> None:
    trainer = FakeTrainer()
    new_game(iterations=1).play(fake_roles(trainer=trainer))
    rows = [json.loads(line) for line in Path(trainer.jobs[0].pairs_path).read_text().splitlines()]
    assert all(row["chosen_reward"] > row["rejected_reward"] and row["chosen"] != row["rejected"] for row in rows)
