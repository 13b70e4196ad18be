"""Pruning: what is deleted during a run and afterwards, and what stays because a run or a fork needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eva.errors import ConflictError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.hold import pruning
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.rows import CheckpointRow, RunRow
from store.runs import events, runs
from store.session import Store
from store.views.report import HeldoutScore, heldout_scores
from tests.support.decisions import fingerprint_of
from tests.support.fakes import FakeGenerator, PublishingTrainer, Recorder, always, fake_config, fake_roles

Play = Callable[..., RunRow]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    _places[:] = [Settings(tmp_path, None, None)]
    return _places[0]


_places: list[Settings] = []
"""The settings of the test that runs."""


@pytest.fixture
def play(store: Store, settings: Settings) -> Play:
    """Plays a run to its end, or until its generator fails; with `**changes` instead of a run, a new one."""

    def played(run: RunRow | None = None, *, generator: FakeGenerator | None = None, **changes: Any) -> RunRow:
        run = run or register_run(store, fake_config(**changes))
        roles = fake_roles(generator=generator or FakeGenerator(), trainer=PublishingTrainer())
        try:
            drive(store, settings, run, Recorder(), build=always(roles))
        except RuntimeError:
            assert generator is not None
        return fresh(store, run)

    return played


class Tired(FakeGenerator):
    """Fails as the last iteration begins, whose policy is checkpoint 2."""

    def load(self, policy: Any) -> None:
        if policy.number == 2 and any(number == 2 for number, _, _ in self.asked):
            raise RuntimeError("enough")
        super().load(policy)


def fresh(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def rows(store: Store, run: RunRow) -> list[CheckpointRow]:
    with store.transaction() as conn:
        recorded = checkpoints.read_checkpoints(conn, run.id)
    return pruning.located_rows(recorded, _places[0].runs_dir / run.folder_name)


def whole(store: Store, run: RunRow) -> list[int]:
    """The checkpoints whose files are there; asserts that the rows say the same."""
    there = [row.number for row in rows(store, run) if pruning.is_whole(row)]
    assert there == [row.number for row in rows(store, run) if row.pruned_at is None]
    return there


def prune(store: Store, settings: Settings, run: RunRow, *keep: str | int) -> pruning.Pruning:
    folder = settings.runs_dir / run.folder_name
    with store.transaction() as conn:
        done = pruning.mark(conn, run, folder, keep)
    pruning.delete(rows(store, run), folder, run.stored_name)
    return done


def test_a_run_that_keeps_the_last_decides_as_one_that_keeps_all(store: Store, play: Play) -> None:
    kept_all, kept_last = play(), play(checkpoints={"keep": ["last"]})
    assert fingerprint_of(store, kept_last) == fingerprint_of(store, kept_all)
    assert (whole(store, kept_all), whole(store, kept_last)) == ([0, 1, 2, 3], [3])
    with store.transaction() as conn:
        pruned = [event.data for event in events.events_after(conn, kept_last.id) if event.kind == "checkpoints_pruned"]
    assert [event["numbers"] for event in pruned] == [[0], [1], [2]]
    assert all(event["bytes"] > 600 for event in pruned)


def test_an_interrupted_run_has_what_it_needs_to_go_on(store: Store, play: Play) -> None:
    undisturbed = play(training={"reference": "initial"})
    run = play(generator=Tired(), checkpoints={"keep": ["last"]}, training={"reference": "initial"})
    assert (run.iteration, whole(store, run)) == (2, [0, 2]), "the policy of iteration 2, and the reference"
    run = play(run)
    assert fingerprint_of(store, run) == fingerprint_of(store, undisturbed)
    assert whole(store, run) == [3], "a run that is over needs no reference"


@pytest.mark.parametrize(("loss", "left"), [("dpo", [2]), ("inpo", [0, 2]), ("onpo", [0, 1, 2])])
def test_an_interrupted_run_keeps_every_policy_that_its_loss_compares_with(
    loss: str, left: list[int], store: Store, play: Play
) -> None:
    run = play(generator=Tired(), checkpoints={"keep": ["last"]}, training={"loss": loss})
    assert whole(store, run) == left
    run = play(run)
    assert (run.status, whole(store, run)) == ("finished", [3])


def test_an_interrupted_run_keeps_the_weights_that_its_engines_have_below_the_adapters(
    store: Store, play: Play
) -> None:
    run = play(generator=Tired(), checkpoints={"keep": ["last"]}, training={"lora": {"serve": "adapter"}})
    assert whole(store, run) == [0, 2]


def test_pruning_an_unfinished_run_leaves_what_it_needs(store: Store, settings: Settings, play: Play) -> None:
    run = play(generator=Tired())
    done = prune(store, settings, run, 0)
    assert [row.number for row in done.doomed] == [1] and done.kept[2] == "the run needs it to go on"
    assert play(run).status == "finished"


def test_a_fork_keeps_what_it_starts_from_until_it_is_over(store: Store, settings: Settings, play: Play) -> None:
    parent = play()
    fork = fork_run(store, parent, 1, forked_config(parent, 1, []))
    done = prune(store, settings, parent, "last")
    assert [row.number for row in done.doomed] == [0, 2] and done.kept[1] == f"{fork.name} needs it"
    fork = play(fork)
    assert fingerprint_of(store, fork) == fingerprint_of(store, parent)
    assert whole(store, fork) == [1, 2, 3], "what its parent lost is recorded in the fork, too"
    assert not prune(store, settings, fork, "last").kept.get(0)
    assert pruning.is_whole(rows(store, parent)[1]), "a fork deletes nothing in its parent's folder"
    assert [row.number for row in prune(store, settings, parent, "last").doomed] == [1]
    assert whole(store, parent) == [3] == whole(store, fork)


def test_a_run_prunes_nothing_that_the_config_of_a_fork_keeps(store: Store, settings: Settings, play: Play) -> None:
    run = play(generator=Tired())
    play(fork_run(store, run, 1, forked_config(run, 1, [])))
    folder = settings.runs_dir / run.folder_name
    with store.transaction() as conn:
        polite = pruning.plan_pruning(conn, run, folder, ("last",), respect_configs=True)
        asked = pruning.plan_pruning(conn, run, folder, ("last",))
    assert ([row.number for row in polite.doomed], [row.number for row in asked.doomed]) == ([], [0, 1])


def test_a_fork_that_would_start_from_a_pruned_checkpoint_is_refused(
    store: Store, settings: Settings, play: Play
) -> None:
    parent = play()
    prune(store, settings, parent, "last", 1)
    with pytest.raises(ConflictError, match=r"needs checkpoint 2, which was pruned.*: 1, 3"):
        fork_run(store, parent, 2, forked_config(parent, 2, []))
    with pytest.raises(ConflictError, match="needs checkpoint 0"):
        fork_run(store, parent, 1, forked_config(parent, 1, ["training.reference=initial"]))
    assert play(fork_run(store, parent, 1, forked_config(parent, 1, []))).status == "finished"


def test_what_was_marked_before_a_kill_is_deleted_the_next_time(store: Store, settings: Settings, play: Play) -> None:
    run = play()
    folder = settings.runs_dir / run.folder_name
    with store.transaction() as conn:
        pruning.mark(conn, run, folder, ("last",))
    assert pruning.is_whole(rows(store, run)[0])
    (folder / ".pruned-0123").mkdir()
    assert not prune(store, settings, run, "last").doomed
    assert whole(store, run) == [3] and not list(folder.glob(".pruned-*"))


def test_nothing_is_deleted_while_the_newest_checkpoint_is_not_whole(
    store: Store, settings: Settings, play: Play
) -> None:
    run = play()
    (Path(rows(store, run)[3].path) / "model.safetensors").write_bytes(b"cut")
    done = prune(store, settings, run, "last")
    assert not done.doomed and done.kept[0] == "the newest checkpoint is not whole"


def test_the_best_checkpoint_is_that_of_the_highest_mean_over_the_held_out_sets() -> None:
    def score(checkpoint: int, split: str, reward: float | None, mode: str = "greedy") -> HeldoutScore:
        return HeldoutScore(checkpoint, split, mode, 10, 10, 0, reward, False, 10, 0.0, 10, None)

    scores = [score(0, "a", 1.0), score(0, "b", 5.0), score(1, "a", 4.0), score(1, "b", 3.0), score(2, "a", 3.5)]
    assert pruning.best_checkpoint(scores) == 2, "among equals the newest"
    assert pruning.best_checkpoint([*scores, score(0, "b", 99.0, "sampled"), score(2, "b", None)]) == 2
    assert pruning.best_checkpoint([]) is None


def test_a_run_keeps_its_best(store: Store, play: Play) -> None:
    run = play(checkpoints={"keep": ["best", "last"]}, evaluation={"playground": 3})
    with store.transaction() as conn:
        scores = heldout_scores(conn, run.id, 1.0)
    best = pruning.best_checkpoint(scores)
    assert best is not None and whole(store, run) == sorted({3, best})
