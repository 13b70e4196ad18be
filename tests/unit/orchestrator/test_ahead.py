"""Evolving ahead, on fakes: while the solver is trained, the next children are written, and nothing is different."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from eva.config import RunConfig
from eva.errors import ConfigError, EvaError, EvolverError, RunStoppedError
from eva.seeds import text_hash
from eva.settings import Settings
from eva.types import Attempt, Chain, Floats, Mutation, Reply, TrainingJob, TrainingResult
from orchestrator.driver import drive
from orchestrator.hold.chain_files import FOLDER, ChainFiles
from orchestrator.launch.registration import register_run
from store.runs import runs
from store.session import Store
from store.views.fingerprint import Fingerprint, first_difference
from tests.support.decisions import fingerprint_of
from tests.support.fakes import (
    Died,
    FakeEvolver,
    FakeTrainer,
    Recorder,
    always,
    creator_section,
    fake_config,
    fake_roles,
)

WAIT_S = 30.0
PLAYGROUND = {"kind": "playground"}


@dataclass
class CountingEvolver(FakeEvolver):
    """Counts what it is asked, and says when it was asked for the first time. `die_after`: so many mutations."""

    asked: Counter[int] = field(default_factory=Counter)
    begun: threading.Event = field(default_factory=threading.Event)
    die_after: int | None = None

    def evolve(self, mutation: Mutation) -> Reply:
        self.asked[mutation.seed] += 1
        self.begun.set()
        if self.die_after is not None and self.asked.total() > self.die_after:
            raise EvolverError("the evolver is dead", next_move="Start it")
        return super().evolve(mutation)


@dataclass
class WaitingTrainer(FakeTrainer):
    """Trains until the evolver has been asked so often, so that it is certain that evolving goes on meanwhile."""

    evolver: CountingEvolver = field(default_factory=CountingEvolver)
    until: int = 1
    then: Callable[[], None] = lambda: None

    def train(self, job: TrainingJob, report: Any) -> TrainingResult:
        if job.hand_over is None and job.iteration == 0:
            assert self.evolver.begun.wait(WAIT_S), "nothing was evolved while the solver was trained"
            while self.evolver.asked.total() < self.until:
                threading.Event().wait(0.01)
            self.then()
        return super().train(job, report)


class WordEmbedder:
    """Vectors that depend on the text alone."""

    def embed(self, texts: Sequence[str]) -> Floats:
        return np.stack([np.random.default_rng(text_hash(text) % 2**32).normal(size=8) for text in texts])


class LoopsOwnRecorder(Recorder):
    """Takes progress from the loop's thread alone: evolving ahead must not look like progress of the training."""

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        assert threading.current_thread() is threading.main_thread()
        super().on_progress(done, total, values)


class Game:
    def __init__(self, store: Store, folder: Path, config: RunConfig) -> None:
        self.store, self.settings = store, Settings(folder, None, None)
        self.run = register_run(store, config)

    @property
    def folder(self) -> Path:
        return self.settings.runs_dir / self.run.folder_name

    def play(self, **roles: Any) -> Recorder:
        listener = LoopsOwnRecorder()
        with self.store.transaction() as conn:
            row = runs.get_run(conn, self.run.id)
        drive(self.store, self.settings, row, listener, build=always(fake_roles(**roles)), ttl_s=2.0)
        return listener

    def ask(self, desired: str) -> None:
        with self.store.transaction() as conn:
            runs.set_desired(conn, self.run.id, desired)

    def fingerprint(self) -> Fingerprint:
        return fingerprint_of(self.store, self.run)


@pytest.fixture
def new_game(store: Store, tmp_path: Path) -> Callable[..., Game]:
    return lambda **changes: Game(store, tmp_path, fake_config(**{"info_from": "reuse"} | changes))


_serial: list[Fingerprint] = []


@pytest.fixture
def serial(new_game: Callable[..., Game]) -> Fingerprint:
    """The fingerprint of the game that evolves when the training is over, played once for all tests."""
    if not _serial:
        game = new_game(evolving={"evolver": PLAYGROUND, "overlap": False})
        heard = game.play()
        assert all("ahead" not in counts for counts in heard.counts.values())
        _serial.append(game.fingerprint())
    return _serial[0]


def guided(text: str) -> float:
    return len(text) % 10 / 10


CONFIGS: dict[str, dict[str, Any]] = {
    "chunks": {"training": {"batch": 4, "epochs": 2, "sync_every": 4}},
    "an online loss without a warm-up": {
        "training": {"loss": "rloo"},
        "generation": {"n": 4, "max_tokens": 64, "top_p": 1.0},
        "warm_start": False,
    },
    "a bandit, breadth, and a guide": {
        "evolving": {"choice": "bandit", "breadth": 0.4, "guide": {"function": f"{__name__}:guided", "floor": 0.2}},
    },
    "feedback and partners": {
        "evolving": {
            "evolver": {"kind": "feedback", "writer": {"kind": "evol_instruct", "model": "openai/m"}},
            "operators": ["deepening", "mix"],
        },
    },
    "ages, pull, and a gate": {
        "evolving": {"gate": {"responses": 2, "low": 0.001}},
        "sampling": {"staleness": 0.5},
        "novelty": {"pull": 0.5},
        "mixing": {"children": 0.5, "buffer": 0.5},
    },
    "an archive": {"pool": "archive"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_that_evolves_ahead_decides_what_a_serial_run_decides(name: str, new_game: Callable[..., Game]) -> None:
    changes = dict(CONFIGS[name])
    evolving = {"evolver": PLAYGROUND} | changes.pop("evolving", {})
    changes |= {"prompts": {"playground": 12}, "evaluation": {"playground": 1}}
    after, ahead = (new_game(**changes, evolving=evolving | {"overlap": overlap}) for overlap in (False, None))
    after.play(embedder=WordEmbedder())
    heard = ahead.play(embedder=WordEmbedder())
    assert first_difference(ahead.fingerprint(), after.fingerprint()) is None
    assert ahead.fingerprint().weights == after.fingerprint().weights
    evolved = {
        iteration for (iteration, stage), counts in heard.counts.items() if stage == "evolve" and "ahead" in counts
    }
    # children that no batch took have no responses, so an archive is evolved ahead only once
    assert evolved == ({1} if name == "an archive" else {1, 2})
    assert not (ahead.folder / FOLDER).exists(), "files of stored chains were left"


def test_children_are_evolved_while_the_solver_is_trained_and_the_stage_says_so(
    new_game: Callable[..., Game], serial: Fingerprint
) -> None:
    game, evolver = new_game(), CountingEvolver()
    heard = game.play(evolver=evolver, trainer=WaitingTrainer(evolver=evolver, until=5))
    counts = heard.counts[1, "evolve"]["ahead"]
    assert isinstance(counts, dict) and counts["prompts"] == 6 and counts["seconds"] > 0
    assert game.fingerprint() == serial
    assert max(evolver.asked.values()) == 1, "a mutation was asked for twice"


def test_a_pause_during_the_training_stops_the_evolving_and_what_was_evolved_is_not_asked_again(
    new_game: Callable[..., Game], serial: Fingerprint
) -> None:
    game, evolver = new_game(evolving={"evolver": PLAYGROUND, "concurrency": 1}), CountingEvolver()
    trainer = WaitingTrainer(evolver=evolver, until=12, then=lambda: game.ask("pause"))
    with pytest.raises(RunStoppedError, match="asked to pause"):
        game.play(evolver=evolver, trainer=trainer)
    for thread in threading.enumerate():
        if thread.name == "evolve ahead":
            thread.join(WAIT_S)
    [file] = (game.folder / FOLDER).iterdir()
    in_file = sum(len(json.loads(line)["chain"]["attempts"]) for line in file.read_text().splitlines())
    game.ask("run")
    second = CountingEvolver()
    heard = game.play(evolver=second)
    assert game.fingerprint() == serial
    assert heard.counts[1, "evolve"]["ahead"] == {"prompts": 6, "seconds": ANY}
    asked_again = evolver.asked.keys() & second.asked.keys()
    assert len(asked_again) == evolver.asked.total() - in_file < evolver.asked.total()


@pytest.mark.parametrize("until", [1, 9, 20])
def test_a_run_killed_while_it_evolves_ahead_ends_as_if_nothing_had_happened(
    until: int, new_game: Callable[..., Game], serial: Fingerprint
) -> None:
    def die() -> None:
        raise Died

    game, evolver = new_game(evolving={"evolver": PLAYGROUND, "concurrency": 1}), CountingEvolver()
    with pytest.raises(Died):
        game.play(evolver=evolver, trainer=WaitingTrainer(evolver=evolver, until=until, then=die))
    game.play()
    assert game.fingerprint() == serial


def test_a_dead_evolver_fails_the_run_in_its_turn_as_it_does_without_overlap(
    new_game: Callable[..., Game], serial: Fingerprint
) -> None:
    told: list[str] = []
    for overlap in (False, None):
        game = new_game(evolving={"evolver": PLAYGROUND, "overlap": overlap})
        with pytest.raises(EvolverError) as error:
            game.play(evolver=CountingEvolver(die_after=0))
        with game.store.transaction() as conn:
            row = runs.get_run(conn, game.run.id)
        told.append(f"{row.status} {row.iteration} {error.value} {row.error}")
    assert told[0] == told[1]
    game.play()
    assert game.fingerprint() == serial


def test_an_evolver_that_fails_only_during_the_training_is_asked_again_in_its_turn(
    new_game: Callable[..., Game], serial: Fingerprint
) -> None:
    evolver = CountingEvolver(die_after=7)

    def recover() -> None:
        evolver.die_after = None

    game = new_game(evolving={"evolver": PLAYGROUND, "concurrency": 1})
    game.play(evolver=evolver, trainer=WaitingTrainer(evolver=evolver, until=8, then=recover))
    assert game.fingerprint() == serial


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"info_from": "fresh"}, "info_from is fresh"),
        ({"evolving": {"evolver": {"kind": "self"}}}, "engines write the children"),
        ({"evolving": creator_section()}, "engines write the children"),
        ({"collapse": {"steer": {"effective_roots": 3}}}, "collapse.steer decides"),
        ({"batch_from": "same_prompts"}, "batch_from is same_prompts"),
    ],
)
def test_overlap_is_off_where_children_depend_on_the_training_and_true_is_refused_there(
    changes: dict[str, Any], why: str
) -> None:
    config = fake_config(**{"info_from": "reuse"} | changes)
    assert not config.overlaps and why in (config.overlap_obstacle or "")
    asked = changes.get("evolving", {"evolver": PLAYGROUND}) | {"overlap": True}
    with pytest.raises((ConfigError, EvaError), match=f"evolving.overlap is true, but .*{why}"):
        fake_config(**{"info_from": "reuse"} | changes | {"evolving": asked})


def test_the_files_of_chains_leave_out_half_a_line_and_the_chains_of_another_plan(tmp_path: Path) -> None:
    first, second = ChainFiles(tmp_path, 2, 1), ChainFiles(tmp_path, 2, 2)
    chains = [
        Chain(number, (Attempt(0, 0, "breadth", None, Reply(f"child {number}", cost_usd=0.1), guide=0.3),))
        for number in range(4)
    ]
    first.append("this", chains[0])
    first.append("other", chains[1])
    second.append("this", chains[2])
    with next((tmp_path / FOLDER).glob("*-driver-1.jsonl")).open("ab") as file:
        file.write(b'{"plan":"this","chain":{"source":3,"att')
    assert second.read("this") == {0: chains[0], 2: chains[2]}
    ChainFiles(tmp_path, 1, 3).remove()
    assert len(second.read("this")) == 2, "an earlier iteration's files are not these"
    ChainFiles(tmp_path, 3, 3).append("this", chains[3])
    (tmp_path / FOLDER / "iteration-3-driver-2.jsonl").mkdir()  # no file can be read or removed there
    assert ChainFiles(tmp_path, 3, 3).read("this") == {3: chains[3]}
    ChainFiles(tmp_path, 3, 3).remove()
    (tmp_path / FOLDER / "iteration-3-driver-2.jsonl").rmdir()
    ChainFiles(tmp_path, 3, 3).remove()
    assert second.read("this") == {} and not (tmp_path / FOLDER).exists()
