"""Token records of a run on fakes: recorded with the responses, kept as the config says, swept when orphaned."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import text

from eva.config import RunConfig
from eva.config.files import validate
from eva.errors import ConfigError, DiskFullError, TokenRecordError
from eva.settings import Settings
from eva.solver.token_record import FOLDER, RecordFile, RecordManifest, TokenRecord, iter_token_records
from eva.types import PromptResponses, Request
from orchestrator.driver import drive
from orchestrator.hold.record_files import unneeded_iterations
from orchestrator.launch.forks import fork_run, forked_config
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import runs
from store.runs.token_files import read_token_files
from store.session import Store
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeGenerator, Recorder, always, fake_config, fake_roles


@dataclass
class Recorded:
    """A run on fakes with token records."""

    store: Store
    folder: Path
    config: RunConfig
    run: RunRow = field(init=False)

    def __post_init__(self) -> None:
        self.run = register_run(self.store, self.config)

    def drive(self, generator: FakeGenerator | None = None, heard: Recorder | None = None, **told: Any) -> Recorder:
        heard, roles = heard or Recorder(), fake_roles(generator=generator or FakeGenerator())
        drive(self.store, Settings(self.folder, None, None), self.row(), heard, build=always(roles), ttl_s=60.0, **told)
        return heard

    def row(self) -> RunRow:
        with self.store.transaction() as conn:
            return runs.get_run(conn, self.run.id)

    @property
    def place(self) -> Path:
        return self.folder / "runs" / self.run.folder_name

    def files(self) -> tuple[RecordFile, ...]:
        with self.store.transaction() as conn:
            return read_token_files(conn, self.run.id)

    def on_disk(self) -> set[str]:
        return {path.relative_to(self.place).as_posix() for path in self.place.glob(f"{FOLDER}/*/*")}

    def records(self, iteration: int) -> list[TokenRecord]:
        return [*iter_token_records(RecordManifest(self.run.name, self.place, self.files()), iteration)]

    def responses(self, checkpoint: int) -> dict[tuple[int, int], tuple[str, int]]:
        """The stored responses of a policy: the prompt's text and the response's seed."""
        query = text(
            "SELECT r.prompt, r.sample, p.text, r.seed FROM responses r JOIN prompts p ON p.run_id = r.run_id "
            "AND p.number = r.prompt WHERE r.run_id = :run AND r.checkpoint = :checkpoint"
        )
        with self.store.transaction() as conn:
            rows = conn.execute(query, {"run": self.run.id, "checkpoint": checkpoint}).all()
        return {(row.prompt, row.sample): (row.text, row.seed) for row in rows}


@pytest.fixture
def recorded(store: Store, tmp_path: Path) -> Callable[..., Recorded]:
    return lambda **changes: Recorded(store, tmp_path, fake_config(**{"rollouts": {"keep": "all"}} | changes))


def test_every_stored_response_has_the_record_of_its_own_tokens(recorded: Callable[..., Recorded]) -> None:
    game = recorded(iterations=2, evolving={"evolver": {"kind": "playground"}, "gate": {"responses": 2, "low": 0.001}})
    game.drive()
    for iteration in range(2):
        records = {(record.number, record.sample): record for record in game.records(iteration)}
        responses = game.responses(iteration)
        assert records.keys() == responses.keys() and len(records) >= 96
        for key, (prompt, seed) in responses.items():
            token_ids = tuple((seed + index) % 1000 for index in range(3))
            logprobs = tuple(-(token % 8) / 8 for token in token_ids)
            assert records[key] == TokenRecord(*key, iteration, 0, tuple(prompt.encode()), token_ids, logprobs)
    assert game.on_disk() == {file.path for file in game.files()}
    assert sum(file.records for file in game.files()) == len(game.responses(0)) + len(game.responses(1))


def test_a_run_that_records_decides_as_one_that_does_not(
    recorded: Callable[..., Recorded], store: Store, tmp_path: Path
) -> None:
    class Asked(FakeGenerator):
        def _answer(self, request: Request) -> PromptResponses:
            seen.append(request.record)
            return super()._answer(request)

    seen: list[bool] = []
    game, plain = recorded(), Recorded(store, tmp_path, fake_config())
    game.drive()
    plain.drive(Asked())
    assert fingerprint_of(store, game.run) == fingerprint_of(store, plain.run)
    assert not any(seen) and plain.files() == () and not (plain.place / FOLDER).exists()


def test_the_records_of_all_but_the_wanted_iterations_are_deleted(recorded: Callable[..., Recorded]) -> None:
    game = recorded(rollouts={"keep": 1})
    game.drive()
    assert {(file.iteration, file.pruned) for file in game.files()} == {(0, True), (1, True), (2, False)}
    assert game.on_disk() == {file.path for file in game.files() if not file.pruned}
    assert [path.name for path in (game.place / FOLDER).iterdir()] == ["2"]


ONLINE: dict[str, Any] = {
    "iterations": 2,
    "rollouts": {},
    "training": {"loss": "rloo"},
    "generation": {"n": 4, "max_tokens": 64, "top_p": 1.0, "temperature": 1.0},
}
"""A run whose loss needs the tokens, and that keeps no more than it needs."""


def test_what_only_the_loss_needs_is_there_while_its_iteration_is_unfinished(
    recorded: Callable[..., Recorded],
) -> None:
    game = recorded(**ONLINE)
    assert game.config.records_tokens and not fake_config().records_tokens
    seen: list[tuple[int, set[str]]] = []

    def look(iteration: int, stage: str) -> None:
        if stage == "train":
            found = {(record.number, record.sample) for record in game.records(iteration)}
            assert found == game.responses(iteration).keys()
            seen.append((iteration, {path.split("/")[1] for path in game.on_disk()}))

    game.drive(heard=Recorder(on_close=look))
    assert seen == [(0, {"0"}), (1, {"1"})]
    assert game.on_disk() == set() and all(file.pruned for file in game.files())


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_record_ends_the_run_before_it_trains_and_a_restored_one_lets_it_go_on(
    damage: str, recorded: Callable[..., Recorded], store: Store
) -> None:
    undisturbed, game = recorded(**ONLINE), recorded(**ONLINE)
    undisturbed.drive()
    whole: dict[Path, bytes] = {}

    def spoil(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "judge_batch") and not whole:
            path = game.place / min(game.on_disk())
            whole[path] = path.read_bytes()
            path.unlink()
            if damage == "changed":
                path.write_bytes(whole[path][:-1])

    with pytest.raises(TokenRecordError, match=rf"tokens/1/.*eva fork {game.run.name} --at 1"):
        game.drive(heard=Recorder(on_close=spoil))
    with pytest.raises(TokenRecordError):
        game.drive()
    (path,) = whole
    assert game.row().status == "failed" and (damage == "missing") != path.exists()
    path.write_bytes(whole[path])
    game.drive()
    assert fingerprint_of(store, game.run) == fingerprint_of(store, undisturbed.run)


@pytest.mark.parametrize(("keep", "unneeded"), [("needed", range(3)), ("all", range(0)), (2, range(1)), (5, range(0))])
def test_what_is_kept_is_decided_by_the_first_unfinished_iteration(keep: str | int, unneeded: range) -> None:
    assert unneeded_iterations(fake_config(rollouts={"keep": keep}), 3) == unneeded


def test_a_number_of_iterations_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match=r"rollouts\.keep.*greater than or equal to 1"):
        validate({**fake_config().model_dump(mode="json"), "rollouts": {"keep": 0}})


def test_a_killed_run_leaves_a_file_that_no_manifest_names_and_the_next_driver_sweeps_it(
    recorded: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(point: str) -> None:
        if point == "tokens.file_written":
            raise Died

    game = recorded(iterations=1)
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.hold.record_files.reach", die)
        with pytest.raises(Died):
            game.drive()
    orphans = game.on_disk()
    assert orphans and game.files() == () and game.responses(0) == {}
    newer, partial = game.place / FOLDER / "0" / "99-0.parquet", game.place / FOLDER / "0" / ".1-7.parquet.ab.partial"
    for path in (newer, partial):
        path.write_bytes(b"of another driver")
    game.drive()
    assert game.on_disk() == {file.path for file in game.files()} | {f"{FOLDER}/0/99-0.parquet"}, "newer than this one"
    assert not orphans & game.on_disk() and len(game.records(0)) == len(game.responses(0)) > 0


def test_without_space_for_its_record_no_response_is_stored_and_the_run_pauses(
    recorded: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    game = recorded(iterations=1)
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.hold.record_files.sync_to_disk", full)
        patch.setattr("orchestrator.hold.claimed_run.LAST_WRITE_S", 0.0)
        with pytest.raises(DiskFullError, match=rf"no space is left for .*/{FOLDER}/0.*eva run --resume fake-"):
            game.drive(retry_s=0.0)
    assert game.row().status == "paused" and game.responses(0) == {} and game.files() == ()
    game.drive()
    assert game.row().status == "finished" and len(game.records(0)) == len(game.responses(0)) > 0


def test_a_fork_has_records_of_its_own_iterations_and_leaves_those_of_its_parent(
    recorded: Callable[..., Recorded], store: Store
) -> None:
    game = recorded(iterations=2)
    game.drive()
    before = game.files()
    fork = replace(game, config=fake_config(iterations=3, rollouts={"keep": "all"}))
    fork.run = fork_run(store, game.row(), 1, forked_config(game.row(), 1, ["iterations=3", "rollouts.keep=1"]))
    fork.drive()
    assert {(file.iteration, file.pruned) for file in fork.files()} == {(1, True), (2, False)}
    assert len(fork.records(2)) == len(fork.responses(2)) > 0 and fork.responses(0) == game.responses(0)
    assert game.files() == before and game.on_disk() == {file.path for file in before}


def test_a_generator_that_returns_no_tokens_is_told_of_it(recorded: Callable[..., Recorded]) -> None:
    class Forgetful(FakeGenerator):
        def _answer(self, request: Request) -> PromptResponses:
            return super()._answer(replace(request, record=False))

    game = recorded(iterations=1)
    with pytest.raises(TokenRecordError, match="without its tokens"):
        game.drive(Forgetful())
    assert game.responses(0) == {}
