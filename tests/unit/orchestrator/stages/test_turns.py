"""MT-Bench's second turn on fakes: the policy continues with its own first response, also after an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.errors import ConfigError, ModelError
from eva.settings import Settings
from eva.types import Context, Message, PromptResponses, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.material import read_material
from orchestrator.launch.preflight import check_run
from orchestrator.launch.registration import register_run
from store.game import heldout
from store.game.contexts import ROLE_TOKENS, longest_context
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from store.views import statistics
from store.views.exports import iter_heldout
from store.views.heldout_samples import SampleFilter, sampled_prompts
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeGenerator, FakeRewarder, Recorder, always, fake_config, fake_roles

QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Write a travel blog.", "Start each sentence with A."]},
    {"question_id": 82, "category": "math", "turns": ["What is 3 + 4?", "And twice that?"], "reference": ["7", "14"]},
    {"question_id": 83, "category": "coding", "turns": ["Sort a list."]},
]


@dataclass
class SeeingRewarder(FakeRewarder):
    """Remembers the conversation around each response to a later turn."""

    seen: dict[tuple[str, int], Context] = field(default_factory=dict)

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for rewarded in super().reward(prompts):
            for response in rewarded.prompt.responses:
                self.seen[rewarded.prompt.text, response.seed] = rewarded.prompt.context
            yield rewarded


@pytest.fixture
def bench(tmp_path: Path) -> str:
    path = tmp_path / "question.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return str(path)


@pytest.fixture
def config(bench: str) -> RunConfig:
    return fake_config(iterations=1, evaluation={"sets": {"mt_bench": bench}, "turns": 2, "n": 2})


def play(store: Store, folder: Path, run: RunRow, **roles: Any) -> None:
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    settings = Settings(data_dir=folder, database_url=None, ray_address=None)
    drive(store, settings, run, Recorder(), build=always(fake_roles(**roles)), ttl_s=60.0)


def test_the_second_turn_continues_with_the_policys_own_first_response(
    store: Store, tmp_path: Path, config: RunConfig
) -> None:
    evaluator = SeeingRewarder()
    run = register_run(store, config)
    play(store, tmp_path, run, evaluator=evaluator)
    with store.transaction() as conn:
        longest = longest_context(conn, run.id, 64)
        figures = statistics.get_statistics(conn, run.id, "heldout")
        rows = list(iter_heldout(conn, run.id))
        greedy, _ = sampled_prompts(conn, run.id, SampleFilter("mt_bench-turn-2"), [0, 1], "greedy", 9)
        first = heldout.read_heldout_responses(conn, run.id, 1, "mt_bench", "sampled")
        second = heldout.read_heldout_responses(conn, run.id, 1, "mt_bench-turn-2", "sampled")
    assert [(row.item, row.sample) for row in second] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    said = {(row.item, row.sample): row.text for row in first}
    for row in rows:
        if (row["split"], row["checkpoint"], row["mode"]) == ("mt_bench-turn-2", 1, "sampled"):
            question = QUESTIONS[row["item"]]["turns"]
            assert [message["content"] for message in row["messages"]] == [
                question[0],
                said[row["item"], row["sample"]],
                question[1],
            ]
    # the rewarder sees the whole conversation
    for turns in (question["turns"] for question in QUESTIONS[:2]):
        contexts = [context for (text, _), context in evaluator.seen.items() if text == turns[1]]
        assert contexts and all(context[0] == Message("user", turns[0]) for context in contexts)
        assert all(context[1].role == "assistant" and "answer" in context[1].content for context in contexts)
    assert {(row["split"], row["mode"], row["items"], row["n"]) for row in figures[0]} == {
        ("mt_bench", "greedy", 3, 3),
        ("mt_bench", "sampled", 3, 6),
        ("mt_bench-turn-2", "greedy", 2, 2),
        ("mt_bench-turn-2", "sampled", 2, 4),
    }
    assert greedy.turn == 2 and [response.earlier[0].text for response in greedy.responses] == [
        row["response"] for row in rows if (row["split"], row["item"], row["mode"]) == ("mt_bench", 0, "greedy")
    ]
    assert longest == max(len(question["turns"][0]) for question in QUESTIONS[:2]) + 2 * ROLE_TOKENS + 64


@pytest.mark.parametrize("rewarded", [4, 6, 9])
def test_a_run_killed_within_or_between_the_turns_generates_nothing_twice(
    store: Store, tmp_path: Path, config: RunConfig, rewarded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.stages.stage.FLUSH_RESULTS", 1)
    undisturbed, killed = register_run(store, config), register_run(store, config)
    whole, before, after = FakeGenerator(), FakeGenerator(), FakeGenerator()
    play(store, tmp_path, undisturbed, generator=whole)
    with pytest.raises(Died):
        play(store, tmp_path, killed, generator=before, evaluator=DyingRewarder(rewarded))
    with store.transaction() as conn:
        stored = sum(
            len({item for item, _ in heldout.heldout_samples(conn, killed.id, 0, split, mode)})
            if split == "mt_bench"
            else len(heldout.heldout_samples(conn, killed.id, 0, split, mode))
            for split in ("mt_bench", "mt_bench-turn-2")
            for mode in ("greedy", "sampled")
        )
    play(store, tmp_path, killed, generator=after)
    assert stored == rewarded
    assert of_initial(after) == of_initial(whole) - stored, "what was stored is not asked for again"
    assert fingerprint_of(store, killed) == fingerprint_of(store, undisturbed)


def of_initial(generator: FakeGenerator) -> int:
    """How many requests about held-out prompts the initial model got."""
    asked = (text for question in QUESTIONS for text in question["turns"][:1])
    firsts = tuple(map(str, asked))
    return sum(
        count
        for (policy, text, _), count in generator.asked.items()
        if policy == 0 and text.removeprefix("User: ").startswith(firsts)
    )


@dataclass
class DyingRewarder(FakeRewarder):
    """Dies after so many prompts; each is stored at once."""

    left: int

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for rewarded in super().reward(prompts):
            if self.left == 0:
                raise Died
            self.left -= 1
            yield rewarded


def test_a_conversation_whose_first_turn_has_no_response_ends_there(
    store: Store, tmp_path: Path, config: RunConfig
) -> None:
    run = register_run(store, config)
    play(store, tmp_path, run, generator=FakeGenerator(unanswerable=frozenset({0})))
    with store.transaction() as conn:
        (row, _) = heldout.read_heldout_responses(conn, run.id, 0, "mt_bench-turn-2", "greedy")
    assert (row.finish, row.reason) == ("failed", "no response to an earlier turn: the prompt is too long")


def test_later_turns_are_asked_only_where_the_config_says_so(bench: str) -> None:
    one = read_material(fake_config(evaluation={"sets": {"mt_bench": bench}}))
    two = read_material(fake_config(evaluation={"sets": {"mt_bench": bench}, "turns": 3}))
    assert [(turn.name, len(turn.prompts)) for turn in one.turns] == [("mt_bench", 3)]
    assert [(turn.name, len(turn.prompts)) for turn in two.turns] == [("mt_bench", 3), ("mt_bench-turn-2", 2)]
    assert (one.held_out_count, two.held_out_count) == (3, 5)


def test_turns_that_no_set_has_names_that_are_taken_and_templates_without_responses_are_refused(
    bench: str, tmp_path: Path
) -> None:
    (tmp_path / "single.jsonl").write_text('{"prompt": "One?"}\n')
    single = str(tmp_path / "single.jsonl")
    with pytest.raises(ConfigError, match="turns is 2, but no held-out prompt has a later turn"):
        read_material(fake_config(evaluation={"sets": {"a": single}, "turns": 2}))
    with pytest.raises(ConfigError, match="mt-turn-2, which is what the later turn of mt is called"):
        read_material(fake_config(evaluation={"sets": {"mt": bench, "mt-turn-2": single}, "turns": 2}))
    template = tmp_path / "users.jinja"
    template.write_text("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    model = {"path": "playground", "chat_template": str(template)}
    with pytest.raises(ModelError, match="leaves the assistant message out of the messages user, assistant, user"):
        check_run(fake_config(model=model, evaluation={"sets": {"mt": bench}, "turns": 2}))
