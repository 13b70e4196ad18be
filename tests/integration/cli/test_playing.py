from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from eva.errors import EngineDiedError
from eva.settings import Settings
from orchestrator.hold.lease import claim
from store.runs import runs
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.played_run import lazily

SMALL = ("--set", "prompts.playground=24", "--set", "evaluation.playground=8", "--set", "iterations=2")


@pytest.fixture(autouse=True)
def fake_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray, no vLLM, no training; everything else is real."""
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)


def stopping_at(iteration: int, stage: str, error: BaseException) -> Callable[..., AbstractContextManager[Any]]:
    """A builder of roles whose driver meets this error when a stage of an iteration closes."""

    @contextmanager
    def build(config: Any, folder: Any, settings: Any, listener: Any, **told: Any) -> Any:
        announce = listener.on_stage_close

        def closed(at: int, name: str, counts: Any) -> None:
            announce(at, name, counts)
            if (at, name) == (iteration, stage):
                raise error

        listener.on_stage_close = closed
        with lazily(config, folder, settings, listener, **told) as roles:
            yield roles

    return build


def names(store: Store) -> list[str]:
    with store.transaction() as conn:
        return [run.name for run in runs.list_runs(conn)]


def test_run_plays_a_preset_and_prints_its_report(eva: Command, store: Store, store_settings: Settings) -> None:
    shown = eva("run", "playground", *SMALL, "--name", "mine")
    assert shown.exit_code == 0, shown.output
    (name,) = names(store)
    assert name.startswith("mine-")
    for said in (
        "What happened",
        "Held-out accuracy",
        f"eva show {name}",
        f"eva export {name}",
        str(store_settings.data_dir),
    ):
        assert said in shown.stdout


def test_without_a_terminal_each_finished_stage_is_one_line(eva: Command) -> None:
    lines = eva("run", "playground", *SMALL).stdout.splitlines()
    told = [line for line in lines if line.startswith("[")]
    assert any("iteration 0  trained: 3 steps" in line for line in told)
    assert any("iteration 1  evolved prompts: " in line for line in told)
    assert len(told) == 1 + 5 + 10


def test_json_holds_the_facts_that_show_prints(eva: Command, tmp_path: Path) -> None:
    shown = eva("demo", *SMALL, "--json", tmp_path / "facts.json")
    assert shown.exit_code == 0, shown.output
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts == json.loads(eva("show", "--json").stdout)
    assert [*facts["heldout"]] == ["easy", "medium", "hard"]
    assert {"before", "after"} <= facts["heldout"]["hard"].keys()
    assert facts["iterations"]
    assert facts["family"]
    assert facts["timings"]["wall"] > 0


def test_ctrl_c_says_where_it_stood_and_how_to_go_on(
    eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(1, "judge_pool", KeyboardInterrupt()))
    shown = eva("run", "playground", *SMALL)
    (name,) = names(store)
    assert shown.exit_code == 130
    assert "Stopped at iteration 1 (2 of 2)" in shown.stdout
    assert f"eva run --resume {name}" in shown.stdout
    assert "Traceback" not in shown.output
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)
    resumed = eva("run", "--resume", "last")
    assert resumed.exit_code == 0, resumed.output
    assert f"{name}: resumed in iteration 1 (2 of 2)" in resumed.stdout
    assert "judged the pool" not in resumed.stdout
    assert "What happened" in resumed.stdout


def test_a_failure_of_a_machine_says_where_the_log_lies(
    eva: Command, store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = EngineDiedError("the engine died", next_move="Look at the log")
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(0, "pair", error))
    shown = eva("run", "playground", *SMALL)
    (name,) = names(store)
    assert shown.exit_code == 4
    assert shown.stderr == "eva: the engine died. Look at the log.\n"
    assert f"Log: {store_settings.logs_dir / name / 'eva.log'}" in shown.stdout


def test_an_interrupted_demo_is_continued_and_a_finished_one_is_not(
    eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(0, "pair", KeyboardInterrupt()))
    assert eva("demo", *SMALL).exit_code == 130
    (first,) = names(store)
    monkeypatch.setattr("orchestrator.driver.build_roles", lazily)
    continued = eva("demo", *SMALL)
    assert continued.exit_code == 0, continued.output
    assert f"Continuing {first}, which was interrupted in iteration 0 (1 of 2)" in continued.stdout
    assert names(store) == [first]
    assert eva("demo", *SMALL).exit_code == 0
    assert len(names(store)) == 2


def test_an_interrupted_demo_is_left_alone_when_asked_or_when_its_config_differs(
    eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(0, "pair", KeyboardInterrupt()))
    for options in ([], ["--fresh"], ["--set", "seed=7"]):
        eva("demo", *SMALL, *options)
    assert len(names(store)) == 3


def test_resuming_with_another_config_is_refused_with_the_difference(eva: Command) -> None:
    eva("run", "playground", *SMALL)
    shown = eva("run", "playground", *SMALL, "--set", "training.beta=0.2", "--resume", "last")
    assert shown.exit_code == 3
    assert "training.beta: the run has 0.1, the config has 0.2" in shown.stderr
    same = eva("run", "playground", *SMALL, "--resume", "last")
    assert same.exit_code == 0
    assert "is finished" in same.stdout
    assert "What happened" in same.stdout


@pytest.mark.parametrize("arguments", [[], ["--resume", "last", "--set", "seed=1"], ["--resume", "last", "--dry-run"]])
def test_contradictory_options_are_usage_errors(eva: Command, arguments: list[str]) -> None:
    assert eva("run", *arguments).exit_code == 2


def test_resuming_an_unknown_run_names_the_nearest(eva: Command, store: Store) -> None:
    eva("run", "playground", *SMALL)
    shown = eva("run", "--resume", "playgruond")
    assert shown.exit_code == 2
    assert names(store)[0] in shown.stderr


def test_a_run_that_another_driver_plays_is_refused(
    eva: Command, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.build_roles", stopping_at(0, "pair", KeyboardInterrupt()))
    eva("run", "playground", *SMALL)
    with store.transaction() as conn:
        run = runs.find_run(conn, "last")
    with claim(store, run):
        shown = eva("run", "--resume", "last")
        listed = eva("runs").stdout
    assert shown.exit_code == 3
    assert f"is being played by process {os.getpid()}" in shown.stderr
    assert str(os.getpid()) in listed


def test_a_dry_run_shows_config_size_and_checks_and_starts_nothing(
    eva: Command, store: Store, store_settings: Settings
) -> None:
    shown = eva("run", "playground", *SMALL, "--dry-run")
    assert shown.exit_code == 0, shown.output
    for said in (
        "beta: 0.1",
        "# 24 seed prompts, 2 iterations, the first a warm-up",
        "# responses per iteration, 6 per prompt: 144 in the warm-up, then at most 264",
        "# pairs per iteration: 24 at most; optimiser steps: 2 at most",
        "# responses to held-out prompts, in total: 144",
        "# checked: 24 seed prompts",
        "nothing was started",
    ):
        assert said in shown.stdout
    assert names(store) == []
    assert [*store_settings.data_dir.iterdir()] == []


def test_the_printed_config_of_a_dry_run_plays_as_it_is(eva: Command, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(eva("run", "playground", *SMALL, "--dry-run").stdout)
    again = eva("run", file, "--dry-run")
    assert again.exit_code == 0, again.output
    assert again.stdout == file.read_text()


def users_config(folder: Path, lines: str) -> Path:
    (folder / "prompts.jsonl").write_text(lines)
    file = folder / "run.yaml"
    file.write_text(
        "prompts: {path: prompts.jsonl}\nmodel: {path: playground}\nreward: {kind: mock}\n"
        "evolving: {evolver: {kind: playground}}\n"
    )
    return file


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_a_malformed_line_is_named_with_its_number(
    eva: Command, store: Store, tmp_path: Path, option: list[str]
) -> None:
    file = users_config(tmp_path, '{"prompt": "a"}\n\n{"prompt": \n')
    shown = eva("run", file, *option)
    assert shown.exit_code == 2
    assert "line 3 of" in shown.stderr
    assert "Traceback" not in shown.output
    assert names(store) == []


def test_a_missing_prompt_file_is_named(eva: Command, tmp_path: Path) -> None:
    file = users_config(tmp_path, "")
    (tmp_path / "prompts.jsonl").unlink()
    shown = eva("run", file)
    assert shown.exit_code == 2
    assert "there is no file" in shown.stderr


DRIVER = """
import sys
import orchestrator.driver
from cli.main import eva
from tests.support.played_run import lazily
orchestrator.driver.build_roles = lazily
eva(sys.argv[1:])
"""


def on_a_terminal(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Runs `eva` on a pseudo-terminal of 80 columns; its exit code and what the terminal was sent."""
    controller, terminal = pty.openpty()
    environment = os.environ | {
        "EVA_DATA_DIR": str(settings.data_dir),
        "EVA_DATABASE_URL": settings.database_url or "",
        "COLUMNS": "80",
        "TERM": "xterm-256color",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments],
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
        env=environment,
    )
    os.close(terminal)
    received: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(controller, 65536):
                received.append(block)
        except OSError:  # the terminal's other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(timeout=120)
    reader.join()
    os.close(controller)
    return code, b"".join(received).decode()


def test_on_a_terminal_progress_is_redrawn_in_place_and_the_report_stays(store_settings: Settings) -> None:
    code, sent = on_a_terminal(store_settings, "run", "playground", *SMALL)
    assert code == 0, sent
    assert "\x1b[?25l" in sent, "a live display hides the cursor"
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h"), "and shows it again"
    assert "iteration 0 (1 of 2)" in sent
    assert "What happened" in sent.rpartition("\x1b[?25h")[2]
    assert "[1.0 s]" not in sent


TERMINATED = """
import os, signal
from tests.support.played_run import LazySolver
respond, calls = LazySolver._respond, []
def terminated(self, request, sample):
    calls.append(sample)
    if len(calls) == 200:
        os.kill(os.getpid(), signal.SIGTERM)
    return respond(self, request, sample)
LazySolver._respond = terminated
"""


def test_a_signal_to_end_leaves_the_run_ready_to_resume(store: Store, store_settings: Settings) -> None:
    environment = os.environ | {
        "EVA_DATA_DIR": str(store_settings.data_dir),
        "EVA_DATABASE_URL": store_settings.database_url or "",
    }
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED + DRIVER, "run", "playground", *SMALL],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Stopped at iteration " in done.stdout
    assert "Resume it with: eva run --resume" in done.stdout
    with store.transaction() as conn:
        assert runs.find_run(conn, "last").status == "paused"
        assert conn.execute(text("SELECT count(*) FROM leases WHERE owner IS NOT NULL")).scalar_one() == 0
