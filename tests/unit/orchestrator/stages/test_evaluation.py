"""Win rates against a baseline on fakes: what is asked, stored and computed, also after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.errors import ConfigError
from eva.roles import Roles
from eva.seeds import text_hash
from eva.settings import Settings
from eva.types import PromptResponses, Reward, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.preflight import check_run
from orchestrator.launch.registration import register_run
from store.game import comparisons, heldout
from store.rows import RunRow
from store.runs import runs, stages
from store.session import Store
from store.views import costs, statistics
from store.views.report import heldout_scores
from tests.support.fakes import Died, FakeGenerator, FakeRewarder, Recorder, always, fake_config, fake_roles

QUESTIONS = [f"question {number} of the set" for number in range(12)]
JUDGE = {"kind": "judge", "model": "openai/judge"}
NAME = "judge:openai/judge:pairwise"


class Comparing:
    """A judge that prefers the longer response by 3 to 1: mean win rates, oneself included at 1/2."""

    name = "comparing"

    def __init__(self, die_after: int | None = None, refuses: str = "\0") -> None:
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.die_after, self.refuses = die_after, refuses

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            if len(self.seen) == self.die_after:
                raise Died
            texts = [response.text for response in one.responses]
            self.seen.append((one.text, tuple(texts)))
            yield RewardedResponses(one, tuple(self._reward(text, texts) for text in texts))

    def _reward(self, text: str, texts: list[str]) -> Reward:
        if self.refuses in text:
            return Reward(None, "the judge gave no verdict")
        wins = [0.5 if len(text) == len(other) else 0.75 if len(text) > len(other) else 0.25 for other in texts]
        return Reward(sum(wins) / len(wins))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=None, ray_address=None)


def held_out(tmp_path: Path, answer: Callable[[int], str], **changes: Any) -> dict[str, Any]:
    """The config's section: one set whose baseline answers come from a file."""
    (tmp_path / "set.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in QUESTIONS))
    (tmp_path / "baseline.json").write_text(
        json.dumps([{"instruction": text, "output": answer(item)} for item, text in enumerate(QUESTIONS)])
    )
    return {
        "sets": {"asked": str(tmp_path / "set.jsonl")},
        "baseline": {"asked": str(tmp_path / "baseline.json")},
        "reward": JUDGE,
    } | changes


def play(store: Store, settings: Settings, run: RunRow, evaluator: Any, **roles: Any) -> Recorder:
    recorder = Recorder()
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    drive(store, settings, run, recorder, build=always(fake_roles(evaluator=evaluator, **roles)), ttl_s=60.0)
    return recorder


def win_rates(store: Store, run: RunRow) -> dict[int, dict[str, dict[str, Any]]]:
    with store.transaction() as conn:
        return statistics.get_statistics(conn, run.id, "win_rates")


def stored(store: Store, run: RunRow, split: str = "asked") -> dict[int, Any]:
    """Everything evaluated, by checkpoint."""
    config = RunConfig.model_validate(run.config)
    with store.transaction() as conn:
        return {
            checkpoint: (
                comparisons.read_comparisons(conn, run.id, checkpoint, split),
                [
                    heldout.read_heldout_responses(conn, run.id, checkpoint, split, mode)
                    for mode in ("greedy", "sampled")
                ],
            )
            for checkpoint in range(config.iterations + 1)
        }


def test_a_judge_compares_each_greedy_answer_with_the_baselines(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    # "right answer 3" has 14 characters, as has the wrong one
    answers = ["short", "x" * 14, "a much longer answer than that"]
    run = register_run(store, fake_config(iterations=2, evaluation=held_out(tmp_path, lambda item: answers[item % 3])))
    evaluator = Comparing()
    play(store, settings, run, evaluator)
    greedy = [texts for _, texts in evaluator.seen if len(texts) == 2]
    assert len(greedy) == 3 * 12 and {len(texts) for _, texts in evaluator.seen} == {1, 2}
    found = win_rates(store, run)
    assert sorted(found) == [-1, 0, 1]
    for iteration, by_set in found.items():
        figures = by_set["asked"]
        assert figures["checkpoint"] == iteration + 1
        assert (figures["wins"], figures["losses"], figures["ties"], figures["missing"]) == (4, 4, 4, 0)
        # 3/4, 1/2 and 1/4 in turn: soft preferences, not 1, 1/2 and 0
        assert figures["win_rate"]["value"] == pytest.approx(0.5)
        assert 0.3 < figures["win_rate"]["low"] < 0.5 < figures["win_rate"]["high"] < 0.7
        assert (figures["length"], figures["baseline_length"]) == (14, pytest.approx((5 + 14 + 30) / 3))
        assert figures["length_controlled"] is figures["style_controlled"] is None
        assert figures["control_reason"] == "12 preferences are too few for a fit: at least 100 are needed"
        assert [score["checkpoint"] for score in figures["arena"]] == list(range(iteration + 2))
        assert figures["arena"][-1]["elo"]["value"] == pytest.approx(1000, abs=1e-3)
        assert figures["gain"] == (None if iteration == -1 else {"value": 0.0, "low": 0.0, "high": 0.0})
    (first, second, third, *_), (responses, sampled) = stored(store, run)[2]
    assert [one.preference for one in (first, second, third)] == pytest.approx([0.75, 0.5, 0.25])
    assert (first.reward, first.baseline_reward) == pytest.approx((0.625, 0.375))
    # the policy's answers are its own: the baseline's are not among them
    assert len(responses) == 12 and responses[0].reward == pytest.approx(0.625)
    assert not {response.text for response in [*responses, *sampled]} & set(answers)


def test_rewards_that_are_no_win_rates_are_compared_by_which_is_higher(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    section = held_out(tmp_path, lambda item: "right" if item < 6 else "wrong", reward=None)
    run = register_run(store, fake_config(iterations=1, evaluation=section))
    play(store, settings, run, FakeRewarder())
    for compared, (greedy, _) in stored(store, run).values():
        for one, response in zip(compared, greedy, strict=True):
            baseline = one.baseline_reward
            assert baseline is not None and one.reward == response.reward is not None
            assert one.preference == (1 if one.reward > baseline else 0.5 if one.reward == baseline else 0)
    assert {one.preference for compared, _ in stored(store, run).values() for one in compared} >= {0, 1}


def test_initial_compares_each_later_policy_with_the_given_models_answers(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    section = held_out(tmp_path, str, baseline="initial", reward=None)
    run = register_run(store, fake_config(iterations=2, evaluation=section | {"playground": 2}))
    play(store, settings, run, FakeRewarder())
    found = win_rates(store, run)
    assert sorted(found) == [0, 1] and sorted(found[1]) == ["asked", "easy", "hard", "medium"]
    given, later = stored(store, run)[0], stored(store, run)[2]
    assert given[0] == []
    assert [one.baseline_reward for one in later[0]] == [response.reward for response in given[1][0]]
    assert found[1]["asked"]["gain"] is None
    assert [score["checkpoint"] for score in found[1]["asked"]["arena"]] == [1, 2]


@pytest.mark.parametrize("after", [1, 17, 40])
def test_an_interrupted_evaluation_asks_only_for_what_is_missing(
    store: Store, settings: Settings, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.stages.stage.FLUSH_RESULTS", 8)
    config = fake_config(iterations=1, evaluation=held_out(tmp_path, lambda item: "x" * item * 3))
    whole, broken = register_run(store, config), register_run(store, config)
    undisturbed = Comparing()
    play(store, settings, whole, undisturbed)
    first, second = Comparing(die_after=after), Comparing()
    with pytest.raises(Died):
        play(store, settings, broken, first)
    play(store, settings, broken, second)
    assert stored(store, broken) == stored(store, whole)
    assert win_rates(store, broken) == win_rates(store, whole)
    # a batch of 8 was not stored yet, at most
    assert len(first.seen) + len(second.seen) <= len(undisturbed.seen) + 8


def test_a_finished_evaluation_is_walked_through_without_asking(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    run = register_run(store, fake_config(iterations=1, evaluation=held_out(tmp_path, str)))

    def stop(iteration: int, stage: str) -> None:
        if stage == "evaluate":
            raise Died

    recorder = Recorder(on_close=stop)
    with pytest.raises(Died):
        drive(store, settings, run, recorder, build=always(fake_roles(evaluator=Comparing())), ttl_s=60.0)
    before = win_rates(store, run)
    evaluator = Comparing()
    play(store, settings, run, evaluator)
    assert evaluator.seen == [] and win_rates(store, run) == before


def test_answers_without_a_verdict_are_counted_with_their_reasons(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    run = register_run(
        store,
        fake_config(iterations=1, evaluation=held_out(tmp_path, lambda item: "hopeless" if item < 2 else "plain")),
    )
    play(store, settings, run, Comparing(refuses="hopeless"), generator=FakeGenerator(unanswerable=frozenset({2})))
    (compared, _), figures = stored(store, run)[0], win_rates(store, run)[-1]["asked"]
    assert [one.reason for one in compared[:4]] == ["the baseline's response: the judge gave no verdict"] * 2 + [
        "the prompt is too long",
        None,
    ]
    assert compared[0].preference is None and compared[2].reward is None
    assert (figures["prompts"], figures["missing"]) == (9, 3)


def test_a_set_without_any_verdict_has_no_win_rate_and_the_run_goes_on(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    run = register_run(store, fake_config(iterations=1, evaluation=held_out(tmp_path, str)))
    play(store, settings, run, Comparing(refuses=""))
    figures = win_rates(store, run)[0]["asked"]
    assert (figures["prompts"], figures["missing"]) == (0, 12)
    assert figures["win_rate"] is figures["length_controlled"] is figures["gain"] is None and figures["arena"] == []


def test_when_end_evaluates_the_given_model_and_the_last_policy_alone(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    run = register_run(
        store, fake_config(iterations=3, evaluation=held_out(tmp_path, str, baseline="initial", when="end"))
    )
    recorder = play(store, settings, run, Comparing())
    assert [
        (iteration, stage) for iteration, stage in recorder.stages if stage in ("evaluate_initial", "evaluate")
    ] == [
        (0, "evaluate_initial"),
        (2, "evaluate"),
    ]
    assert sorted(win_rates(store, run)) == [2]
    with store.transaction() as conn:
        closed = {(stage.iteration, stage.name): stage.counts for stage in stages.read_stages(conn, run.id)}
    assert closed[2, "evaluate"] == {"win_rate": {"asked": pytest.approx(0.5)}, "responses": 24, "tokens": 72}


@pytest.mark.parametrize(("when", "evaluated"), [("last", [(1, "evaluate")]), ("never", [])])
def test_only_the_last_policy_or_none_is_evaluated(
    store: Store, settings: Settings, when: str, evaluated: list[tuple[int, str]]
) -> None:
    section = {"playground": 3, "difficulties": ["hard"], "when": when}
    run = register_run(store, fake_config(iterations=2, evaluation=section))
    recorder = play(store, settings, run, FakeRewarder())
    assert [stage for stage in recorder.stages if "evaluate" in stage[1]] == evaluated
    with store.transaction() as conn:
        assert heldout.heldout_splits(conn, run.id) == ["hard"]
        assert {row.checkpoint for row in heldout_scores(conn, run.id, 0.9)} == {2 for _ in evaluated}


def test_a_baseline_of_the_initial_models_responses_needs_its_evaluation() -> None:
    with pytest.raises(ConfigError, match="use end"):
        fake_config(evaluation={"playground": 3, "baseline": "initial", "when": "last"})


def test_the_checks_before_a_run_count_the_responses_of_the_baseline(tmp_path: Path) -> None:
    section = held_out(tmp_path, str, reward=None)
    checks = check_run(fake_config(evaluation=section)).checks
    assert "12 responses of the baseline in asked, 0 more not used, 0 to a prompt that already had one" in checks


class Costly(Comparing):
    """A judge whose calls cost a cent per response, and that likes "mine"."""

    def __init__(self, name: str, bonus: bool, die_after: int | None = None) -> None:
        super().__init__(die_after)
        self.name, self.bonus = name, bonus  # pyright: ignore[reportIncompatibleUnannotatedOverride] - of this object

    def _reward(self, text: str, texts: list[str]) -> Reward:
        given = super()._reward(text, texts)
        mine = 0.2 * self.bonus * sum(("mine" in text) - ("mine" in other) for other in texts) / len(texts)
        return Reward((given.value or 0) + mine, None, (("cost_usd", Reward(0.01)), ("unreadable", Reward(0.0))))


class Discerning(Costly):
    """One that also tells responses of one length apart, so that there is something to train on."""

    def _reward(self, text: str, texts: list[str]) -> Reward:
        given = super()._reward(text, texts)
        return replace(given, value=(given.value or 0) + text_hash(text) % 100 / 1000)


def own(tmp_path: Path, **changes: Any) -> RunConfig:
    """The judge's own model wrote the baseline, answers of 14 characters as the policy's are."""
    section = held_out(tmp_path, lambda item: f"mine answer {item:02d}", judges_own=["asked"])
    return fake_config(iterations=1, evaluation=section, audit={"reward": JUDGE | {"model": "openai/other"}}, **changes)


def test_a_judge_that_likes_its_own_answers_is_measured_by_a_second_one_on_the_same_pairs(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    run = register_run(store, own(tmp_path))
    judge, second = Costly("judge", bonus=True), Costly("second", bonus=False)
    play(store, settings, run, judge, auditor=second)
    asked = [sorted(pair for pair in one.seen if len(pair[1]) == 2) for one in (judge, second)]
    assert asked[0] == asked[1] and len(asked[0]) == 24
    for by_set in win_rates(store, run).values():
        found = by_set["asked"]["self_preference"]
        assert (found["prompts"], found["rewarder"], found["second_rewarder"]) == (12, "judge", "second")
        # both rewards shift by half of 0.2, one up and one down
        assert found["judge"]["value"] == pytest.approx(0.7) and found["second"]["value"] == pytest.approx(0.5)
        assert found["bias"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})
    # two policies: 12 greedy pairs and 12 sampled answers by the judge, the pairs again by the second
    with store.transaction() as conn:
        assert costs.iteration_cost(conn, run.id, 0)["held_out"] == pytest.approx(2 * (12 * 3 + 12 * 2) * 0.01)
        assert statistics.get_statistics(conn, run.id, "cost")[0]["usd"]["held_out"] == pytest.approx(1.2)
        spent = [
            costs.rewarder_cost(conn, run.id, "judge", batches=True, role="evaluator"),
            costs.rewarder_cost(conn, run.id, "second", batches=True, role="auditor"),
            costs.rewarder_cost(conn, run.id, "second", batches=True, role="evaluator"),
        ]
    # the second one has also rewarded the audit's sample, which the run stores as its rewards
    assert spent[0] == {"cost_usd": pytest.approx(0.72)} and spent[1]["cost_usd"] > 0.48
    assert spent[1]["cost_usd"] - spent[2]["cost_usd"] == pytest.approx(0.48)


@pytest.mark.parametrize("after", [1, 10])
def test_an_interrupted_second_opinion_goes_on_where_it_was(
    store: Store, settings: Settings, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.stages.stage.FLUSH_RESULTS", 4)
    whole, broken = register_run(store, own(tmp_path)), register_run(store, own(tmp_path))
    play(store, settings, whole, Costly("judge", bonus=True), auditor=Costly("second", bonus=False))
    first, second = (Costly("second", bonus=False, die_after=die) for die in (after, None))
    with pytest.raises(Died):
        play(store, settings, broken, Costly("judge", bonus=True), auditor=first)
    judge = Costly("judge", bonus=True)
    play(store, settings, broken, judge, auditor=second)
    assert win_rates(store, broken) == win_rates(store, whole)
    pairs = [text for text, answers in [*first.seen, *second.seen] if len(answers) == 2]
    assert 24 <= len(pairs) <= 24 + 4


def test_own_answers_need_a_baseline_and_a_second_rewarder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"judges_own names other, but evaluation\.baseline does not"):
        fake_config(evaluation=held_out(tmp_path, str, judges_own=["other"]), audit={"reward": JUDGE})
    with pytest.raises(ConfigError, match=r"judges_own names asked, but audit\.reward is unset"):
        fake_config(evaluation=held_out(tmp_path, str, judges_own=["asked"]))
    with pytest.raises(ConfigError, match="judges_own names other, but there is no such set"):
        check_run(
            fake_config(
                evaluation=held_out(tmp_path, str, baseline="initial", judges_own=["other"]),
                audit={"reward": {"kind": "mock"}},
            )
        )


def test_a_resumed_driver_tells_each_judge_what_it_has_cost_the_run(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = held_out(tmp_path, lambda item: f"mine answer {item:02d}", reward=JUDGE | {"max_cost_usd": 9})
    run = register_run(
        store,
        fake_config(
            iterations=1, evaluation=section, reward=JUDGE | {"max_cost_usd": 9}, audit={"reward": {"kind": "mock"}}
        ),
    )
    told: list[Any] = []

    @contextmanager
    def building(*given: Any, fence: int, conversation: int, spent: Any, warm: None) -> Iterator[Roles]:
        told.append(spent)
        yield fake_roles(
            rewarder=Discerning(NAME, bonus=False),
            evaluator=Costly(NAME, bonus=False),
            auditor=Comparing(die_after=None if len(told) > 1 else 0),
        )

    monkeypatch.setattr("orchestrator.driver.build_roles", building)
    with pytest.raises(Died):
        drive(store, settings, run, Recorder(), ttl_s=60.0)
    drive(store, settings, run, Recorder(), ttl_s=60.0)
    # 24 seed prompts with 4 responses each; the initial model's 12 pairs and 12 sampled answers; mock has no budget
    assert told == [[{}, {}, {}], [{"cost_usd": pytest.approx(0.96)}, {"cost_usd": pytest.approx(0.36)}, {}]]
