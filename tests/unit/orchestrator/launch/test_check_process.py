"""The checks of configs in a process that can be ended."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest

from eva.config.files import load_config
from eva.errors import BusyError, ConfigError, InfrastructureError, InputError
from orchestrator.launch.check_process import MODULE, MOST_RUNNING, MOST_WAITING, CheckProcesses
from orchestrator.launch.preflight import check_run
from workers.cluster.environment import cluster_environment, python_module


def check_processes() -> CheckProcesses:
    return CheckProcesses(python_module(MODULE), cluster_environment({}))


def test_a_config_is_checked_in_another_process_as_it_is_here() -> None:
    config = load_config("playground", ["prompts.playground=16", "evaluation.playground=3"])
    with check_processes() as checks:
        assert checks.run(check_run, config) == check_run(config)
        broken = load_config("playground", ["sampling.sampler=topic_balanced", "prompts.playground=16"])
        with pytest.raises(ConfigError, match="no prompt has a topic") as refused:
            checks.run(check_run, broken)
        assert refused.value.next_move, "what to do comes along"


def test_a_check_that_takes_too_long_is_ended_and_the_next_one_is_made() -> None:
    with check_processes() as checks:
        first = checks.run(os.getpid)
        assert first != os.getpid() and checks.run(os.getpid) == first, "a process is kept"
        checks.limit_s = 0.1
        with pytest.raises(InputError, match=r"longer than 0.1 s.*fewer prompts"):
            checks.run(time.sleep, 60)
        checks.limit_s = 60
        assert checks.run(os.getpid) != first
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)


def test_a_process_that_dies_is_told_and_replaced() -> None:
    with check_processes() as checks:
        with pytest.raises(InfrastructureError, match="the process that checks configs ended"):
            checks.run(os._exit, 3)
        assert checks.run(os.getpid)


def test_more_checks_than_may_wait_are_refused_at_once() -> None:
    release = threading.Event()

    class Blocked(CheckProcesses):
        def _take(self) -> subprocess.Popen[bytes]:
            assert release.wait(30)
            raise InfrastructureError("released")

    most = MOST_RUNNING + MOST_WAITING
    with ThreadPoolExecutor(most + 1) as pool:
        checks = Blocked([], {})
        asked = [pool.submit(checks.run, os.getpid) for _ in range(most + 1)]
        refused = next(as_completed(asked, timeout=30))
        release.set()
        assert isinstance(refused.exception(), BusyError)
        assert sum(isinstance(one.exception(), InfrastructureError) for one in asked) == most
