"""The game with an online loss, on fakes: advantages in place of pairs, the sampled tokens to the trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.prompts.reasons import reasons
from eva.errors import RunStoppedError
from eva.settings import Settings
from eva.solver.advantages import EPSILON
from eva.solver.weighted_responses import WeightedResponse, iter_weighted_responses
from eva.types import Prompt, PromptResponses, Request, ResponseAdvantage, SamplingSettings, TrainingJob
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import batches, checkpoints, pairs, prompts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.views.exports import iter_pairs
from store.views.summary.run_summary import summary_of
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeGenerator, FakeTrainer, Recorder, always, fake_config, fake_roles

GENERATION = {"n": 4, "max_tokens": 64, "top_p": 1.0, "temperature": 1.0}


class ReadingTrainer(FakeTrainer):
    """Remembers the rows of each job."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[WeightedResponse]] = []

    def train(self, job: TrainingJob, report: Any) -> Any:
        self.rows.append([*iter_weighted_responses(Path(job.pairs_path))])
        return super().train(job, report)


class CuttingGenerator(FakeGenerator):
    """Cuts every third response to a prompt at the token limit; the prompts of `alike` get one text."""

    def _answer(self, request: Request) -> PromptResponses:
        answered = super()._answer(request)
        if request.sampling.temperature == 0:
            return answered
        made = [
            replace(
                response,
                finish="length" if response.sample == 2 else "stop",
                text="right answer 1" if request.number < 3 else response.text,
            )
            for response in answered.responses
        ]
        return replace(answered, responses=tuple(made))


class Game:
    """A run of an online loss on fakes."""

    def __init__(self, store: Store, folder: Path, **changes: Any) -> None:
        self.store, self.settings = store, Settings(folder, None, None)
        given = {"generation": GENERATION, "training": {"loss": "rloo"}, "iterations": 2} | changes
        self.run: RunRow = register_run(store, fake_config(**given))

    def play(self, listener: Recorder | None = None, /, **roles: Any) -> Recorder:
        listener = listener or Recorder()
        row = self.read(lambda conn: runs.get_run(conn, self.run.id))
        drive(self.store, self.settings, row, listener, build=always(fake_roles(**roles)), ttl_s=2.0)
        return listener

    def read(self, query: Callable[..., Any]) -> Any:
        with self.store.transaction() as conn:
            return query(conn)

    def prompts(self, numbers: list[int]) -> list[Prompt]:
        return self.read(lambda conn: prompts.read_prompts(conn, self.run.id, numbers))

    def advantages(self, iteration: int) -> list[ResponseAdvantage]:
        return self.read(lambda conn: pairs.read_advantages(conn, self.run.id, iteration))


@pytest.fixture
def new_game(store: Store, tmp_path: Path) -> Callable[..., Game]:
    return lambda **changes: Game(store, tmp_path, **changes)


def test_every_usable_response_is_trained_on_as_it_was_sampled(new_game: Callable[..., Game]) -> None:
    game, trainer = new_game(), ReadingTrainer()
    heard = game.play(trainer=trainer)
    assert (0, "advantage") in heard.stages and (0, "pair") not in heard.stages
    for iteration, (job, rows) in enumerate(zip(trainer.jobs, trainer.rows, strict=True)):
        stored = [row for row in game.advantages(iteration) if row.advantage is not None]
        assert [(row.number, row.sample, row.reward, row.advantage) for row in rows] == [
            (row.number, row.sample, row.reward, row.advantage) for row in stored
        ]
        assert heard.counts[iteration, "advantage"]["responses"] == len(rows) > 0
        assert job.sampling == SamplingSettings(1.0, 1.0, 64)
        texts = {prompt.number: prompt.text for prompt in game.prompts([row.number for row in rows])}
        assert all(bytes(row.prompt_ids.tolist()).decode() == texts[row.number] for row in rows)
        assert all(row.logprobs_T.tolist() == [-(token % 8) / 8 for token in row.token_ids_T.tolist()] for row in rows)
    assert game.read(lambda conn: pairs.read_pairs(conn, game.run.id, 0)) == []


def test_the_advantages_of_a_prompt_are_those_of_the_configs_rule(new_game: Callable[..., Game]) -> None:
    game = new_game(iterations=1, training={"loss": "grpo"})
    game.play()
    by_prompt: dict[int, list[ResponseAdvantage]] = {}
    for row in game.advantages(0):
        by_prompt.setdefault(row.number, []).append(row)
    number, rows = next((number, rows) for number, rows in by_prompt.items() if rows[0].advantage is not None)
    rewards = [row.reward or 0.0 for row in rows]
    mean = sum(rewards) / len(rewards)
    spread = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5 + EPSILON
    assert [row.advantage for row in rows] == pytest.approx([(reward - mean) / spread for reward in rewards]), number


def test_what_is_not_trained_on_is_stored_counted_and_told(new_game: Callable[..., Game]) -> None:
    game = new_game(iterations=1)
    heard = game.play(generator=CuttingGenerator(unanswerable=frozenset({5})))
    rows = game.advantages(0)
    assert {row.reason for row in rows if row.sample == 2} == {"cut"}
    assert {row.reason for row in rows if row.number < 3} == {"cut", "equal_rewards"}
    assert 5 not in {row.number for row in rows}
    counts = heard.counts[0, "advantage"]
    assert counts["skipped"] == {"unanswered": 1, "no_gap": sum(1 for number in range(24) if _flat(rows, number))}
    left_out = [row.reason for row in rows if row.reason]
    assert counts["left_out"] == {reason: left_out.count(reason) for reason in dict.fromkeys(left_out)}

    (prompt,) = game.prompts([1])
    told = [*reasons(prompt, game.read(lambda conn: batches.why_trained(conn, game.run.id, 1)))]
    assert "response 2 (reward" in told[4] and told[4].endswith("not trained on: cut at the token limit.")
    assert told[2].endswith("not trained on: all usable responses to the prompt have the same reward.")


def _flat(rows: list[ResponseAdvantage], number: int) -> bool:
    mine = [row for row in rows if row.number == number]
    return bool(mine) and all(row.reason is not None for row in mine)


def test_views_of_a_run_without_pairs_say_what_it_trained_on(new_game: Callable[..., Game]) -> None:
    game = new_game(iterations=1)
    heard = game.play()
    summary = game.read(lambda conn: summary_of(conn, runs.get_run(conn, game.run.id), "fake"))
    (iteration,) = summary.iterations
    assert iteration.pairs is None and iteration.weighed.responses == heard.counts[0, "advantage"]["responses"]
    assert game.read(lambda conn: [*iter_pairs(conn, game.run.id)]) == []


def test_a_run_killed_after_each_of_its_stages_ends_as_if_nothing_had_happened(
    store: Store, new_game: Callable[..., Game]
) -> None:
    undisturbed, killed, generator = new_game(), new_game(), FakeGenerator()
    to_come = list(undisturbed.play(generator=generator).stages)
    generators, trainer = list[FakeGenerator](), FakeTrainer()

    def die(iteration: int, stage: str) -> None:
        assert (iteration, stage) == to_come.pop(0), "a stage that was over was played again"
        raise Died

    while to_come:
        generators.append(FakeGenerator())
        with pytest.raises(Died):
            killed.play(Recorder(on_close=die), generator=generators[-1], trainer=trainer)
    killed.play(generator=FakeGenerator(die_after=0), trainer=trainer)
    ends = [fingerprint_of(store, game.run) for game in (undisturbed, killed)]
    assert ends[0] == ends[1] and {part.part for part in ends[0].parts} >= {"advantages", "batch"}
    assert sum((each.asked for each in generators), Counter()) == generator.asked
    assert len(trainer.jobs) == 2


@pytest.mark.parametrize("kills", [(0, 20, 41), (30, 60)])
def test_a_run_killed_while_answering_gives_the_trainer_the_same_file(
    kills: tuple[int, ...], store: Store, new_game: Callable[..., Game]
) -> None:
    undisturbed, killed = new_game(), new_game()
    undisturbed.play()
    for asked in kills:
        with pytest.raises(Died):
            killed.play(generator=FakeGenerator(die_after=asked))
    killed.play()
    # the fake trainer's digests are those of the files that it was given
    assert fingerprint_of(store, killed.run) == fingerprint_of(store, undisturbed.run)


def test_a_step_beyond_its_bound_pauses_the_run_and_says_what_to_do(new_game: Callable[..., Game]) -> None:
    game = new_game(training={"loss": "rloo", "stop_gap": 0.025, "stop_kl": 1.2})
    with pytest.raises(
        RunStoppedError, match=r"step 3 .*gap is 0.03, above training.stop_gap, which is 0.025.*kl_k3 is 1.5"
    ):
        game.play()
    row = game.read(lambda conn: runs.get_run(conn, game.run.id))
    assert row.status == "paused"
    every = game.read(lambda conn: events.events_after(conn, game.run.id))
    told = [event.data for event in every if event.kind == "drift"]
    assert [(data["figure"], data["bound"], data["step"]) for data in told] == [("gap", 0.025, 3), ("kl_k3", 1.2, 3)]
    assert game.read(lambda conn: checkpoints.read_checkpoint(conn, game.run.id, 1)) is None


def test_semi_online_every_chunk_is_weighed_on_its_own_and_a_killed_run_ends_the_same(
    store: Store, new_game: Callable[..., Game]
) -> None:
    training = {"loss": "rloo", "sync_every": 2, "epochs": 1, "batch": 16}
    undisturbed, killed = (new_game(iterations=1, training=training) for _ in range(2))
    trainer = FakeTrainer()
    heard = undisturbed.play(trainer=trainer)
    rows = undisturbed.advantages(0)
    weighed = [row for row in rows if row.reason is None]
    assert [len(job.chunks) for job in trainer.jobs] == [1, 2, 3] and len(rows) == 24 * 4
    assert heard.counts[0, "advantage"]["responses"] == len(weighed)
    left_out = Counter(row.reason for row in rows if row.reason)
    assert heard.counts[0, "advantage"]["left_out"] == dict(left_out)
    learned = [row for chunk in trainer.jobs[-1].chunks for row in iter_weighted_responses(Path(chunk.pairs_path))]
    assert Counter((row.number, row.sample) for row in learned) == Counter((row.number, row.sample) for row in weighed)
    for asked in (3, 9, 12):
        with pytest.raises(Died):
            killed.play(generator=FakeGenerator(die_after=asked))
    killed.play()
    assert fingerprint_of(store, killed.run) == fingerprint_of(store, undisturbed.run)
