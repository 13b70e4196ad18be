"""`eva study`: a plan before anything starts, a study played and listed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from orchestrator.driver import drive
from tests.support.cli_fixtures import Command
from tests.support.fakes import always, fake_config, fake_roles


@contextmanager
def _no_ray(settings: object) -> Iterator[None]:
    yield


@pytest.fixture
def study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a study of two arms that the command plays on fakes."""

    def on_fakes(*arguments: Any, warm: object) -> None:
        drive(*arguments, build=always(fake_roles()))

    monkeypatch.setattr("orchestrator.driver.drive", on_fakes)
    monkeypatch.setattr("orchestrator.warm_workers.ray_connection", _no_ray)

    def written(**changes: Any) -> Path:
        values: dict[str, Any] = {
            "name": "fakes",
            "question": "Is greedy better?",
            "base": fake_config(iterations=2).model_dump(mode="json"),
            "arms": {"regret": {}, "greedy": {"sampling.sampler": "greedy"}},
            "seeds": 1,
            "outcome": {"figure": "heldout.hard.sampled.accuracy"},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(values | changes, sort_keys=False))
        return path

    return written


def test_a_study_is_played_continued_and_listed(eva: Command, study_file: Callable[..., Path]) -> None:
    file = study_file()
    played = eva("study", file)
    assert played.exit_code == 0, played.output
    assert "[1/3] seed 0, playground, shared: finished" in played.stdout
    assert "[3/3] seed 0, playground, greedy: finished" in played.stdout
    assert "eva study show fakes" in played.stdout
    again = eva("study", "run", file)
    assert again.exit_code == 0 and "[3/3] seed 0, playground, greedy: finished (fakes.greedy.s0-" in again.stdout
    (facts,) = json.loads(eva("study", "list", "--json").stdout)
    assert (facts["name"], facts["runs"], facts["by_status"]) == ("fakes", 2, {"finished": 2})
    assert "2 of 2" in eva("study", "list").stdout


def test_a_changed_file_is_refused_with_its_difference(eva: Command, study_file: Callable[..., Path]) -> None:
    assert eva("study", study_file()).exit_code == 0
    refused = eva("study", study_file(seeds=2))
    assert refused.exit_code == 3
    assert "seeds: the study has 1, the file has 2" in refused.stderr


def test_a_dry_run_prints_the_plan_and_starts_nothing(eva: Command, study_file: Callable[..., Path]) -> None:
    shown = eva("study", "--dry-run", study_file(match={"steps": 3}, models=["playground", "playground:7"]))
    assert shown.exit_code == 0, shown.output
    assert "2 arms x 1 seeds x 2 given models = 4 runs, and 2 that several arms are forked from" in shown.stdout
    assert "greedy: sampling.sampler=greedy; shares iterations 0 to 0" in shown.stdout
    assert "at most 3 steps" in shown.stdout and "playground:7: not there yet" in shown.stdout
    assert "There are no studies" in eva("study", "list").stdout or eva("study", "list").exit_code == 2


def test_a_run_that_fails_is_listed_and_the_study_goes_on(
    eva: Command, study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study_file()

    def failing(store: Any, settings: Any, run: Any, *arguments: Any, warm: object) -> None:
        if "regret" in run.name:
            raise ValueError("no such luck")
        drive(store, settings, run, *arguments, build=always(fake_roles()))

    monkeypatch.setattr("orchestrator.driver.drive", failing)
    played = eva("study", file)
    assert "not finished: seed 0, playground, regret: failed" in played.stdout and "no such luck" in played.stdout
    assert played.exit_code == 4 and "1 of 3 runs of study fakes are not finished" in played.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"regret": {}, "same": {"informativeness.metric": "a_min"}}}, "changes nothing"),
        ({"outcome": {"figure": "heldout.harder.greedy.reward"}}, "no held-out set 'harder'"),
        ({"match": {"steps": 3}, "set": {"training.enabled": False}}, "cannot be matched"),
        ({"arms": {}}, "arms: "),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused_before_a_database_exists(
    eva: Command, study_file: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    refused = eva("study", study_file(**changes))
    assert refused.exit_code == 2 and message in refused.stderr


class Child:
    """A process of `--jobs`: it ends with the code of its part, or is interrupted while it waits."""

    started: ClassVar[list[Child]] = []
    codes: ClassVar[dict[str, int | None]] = {}

    def __init__(self, command: list[str], *, start_new_session: bool) -> None:
        assert start_new_session, "Ctrl-C must reach the parent alone, which passes it on once"
        self.command, self.ended = command, False
        Child.started.append(self)

    def wait(self, timeout: float | None = None) -> int:
        code = Child.codes[self.command[-1]]
        if code is None and not self.ended:
            raise KeyboardInterrupt
        return code or 0

    def terminate(self) -> None:
        self.ended = True


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> type[Child]:
    monkeypatch.setattr("cli.commands.study.subprocess.Popen", Child)
    Child.started, Child.codes = [], {}
    return Child


def test_jobs_play_parts_side_by_side_and_one_that_fails_is_told(
    eva: Command, study_file: Callable[..., Path], children: type[Child]
) -> None:
    file = study_file(seeds=2)
    children.codes = {"0/2": 0, "1/2": 4}
    played = eva("study", file, "--jobs", "2")
    assert [child.command[-6:] for child in children.started] == [
        ["run", str(file), "--seeds", "0,1", "--part", "0/2"],
        ["run", str(file), "--seeds", "0,1", "--part", "1/2"],
    ]
    assert played.exit_code == 4 and "1 of 2 processes of the study ended early" in played.stderr


def test_an_interrupt_is_passed_on_to_every_job(
    eva: Command, study_file: Callable[..., Path], children: type[Child]
) -> None:
    children.codes = {"0/2": 0, "1/2": None}
    assert eva("study", study_file(seeds=2), "--jobs", "2").exit_code == 130
    assert all(child.ended for child in children.started)


def test_parts_are_played_alone(eva: Command, study_file: Callable[..., Path]) -> None:
    played = eva("study", "run", study_file(seeds=2), "--part", "1/2")
    assert played.exit_code == 0
    assert "seed 1, playground, greedy: finished" in played.stdout and "seed 0" not in played.stdout


def test_seeds_that_were_played_apart_are_pooled_from_their_records(
    eva: Command, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    file, first, rest = study_file(seeds=3), tmp_path / "first.json.gz", tmp_path / "all.json"
    assert eva("study", file, "--seeds", "0").exit_code == 0
    written = eva("study", "export", "fakes", "--out", first)
    assert written.exit_code == 0 and "2 runs, are written" in written.stderr
    played = eva("study", file, "--seeds", "1-2")
    assert "seed 2, playground, greedy: finished" in played.stdout and "seed 0" not in played.stdout
    assert eva("study", "export", "fakes", "--out", rest).exit_code == 0
    stored = json.loads(eva("study", "show", "fakes", "--json").stdout)
    pooled = json.loads(eva("study", "show", first, rest, "--json").stdout)
    # prompts that both parts trained on are counted in each
    assert pooled.pop("contamination")["equal"] == stored.pop("contamination")["equal"] == 0
    assert pooled == stored and len(pooled["runs"]) == 6
    page = eva("study", "report", first, "fakes", "--out", tmp_path / "page.html")
    assert page.exit_code == 0 and "fakes" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(("seeds", "words"), [("3", "which is no seed of study fakes"), ("2-1", "names no seeds")])
def test_seeds_that_the_study_does_not_have_are_refused(
    eva: Command, study_file: Callable[..., Path], seeds: str, words: str
) -> None:
    refused = eva("study", study_file(seeds=3), "--seeds", seeds)
    assert refused.exit_code == 2 and words in refused.stderr
