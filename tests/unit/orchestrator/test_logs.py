"""What a driver writes down says of which run, iteration, stage and attempt it tells; programs can read it."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from cli.terminal.log_file import PRINTED, chatter_to
from eva.errors import ConfigError, EvolverError
from eva.runtime.logs import Form, WorkerLog, log_context, write_logs_to
from eva.settings import Settings, read_settings
from eva.types import Mutation, Reply
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.runs.runs import get_run
from store.session import Store
from tests.support.cli_fixtures import command_line
from tests.support.fakes import FakeEvolver, always, fake_config, fake_roles

SECRET = "sk-abcdefghijklmnop1234"  # noqa: S105 - what must not be shown


class Talkative(FakeEvolver):
    """Logs on the driver's threads, prints, and fails when it is told to."""

    failing = True

    def evolve(self, mutation: Mutation) -> Reply:
        print("a library prints")  # noqa: T201 - chatter
        logging.getLogger("some.library").warning("asked with %s", SECRET)
        if self.failing:
            raise EvolverError(f"refused: {SECRET}")
        return super().evolve(mutation)


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest, store: Store, store_settings: Settings) -> tuple[Form, str, Path]:
    """The log of a run that failed in its second iteration, and was resumed."""
    run = register_run(store, fake_config(iterations=2))
    log, evolver = store_settings.logs_dir / run.folder_name / "eva.log", Talkative()
    with chatter_to(log, request.param):
        with pytest.raises(EvolverError):
            drive(store, store_settings, run, NoListener(), build=always(fake_roles(evolver=evolver)))
        evolver.failing = False
        with store.transaction() as conn:
            run = get_run(conn, run.id)
        drive(store, store_settings, run, NoListener(), build=always(fake_roles(evolver=evolver)))
    return request.param, run.name, log


def test_lines_carry_run_iteration_stage_and_attempt_on_every_thread(
    written: tuple[Form, str, Path], store_settings: Settings
) -> None:
    form, run, log = written
    assert SECRET not in log.read_text()
    if form == "text":
        text = log.read_text()
        assert f"[run={run} iteration=1 stage=evolve attempt=2]: the stage is done" in text
        assert "a library prints" in text
        return
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["run"] for line in lines} == {run}
    assert "a library prints" in log.with_name(PRINTED).read_text()
    failed, done = (
        [line for line in lines if line["message"].startswith(start)]
        for start in ("the stage ends unfinished: refused: ***", "the stage is done")
    )
    assert [(line["iteration"], line["stage"], line["attempt"]) for line in failed] == [(1, "evolve", 1)]
    assert [(line["iteration"], line["stage"]) for line in done].count((1, "evolve")) == 1
    evolved = next(line for line in done if (line["iteration"], line["stage"]) == (1, "evolve"))
    assert evolved["attempt"] == 2 and evolved["data"]["accepted"] > 0
    elsewhere = [line for line in lines if line["logger"] == "some.library"]
    assert {(line["iteration"], line["stage"], line["attempt"]) for line in elsewhere} == {
        (1, "evolve", 1),
        (1, "evolve", 2),
    }
    assert [line["level"] for line in lines if line["message"].startswith("the run is failed")] == ["error"]
    shown = command_line(store_settings)("logs", run, "-n", "1000").output.splitlines()
    assert [json.loads(line) for line in shown] == lines


def test_a_service_says_of_which_run_a_line_is_and_other_threads_do_not(tmp_path: Path) -> None:
    log = logging.getLogger("orchestrator.launch.launcher")
    with (tmp_path / "log").open("w+") as file:
        with write_logs_to(file, "json"), log_context(run="mine", attempt=3):
            log.info("launched")
            other = threading.Thread(target=lambda: log.info("something else"))
            other.start()
            other.join()
            try:
                raise ValueError(f"{SECRET} in a trace")
            except ValueError:
                log.exception("unforeseen")
        log.warning("nobody listens any more")
        file.seek(0)
        mine, others, failed = map(json.loads, file)
    assert (mine["run"], mine["attempt"], mine["level"]) == ("mine", 3, "info")
    assert "run" not in others
    assert "ValueError: *** in a trace" in failed["exception"]


def test_a_worker_writes_as_the_driver_that_started_it_and_says_of_which_run(tmp_path: Path) -> None:
    with (tmp_path / "driver").open("w") as driver, write_logs_to(driver, "json"), log_context(run="mine"):
        made = WorkerLog(str(tmp_path / "logs" / "engine-0.log"), "engine-0")
    begin = (
        "import gc, logging, os, pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1])).begin(); gc.collect();"
        "logging.getLogger('workers.fleet.engine').info('serves'); logging.getLogger('vllm').warning('hm');"
        "logging.getLogger('vllm').info('chatter'); os.write(1, b'C code prints\\n')"
    )
    subprocess.run([sys.executable, "-c", begin, pickle.dumps(made).hex()], check=True, timeout=60)
    serves, warned, printed = (tmp_path / "logs" / "engine-0.log").read_text().splitlines()
    assert printed == "C code prints"
    for line, message in ((serves, "serves"), (warned, "hm")):
        told = json.loads(line)
        assert (told["run"], told["worker"], told["message"]) == ("mine", "engine-0", message)


def test_a_form_that_there_is_not_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_LOG_FORMAT", "yaml")
    with pytest.raises(ConfigError, match=r"EVA_LOG_FORMAT is 'yaml'.*text, json"):
        read_settings()
