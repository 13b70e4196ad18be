"""Forks: the history that is shared, what may differ after it, and a parent that never notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.errors import ConfigError, ConflictError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.game import batches, checkpoints
from store.rows import RunRow
from store.runs import events, forks, runs, stages
from store.schema.tables import metadata
from store.session import Store
from store.views.fingerprint import first_difference
from tests.support.cli_fixtures import Command
from tests.support.decisions import fingerprint_of
from tests.support.fakes import FakeGenerator, FakeTrainer, Recorder, always, fake_config, fake_roles

Play = Callable[..., RunRow]


@pytest.fixture
def play(store: Store, tmp_path: Path) -> Play:
    """Play a run to its end; with `**changes` instead of a run, a new one of that config."""

    def played(
        run: RunRow | None = None,
        *,
        generator: FakeGenerator | None = None,
        trainer: FakeTrainer | None = None,
        **changes: Any,
    ) -> RunRow:
        run = run or register_run(store, fake_config(**changes))
        roles = fake_roles(generator=generator or FakeGenerator(), trainer=trainer or FakeTrainer())
        drive(store, Settings(tmp_path, None, None), run, Recorder(), build=always(roles))
        with store.transaction() as conn:
            return runs.get_run(conn, run.id)

    return played


def fork(store: Store, parent: RunRow, at: int, *overrides: str) -> RunRow:
    return fork_run(store, parent, at, forked_config(parent, at, overrides))


def test_a_fork_without_changes_ends_as_its_parent_did(store: Store, play: Play) -> None:
    parent = play()
    before = fingerprint_of(store, parent)
    for at in range(3):
        generator, trainer = FakeGenerator(), FakeTrainer()
        forked = play(fork(store, parent, at), generator=generator, trainer=trainer)
        assert fingerprint_of(store, forked) == before == fingerprint_of(store, parent)
        assert (forked.status, forked.forked_from, forked.forked_at) == ("finished", parent.id, at)
        assert min(checkpoint for checkpoint, _, _ in generator.asked) == at
        assert [job.number for job in trainer.jobs] == [*range(at + 1, 4)]


def test_a_fork_with_changes_differs_first_where_they_matter(store: Store, play: Play) -> None:
    parent = play()
    forked = play(fork(store, parent, 2, "sampling.fraction=0.5", "name=wide"))
    found = first_difference(fingerprint_of(store, parent), fingerprint_of(store, forked))
    assert found is not None and (found.iteration, found.part) == (2, "draw")
    assert forked.name.startswith("wide-")
    with store.transaction() as conn:
        assert sum(row.sampled for row in batches.read_estimates(conn, forked.id, 2)) == 12
        (told,) = [event for event in events.events_after(conn, forked.id) if event.kind == "forked"]
    assert told.data["from"] == parent.name and told.data["at"] == 2
    assert {"key": "sampling.fraction", "kept": 0.25, "given": 0.5} in told.data["changes"]


def test_a_fork_plays_more_iterations_of_a_run_that_is_over(store: Store, play: Play) -> None:
    parent = play(iterations=2)
    forked = play(fork(store, parent, 2, "iterations=3"))
    assert fingerprint_of(store, forked) == fingerprint_of(store, play(iterations=3))


def test_checkpoints_are_shared_by_path_and_new_ones_lie_in_the_forks_folder(
    store: Store, play: Play, tmp_path: Path
) -> None:
    parent = play()
    forked = play(fork(store, parent, 1))
    with store.transaction() as conn:
        theirs, ours = (checkpoints.read_checkpoints(conn, run.id) for run in (parent, forked))
    assert [row.path for row in ours[:2]] == [row.path for row in theirs[:2]]
    assert all(forked.name in Path(row.path).parts for row in ours[2:])
    with store.transaction() as conn:
        assert {stage.iteration for stage in stages.read_stages(conn, forked.id)} == {0, 1, 2}


def test_a_run_can_be_forked_in_the_middle_of_an_iteration_and_a_fork_again(store: Store, play: Play) -> None:
    whole = play()
    parent = register_run(store, fake_config())
    with pytest.raises(Exception, match="enough"):
        play(parent, generator=Tired())
    with store.transaction() as conn:
        parent = runs.get_run(conn, parent.id)
    assert parent.iteration == 2
    again = play(fork(store, fork(store, parent, 2), 1))
    assert fingerprint_of(store, again) == fingerprint_of(store, whole)


class Tired(FakeGenerator):
    def load(self, policy: Any) -> None:
        if policy.number == 2 and any(number == 2 for number, _, _ in self.asked):
            raise RuntimeError("enough")
        super().load(policy)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=1", "seed"),
        ("prompts.playground=8", "prompts.playground"),
        ("generation.n=8", "generation.n"),
        ("model.path=other", "model.path"),
        ("evaluation.playground=4", "evaluation.playground"),
        ("warm_start=false", "warm_start"),
    ],
)
def test_what_contradicts_the_shared_history_is_refused_by_name(store: Store, override: str, key: str) -> None:
    parent = register_run(store, fake_config())
    with pytest.raises(ConflictError, match=key):
        forked_config(parent, 0, [override, "training.beta=0.3"])


def test_a_fork_at_an_iteration_that_has_not_started_or_is_past_the_end_is_refused(store: Store, play: Play) -> None:
    parent = play(iterations=2)
    with pytest.raises(ConfigError, match="iterations 0 to 1"):
        forked_config(parent, 3, [])
    with pytest.raises(ConfigError, match=r"has no iteration to play.*--set iterations=3"):
        forked_config(parent, 2, [])
    with pytest.raises(ConfigError, match="did you mean"):
        forked_config(parent, 1, ["sampling.fracton=0.5"])


def test_pairs_of_two_rewarders_never_train_from_scratch_together(store: Store, play: Play) -> None:
    parent = play(iterations=2, training={"mode": "scratch"})
    with pytest.raises(ConflictError, match=r"reward.noise.*scratch"):
        forked_config(parent, 1, ["reward.noise=0.5"])
    forked_config(parent, 1, ["reward.noise=0.5", "training.mode=incremental"])


def test_every_table_is_either_shared_by_forks_or_belongs_to_one_run() -> None:
    assert {*forks.SHARED, *forks.OWN} == {*metadata.tables}
    assert not {*forks.SHARED} & {*forks.OWN}


def test_the_command_makes_a_fork_and_the_lists_show_its_parent(
    store: Store, play: Play, eva: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = play(iterations=2)
    made = eva("fork", parent.name, "--at", "1", "--name", "mine", "--set", "training.beta=0.3", "--no-play")
    assert made.exit_code == 0, made.output
    with store.transaction() as conn:
        row = runs.find_run(conn, "mine")
    assert RunConfig.model_validate(row.config).training.beta == 0.3 and row.status == "created"
    assert f"{row.name}: forked from {parent.name} at iteration 1, 24 prompts shared" in made.stdout
    assert f"eva resume {row.name}" in made.stdout
    assert f"fork of {parent.name} at 1" in eva("runs").stdout
    assert f"forked from {parent.name} at the start of iteration 1" in eva("show", row.name).stdout
    refused = eva("fork", parent.name, "--at", "1", "--set", "seed=3", "--no-play")
    assert refused.exit_code == 3 and "cannot change seed" in refused.stderr
