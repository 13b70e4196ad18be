"""Novelty, contamination and collapse in the loop: the whole game on fakes with a real store."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eva.creator.novelty import NearDuplicateCheck, jaccard
from eva.errors import PromptFileError, RunStoppedError
from eva.roles import Roles
from eva.seeds import generator
from eva.settings import Settings
from eva.types import Floats, Mutation, Prompt, Reply
from orchestrator.driver import drive
from orchestrator.launch.material import read_material
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import prepare
from orchestrator.stages.earlier_prompts import EarlierPrompts
from store.game import evolutions, prompts
from store.rows import RunRow
from store.runs import events, runs, stages
from store.session import Store
from store.views import statistics
from tests.support.fakes import Died, FakeEvolver, Recorder, always, fake_config, fake_roles

ANYTHING: dict[str, Any] = {
    "novelty": {"similarity": 1.0},
    "evolving": {"evolver": {"kind": "playground"}, "similarity": 1.0},
}
WORDS = [f"word{number}" for number in range(300)]


def letter(seed: int) -> str:
    rng = generator(seed, "letter")
    return " ".join(rng.choices(WORDS, k=60))


class Echo(FakeEvolver):
    """Writes something new, or what the run had before with a word changed; one in eight is a benchmark's question."""

    def evolve(self, mutation: Mutation) -> Reply:
        rng = generator(mutation.seed)
        text = letter(rng.randrange(10) if rng.random() < 0.5 else mutation.seed)
        if rng.random() < 0.125:
            return Reply(f"{letter(777)[:150]} and more", 10, 12)
        return Reply(text.replace(text.split()[rng.randrange(60)], "changed", 1), 10, 12)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Seed prompts, of which one overlaps the benchmark beside them."""
    (tmp_path / "seeds.jsonl").write_text(
        "".join(
            json.dumps({"prompt": text, "topic": f"topic {number % 2}"}) + "\n"
            for number, text in enumerate([*map(letter, range(24)), f"Now: {letter(777)}"])
        )
    )
    (tmp_path / "benchmark.jsonl").write_text(json.dumps({"question": letter(777)}) + "\n")
    return {"seeds": str(tmp_path / "seeds.jsonl"), "benchmark": str(tmp_path / "benchmark.jsonl")}


@pytest.fixture
def play(store: Store, tmp_path: Path, files: dict[str, str]) -> Callable[..., RunRow]:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)

    def played(
        run: RunRow | None = None, roles: Roles | None = None, listener: Recorder | None = None, **changes: Any
    ) -> RunRow:
        if run is None:
            seeds = {"path": files["seeds"], "topic_field": "topic"}
            run = register_run(store, fake_config(**({"prompts": seeds, "evaluation": {}} | changes)))
        drive(store, settings, run, listener or Recorder(), build=always(roles or fake_roles()), ttl_s=2.0)
        return run

    return played


def refused(store: Store, run: RunRow) -> dict[str, int]:
    """Refusals by reason, of all iterations."""
    counts: dict[str, int] = {}
    with store.transaction() as conn:
        for stage in stages.read_stages(conn, run.id):
            if stage.name == "evolve":
                for reason, count in stage.counts["refused"].items():
                    counts[reason] = counts.get(reason, 0) + count
    return counts


def everyone(store: Store, run: RunRow) -> list[Prompt]:
    with store.transaction() as conn:
        return prompts.read_prompts(conn, run.id)


def test_no_two_prompts_of_a_run_are_near_duplicates_and_none_overlaps_a_protected_file(
    store: Store, play: Callable[..., RunRow], files: dict[str, str]
) -> None:
    run = play(roles=fake_roles(evolver=Echo()), novelty={"similarity": 0.8, "protected": [files["benchmark"]]})
    texts = [prompt.text for prompt in everyone(store, run)]
    assert len(texts) > 40
    assert max(jaccard(one, other) for place, one in enumerate(texts) for other in texts[:place]) < 0.85
    assert not any(letter(777)[:100] in text for text in texts)
    counts = refused(store, run)
    assert counts["near_known"] > 10 and counts["contaminated"] > 3


def test_without_the_checks_the_same_evolver_gets_its_near_duplicates_in(
    store: Store, play: Callable[..., RunRow]
) -> None:
    run = play(roles=fake_roles(evolver=Echo()), novelty={"similarity": 1.0})
    texts = [prompt.text for prompt in everyone(store, run)]
    assert max(jaccard(one, other) for place, one in enumerate(texts) for other in texts[:place]) > 0.85
    assert any(letter(777)[:100] in text for text in texts) and "near_known" not in refused(store, run)


def test_a_run_killed_while_evolving_refuses_what_an_undisturbed_one_refuses(
    store: Store, play: Callable[..., RunRow]
) -> None:
    left = [60]

    class Mortal(Echo):
        def evolve(self, mutation: Mutation) -> Reply:
            left[0] -= 1
            if left[0] < 0:
                raise Died
            return super().evolve(mutation)

    with pytest.raises(Died):
        play(roles=fake_roles(evolver=Mortal()), novelty={"similarity": 0.8})
    with store.transaction() as conn:
        killed = runs.list_runs(conn)[0]
    assert killed.iteration == 2 and len(everyone(store, killed)) > 30
    play(killed, roles=fake_roles(evolver=Echo()))
    undisturbed = play(roles=fake_roles(evolver=Echo()), novelty={"similarity": 0.8})
    assert everyone(store, killed) == everyone(store, undisturbed)
    with store.transaction() as conn:
        assert evolutions.read_chains(conn, killed.id, 2) == evolutions.read_chains(conn, undisturbed.id, 2)


class Letters:
    """Texts that share most of their words mean the same; counts the texts that it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Floats:
        self.asked += texts
        return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float64)

    def resemblance(self, one: str, other: str) -> float:
        a, b = self.embed([one, other])
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class Shuffler(FakeEvolver):
    """Writes something new, or what the run had before or another child has in another order: new to MinHash, not to
    what words mean.
    """

    left = 10**6

    def evolve(self, mutation: Mutation) -> Reply:
        self.left -= 1
        if self.left < 0:
            raise Died
        rng = generator(mutation.seed)
        kind = rng.random()
        number = rng.randrange(10) if kind < 0.5 else 10_000 + rng.randrange(8) if kind < 0.6 else mutation.seed
        words = letter(number).split()
        rng.shuffle(words)
        return Reply(" ".join(words), 10, 12)


MEANING: dict[str, Any] = {"novelty": {"embedding_model": "of the fakes", "semantic_similarity": 0.9}}


def test_a_child_that_means_the_same_as_a_prompt_of_the_run_is_refused_for_that(
    store: Store, play: Callable[..., RunRow]
) -> None:
    embedder = Letters()
    run = play(roles=fake_roles(evolver=Shuffler(), embedder=embedder), **MEANING)
    assert refused(store, run)["semantic"] > 10
    members = everyone(store, run)
    assert len(members) > 40 and max(member.born for member in members) == 2
    older = [(one, other) for one in members for other in members if other.born < one.born]
    # nor is one alike to another child of its own stage
    assert refused(store, run)["semantic_duplicate"] > 0
    older += [
        (one, other)
        for one in members
        for other in members
        if other.born == one.born >= 0 and other.number < one.number
    ]
    assert max(embedder.resemblance(one.text, other.text) for one, other in older) < 0.9
    without = play(roles=fake_roles(evolver=Shuffler()))
    assert "semantic" not in refused(store, without) and "near_known" not in refused(store, without)


def no_word_7(text: str) -> str | None:
    return "seven" if "word7 " in text else None


def test_a_check_of_the_user_s_refuses_under_its_own_reason(store: Store, play: Callable[..., RunRow]) -> None:
    run = play(roles=fake_roles(evolver=Shuffler()), novelty={"checks": [f"{__name__}:no_word_7"]})
    assert refused(store, run)["seven"] > 5
    assert not any("word7 " in prompt.text for prompt in everyone(store, run) if prompt.born >= 0)


def test_each_prompt_is_embedded_once_and_a_killed_run_refuses_what_an_undisturbed_one_does(
    store: Store, play: Callable[..., RunRow]
) -> None:
    mortal = Shuffler()
    mortal.left = 60
    with pytest.raises(Died):
        play(roles=fake_roles(evolver=mortal, embedder=Letters()), **MEANING)
    with store.transaction() as conn:
        killed = runs.list_runs(conn)[0]
    assert killed.iteration == 2
    play(killed, roles=fake_roles(evolver=Shuffler(), embedder=Letters()))
    embedder = Letters()
    undisturbed = play(roles=fake_roles(evolver=Shuffler(), embedder=embedder), **MEANING)
    assert everyone(store, killed) == everyone(store, undisturbed)
    with store.transaction() as conn:
        assert evolutions.read_chains(conn, killed.id, 2) == evolutions.read_chains(conn, undisturbed.id, 2)
    seeds = {prompt.text for prompt in everyone(store, undisturbed) if prompt.born == -1}
    assert {text: embedder.asked.count(text) for text in seeds} == dict.fromkeys(seeds, 1)


def test_what_is_known_grows_page_by_page_to_the_prompts_before_the_iteration(
    store: Store, play: Callable[..., RunRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.stages.earlier_prompts.PAGE", 7)
    asked: dict[int, list[int]] = {}
    before = EarlierPrompts.before

    def spied(known: EarlierPrompts, iteration: int, *, ahead: bool = False) -> Any:
        novelty = before(known, iteration, ahead=ahead)
        asked[iteration] = [len(check.index) for check in novelty.checks if isinstance(check, NearDuplicateCheck)]
        return novelty

    monkeypatch.setattr(EarlierPrompts, "before", spied)
    run = play(roles=fake_roles(evolver=Echo()))
    born = [prompt.born for prompt in everyone(store, run)]
    assert asked == {1: [25], 2: [25 + born.count(1)]}


def test_seed_prompts_that_overlap_a_protected_file_are_left_out_and_counted(files: dict[str, str]) -> None:
    config = fake_config(prompts={"path": files["seeds"]}, evaluation={}, novelty={"protected": [files["benchmark"]]})
    material = read_material(config)
    assert len(material.seeds) == 24 and material.left_out == {"contaminated": 1}


def test_a_protected_file_that_is_not_there_is_an_error_before_anything_starts(files: dict[str, str]) -> None:
    config = fake_config(prompts={"path": files["seeds"]}, novelty={"protected": ["none.jsonl"]})
    with pytest.raises(PromptFileError, match=r"there is no file none\.jsonl"):
        read_material(config)


def test_every_iteration_stores_how_diverse_its_batch_was(store: Store, play: Callable[..., RunRow]) -> None:
    run = play(**ANYTHING)
    with store.transaction() as conn:
        stored = statistics.get_statistics(conn, run.id, "diversity")
    assert list(stored) == [0, 1, 2]
    first = stored[0]
    assert first["effective_roots"] == pytest.approx(25) and first["near_duplicates"] == 0
    assert first["topics"] == {"topic 0": 13 / 25, "topic 1": 12 / 25} and first["response_texts"] == 25
    assert stored[2]["effective_roots"] < 25 and stored[2]["distinct_2"] < first["distinct_2"]


def told(store: Store, run: RunRow) -> list[tuple[int | None, object]]:
    with store.transaction() as conn:
        return [
            (event.iteration, event.data["figure"])
            for event in events.events_after(conn, run.id)
            if event.kind == "collapse"
        ]


def test_a_bound_warns_in_the_log_and_as_an_event(
    store: Store, play: Callable[..., RunRow], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "orchestrator.stages.diversity"):
        run = play(**ANYTHING, collapse={"warn": {"effective_roots": 24.5, "vendi": 0.5}})
    assert told(store, run) == [(1, "effective_roots"), (2, "effective_roots")]
    assert "effective_roots is" in caplog.text and "below 24.5" in caplog.text


def test_a_bound_pauses_the_run_after_its_iteration_and_resuming_goes_on_all_the_same(
    store: Store, play: Callable[..., RunRow]
) -> None:
    with pytest.raises(RunStoppedError, match=r"lost diversity: effective_roots is .* below 24\.5.*continue anyway"):
        play(**ANYTHING, collapse={"pause": {"effective_roots": 24.5}})
    with store.transaction() as conn:
        run = runs.list_runs(conn)[0]
    assert (run.status, run.iteration) == ("paused", 2)
    play(prepare(store, run))
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "finished", "nothing is left to pause after the last iteration"
    assert told(store, run) == [(1, "effective_roots"), (2, "effective_roots")]


def test_a_figure_that_does_not_exist_is_named_with_its_neighbour() -> None:
    with pytest.raises(Exception, match="did you mean 'effective_roots'"):
        fake_config(collapse={"warn": {"effective_root": 3}})
