"""The game with a creator that has weights of its own, on fakes: who writes, what it earns, what it learns from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from eva.child_rewards import NOT_WRITTEN
from eva.settings import Settings
from eva.solver.manifest import CREATOR
from eva.solver.weighted_responses import WeightedResponse, iter_weighted_responses
from eva.types import Checkpoint, Player, PromptResponses, Request, Response, TrainingJob
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import batches, checkpoints, evolutions, feedback, prompts
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from tests.support.decisions import fingerprint_of, read_batch
from tests.support.fakes import (
    Died,
    FakeGenerator,
    FakeTrainer,
    Recorder,
    always,
    creator_roles,
    creator_section,
    fake_config,
    recorded,
)
from workers.evolvers import build_evolver


class ReadingTrainer(FakeTrainer):
    """Remembers the rows of the creator's jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[WeightedResponse]] = []

    def train(self, job: TrainingJob, report: Any) -> Any:
        if job.player == "creator":
            self.rows.append([*iter_weighted_responses(Path(job.pairs_path))])
        return super().train(job, report)


class LoadingGenerator(FakeGenerator):
    """Remembers what it loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def load(self, policy: Checkpoint) -> None:
        super().load(policy)
        own = Path(policy.path).parent.name == CREATOR
        step = f"{'creator' if own else 'solver'} {policy.number}"
        if self.loaded[-1:] != [step]:
            self.loaded.append(step)


class ChatGenerator(FakeGenerator):
    """A chat model of the user's as creator: it keeps what it is asked, and writes a prompt; it cannot answer some."""

    def __init__(self) -> None:
        super().__init__()
        self.instructions: list[str] = []

    def _answer(self, request: Request) -> PromptResponses:
        assert self.policy is not None, "asked before a policy was loaded"
        if Path(self.policy.path).parent.name != CREATOR:
            return super()._answer(request)
        self.instructions.append(request.text)
        if request.seed % 7 == 0:
            return PromptResponses(request.number, request.text, (), failure="the prompt is too long")
        text = f"Here is the new prompt:\n\nName {request.seed % 1000} rivers and say what sets them apart."
        response = recorded(Response(0, text, "stop", 9, request.seed))
        return PromptResponses(request.number, request.text, (response,), prompt_ids=(1, 2), prompt_tokens=2)


class Game:
    def __init__(self, store: Store, folder: Path, **creator: Any) -> None:
        self.store, self.settings = store, Settings(folder, None, None)
        self.config = fake_config(evolving=creator_section(**creator))
        self.run: RunRow = register_run(store, self.config)

    def play(self, listener: Recorder | None = None, **roles: Any) -> Recorder:
        listener = listener or Recorder()
        row = self.read(lambda conn: runs.get_run(conn, self.run.id))
        drive(self.store, self.settings, row, listener, build=always(creator_roles(**roles)), ttl_s=2.0)
        return listener

    def read(self, query: Callable[..., Any]) -> Any:
        with self.store.transaction() as conn:
            return query(conn)

    def rewards(self, iteration: int) -> Any:
        return self.read(lambda conn: evolutions.read_creator_rewards(conn, self.run.id, iteration))

    def numbers(self, player: Player) -> list[int]:
        return [one.number for one in self.read(lambda c: checkpoints.read_checkpoints(c, self.run.id, player))]


def test_the_creator_writes_with_its_newest_weights_and_learns_from_what_its_children_were_worth(
    store: Store, tmp_path: Path
) -> None:
    game, generator, trainer = Game(store, tmp_path), LoadingGenerator(), ReadingTrainer()
    game.play(generator=generator, trainer=trainer)

    writes = [step for step in generator.loaded if step.startswith("creator")]
    assert writes == ["creator 0", "creator 2"], "there is nothing to write in the warm-up, nor to learn from"
    assert game.numbers("creator") == [0, 2, 3] and game.numbers("solver") == [0, 1, 2, 3]
    jobs = [job for job in trainer.jobs if job.player == "creator"]
    assert [(job.policy.number, job.number, Path(job.folder).name) for job in jobs] == [
        (0, 2, CREATOR),
        (2, 3, CREATOR),
    ]
    assert all(job.sampling is not None and job.sampling.temperature == 0.5 for job in jobs)

    rewards = game.rewards(1)
    chains = game.read(lambda conn: evolutions.read_chains(conn, game.run.id, 1))
    refused = {(c.source, a.slot, a.attempt) for c in chains for a in c.attempts if a.reason is not None}
    info = {row.prompt: row.info for row in game.read(lambda conn: read_batch(conn, game.run.id, 1))}
    assert refused and {one.reward for one in rewards if (one.source, one.slot, one.attempt) in refused} == {0.0}
    earning = [one for one in rewards if one.regret]
    assert earning and {one.regret for one in earning} <= {*info.values()}
    assert all(one.reward == pytest.approx(one.regret * (1 - one.likeness)) for one in earning)
    born = game.read(lambda conn: prompts.read_prompts(conn, game.run.id))
    assert sorted(one.likeness for one in rewards if one.likeness is not None) == sorted(
        prompt.likeness for prompt in born if prompt.born == 1
    ), "what a child repeats is measured once, at its birth"
    trained = [one for one in rewards if one.advantage is not None]
    read = {(row.number, row.sample): row for row in trainer.rows[0]}
    assert {*read} == {(one.source, one.slot) for one in trained}, "only first replies with an advantage are learnt"
    assert all(read[one.source, one.slot].advantage == one.advantage for one in trained)
    assert all(row.logprobs_T[0] == pytest.approx(-1 / 8) for row in trainer.rows[0]), "as the first weights sampled"
    assert all(row.logprobs_T[0] == pytest.approx(-2 / 8) for row in trainer.rows[1]), "as the updated ones did"


def test_a_frozen_creator_writes_the_same_first_children_and_is_never_updated(store: Store, tmp_path: Path) -> None:
    trained, frozen = Game(store, tmp_path), Game(store, tmp_path, frozen=True)
    trainer = ReadingTrainer()
    trained.play()
    frozen.play(trainer=trainer)
    assert frozen.numbers("creator") == [0] and trainer.rows == []
    assert frozen.rewards(1) == trained.rewards(1), "the first update changes nothing before it"
    assert frozen.rewards(2) and frozen.rewards(2) != trained.rewards(2)


@pytest.mark.parametrize("stage", ["evolve", "judge_batch", "train", "reward_creator", "train_creator"])
def test_a_game_whose_driver_dies_after_a_stage_ends_like_an_undisturbed_one(
    store: Store, tmp_path: Path, stage: str
) -> None:
    undisturbed, killed = Game(store, tmp_path / "one"), Game(store, tmp_path / "two")
    undisturbed.play()

    def die(iteration: int, name: str) -> None:
        if (iteration, name) == (1, stage):
            raise Died

    with pytest.raises(Died):
        killed.play(Recorder(on_close=die))
    killed.play()
    assert fingerprint_of(store, killed.run) == fingerprint_of(store, undisturbed.run)
    assert killed.numbers("creator") == undisturbed.numbers("creator")


def test_a_users_chat_model_is_asked_by_operator_parent_and_the_policys_best_and_worst_responses(
    store: Store, tmp_path: Path
) -> None:
    game, generator, trainer = (
        Game(store, tmp_path, feedback=True, response_chars=12),
        ChatGenerator(),
        ReadingTrainer(),
    )
    game.play(generator=generator, evolver=build_evolver(game.config.evolving, generator), trainer=trainer)

    def sampled(conn: Connection) -> list[int]:
        return [row.prompt for row in batches.read_estimates(conn, game.run.id, 1, sampled=True)]

    asked = {prompt.number: prompt for prompt in game.read(lambda c: prompts.read_prompts(c, game.run.id, sampled(c)))}
    shown = game.read(lambda c: feedback.read_feedback(c, game.run.id, dict.fromkeys(asked, 1), "mock", keep_cut=False))
    assert {*shown} <= {*asked} and len(shown) > 3
    for number, prompt in asked.items():
        instructions = [text for text in generator.instructions if f"\n{prompt.text}\n" in text]
        assert len({*instructions}) >= 1, "each operator has words of its own"
        if number in shown:
            best, worst = (f"(reward {value:.4g})" for value in (shown[number].best_reward, shown[number].worst_reward))
            assert all(text.index(best) < text.index(worst) for text in instructions)
    rewards = game.rewards(1)
    assert {one.reason for one in rewards} >= {None, NOT_WRITTEN}, "what no engine could answer is not trained on"
    born = game.read(lambda c: prompts.read_prompts(c, game.run.id, prompts.read_numbers_born(c, game.run.id, 1, 1)))
    assert born and all(prompt.text.startswith("Name ") for prompt in born), "the prompt within the reply"
    assert {(row.number, row.sample) for row in trainer.rows[0]} == {
        (one.source, one.slot) for one in rewards if one.advantage is not None
    }
